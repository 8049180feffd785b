"""``Panels``: the copy of an operand that vectors can run along.

``operand[column, depth]`` becomes ``copy[column // width, depth, column % width]``: panels as wide
as a few vectors and as deep as the reduction, the packing of Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", TOMS 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wmhub.measure.products import Product
from wmhub.tvm_compat import IndexMap, dtype_of

#: Widths of a panel in cache lines, the widest first.
PANEL_LINES = (4, 2, 1)
#: How often each element of a panel is used at least, so that copying it can pay.
LEAST_REUSE = 8

#: TVM's mark of a block that only brings weights into another layout.
PREPROCESSED = "meta_schedule.layout_rewrite_preproc"

#: Iterators of a block to the indices of a buffer.
Layout = Callable[..., Sequence[Any]]
#: Changes a TVM schedule and one of its blocks in place; TVM may refuse it.
Step = Callable[[Any, Any], None]


def in_order(order: Sequence[int]) -> Layout:
    """The layout whose dimensions are the iterators of these numbers."""
    chosen = tuple(order)
    return lambda *iterators: [iterators[n] for n in chosen]


def index_map(schedule: Any, block: Any, layout: Layout) -> Any:
    """``layout`` of the iterators of ``block``, as TVM takes it.

    In their type: casts would hide from TVM that a vector stays within its panel.
    """
    iterators = schedule.get(block).iter_vars
    dtype = dtype_of(iterators[0].var)
    return IndexMap.from_func(layout, ndim=len(iterators), index_dtype=dtype)


def copied(
    schedule: Any, block: Any, read: int, layout: Layout, before: int, once: bool = False
) -> Any:
    """The block that copies an operand of ``block`` in ``layout``.

    It does on its way what the last ``before`` blocks before it did, such as to pad or to turn.
    ``once``: when a network is compiled, and not in each run, marked as TVM's ``RewriteLayout``
    marks its own copies of weights.
    """
    mapping = index_map(schedule, block, layout)
    copy = schedule.reindex_cache_read(block, read, "global", mapping)
    for _ in range(before):
        (producer,) = schedule.get_producers(copy)
        schedule.compute_inline(producer)
    if once:
        schedule.annotate(copy, PREPROCESSED, True)
    return copy


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of ``number`` up to ``most``."""
    return max(divisor for divisor in range(1, most + 1) if number % divisor == 0)


@dataclass(frozen=True)
class Panels:
    """How one operand of a product is copied."""

    operand: tuple[int, ...]
    """The iterator of each of its dimensions."""
    column: int
    """The iterator that vectors run along."""
    width: int
    """Of a panel, in elements."""
    outer: tuple[int, ...]
    """Its other iterators that are no reductions, such as a batch: they stand around panels."""
    inner: tuple[int, ...]
    """Its reductions: they run down a panel."""

    @classmethod
    def of(cls, product: Product, operand: tuple[int, ...], column: int, width: int) -> Panels:
        """The panels of ``operand`` of ``product``."""
        others = [n for n in operand if n != column]
        outer = tuple(n for n in others if n not in product.reductions)
        inner = tuple(n for n in others if n in product.reductions)
        return cls(operand, column, width, outer, inner)

    def layout(self, *iterators: Any) -> list[Any]:
        """Indices of the copy, for the iterators of the product's block."""
        column = iterators[self.column]
        return [
            *(iterators[n] for n in self.outer), column // self.width,
            *(iterators[n] for n in self.inner), column % self.width,
        ]  # fmt: skip

    def order(self, schedule: Any, copy: Any, extents: Sequence[int], line: int) -> None:
        """Orders the loops of the block ``copy``: panel by panel, and in it lines of the source by
        lines of the panel, so that both are in the cache from the first touch to the last.

        ``extents``: of the product's iterators; ``line``: elements of a cache line.
        """
        loops = dict(zip(sorted(self.operand), schedule.get_loops(copy), strict=True))
        part = largest_divisor(self.width, line)
        panel, far, near = schedule.split(loops[self.column], [None, self.width // part, part])
        around = [*(loops[n] for n in self.outer), panel, *(loops[n] for n in self.inner[:-1])]
        last = self.inner[-1:]
        step = largest_divisor(extents[last[0]], line) if last == self.operand[-1:] else 1
        if step > 1:
            outside, inside = schedule.split(loops[last[0]], [None, step])
            schedule.reorder(*around, outside, far, inside, near)
        else:
            schedule.reorder(*around, *(loops[n] for n in last), far, near)
