"""``pack_operands``: sketches of matrix products whose operands are copied to fit a CPU.

TVM's rules tile a product as it stands. Two kinds are slow however they are tiled: one whose vector
runs across an operand's rows (the weights of ``x @ w.T``, the keys of attention), so that each of
its elements is fetched from a line of its own; and one with a prime extent, such as the 197 tokens
of a vision transformer, which has no tile but all of it. For these there are sketches in which
the operand is copied to panels, and extents are rounded up on the way. TVM's own sketches stay
beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from wmhub.measure.panels import (
    LEAST_REUSE,
    PANEL_LINES,
    Panels,
    Step,
    copied,
    in_order,
)
from wmhub.measure.products import Product
from wmhub.measure.space import prime_factors

#: What an extent may grow for wider panels.
_MOST_GROWN = 0.06
#: An extent with a larger prime factor has too few tiles, and grows by this share at most, to a
#: multiple of ``_ROW_STEP``.
_LARGEST_PRIME, _MOST_ROWS_GROWN, _ROW_STEP = 13, 0.12, 4


def pack_operands(product: Product) -> Step | None:
    """How to pack the operands of ``product``; ``None`` where they are well as they are."""
    plan = _plan(product)
    return None if plan is None else partial(_pack, product, plan)


@dataclass(frozen=True)
class _Plan:
    """What to do with a product."""

    padded: tuple[int, ...]
    """Extents of the iterators, rounded up."""
    grows: frozenset[int]
    """The iterators whose extents that changes."""
    read: int
    """The operand that is packed."""
    panels: Panels | None
    """How; ``None`` where its rows are as they should be."""


def _plan(product: Product) -> _Plan | None:
    column = product.result[-1]
    wide = [n for n, used in enumerate(product.uses) if column in used]
    if None in product.operands or len(wide) != 1:
        return None
    operand = product.operands[wide[0]]
    assert operand is not None
    reuse = math.prod(product.extents[n] for n in product.result if n not in operand)
    if reuse < LEAST_REUSE or product.extents[column] < product.line // 2:
        return None
    panel, width = _panels(product.extents[column], product.line)
    # A batch is no tile of a register, and what TVM pads with (zeros) may change a reduction.
    stays = product.reductions | product.uses[wide[0]]
    padded = tuple(
        width if n == column else extent if n in stays else _with_tiles(extent)
        for n, extent in enumerate(product.extents)
    )
    grows = frozenset(n for n, extent in enumerate(product.extents) if padded[n] != extent)
    is_packed = operand[-1] != column or not grows.isdisjoint(operand)
    panels = Panels.of(product, operand, column, panel) if is_packed else None
    return _Plan(padded, grows, wide[0], panels) if grows or panels else None


def _panels(extent: int, line: int) -> tuple[int, int]:
    """Width of the panels of ``extent`` columns, and the columns of all of them."""
    for lines in PANEL_LINES:
        width = lines * line
        columns = -(-extent // width) * width
        if columns <= (1 + _MOST_GROWN) * extent:
            return width, columns
    return line, -(-extent // line) * line


def _with_tiles(extent: int) -> int:
    """The least extent from ``extent`` on that has tiles, if any is near."""

    def has_tiles(candidate: int) -> bool:
        return max(prime_factors(candidate), default=1) <= _LARGEST_PRIME

    if has_tiles(extent):
        return extent
    first = -(-extent // _ROW_STEP) * _ROW_STEP
    near = range(first, int(extent * (1 + _MOST_ROWS_GROWN)) + 1, _ROW_STEP)
    return next(filter(has_tiles, near), extent)


def _pack(product: Product, plan: _Plan, schedule: Any, block: Any) -> None:
    if plan.grows:
        multiples = [padded if n in plan.grows else 1 for n, padded in enumerate(plan.padded)]
        schedule.pad_einsum(block, multiples)
        (cut,) = schedule.get_consumers(block)
        if schedule.get_consumers(cut):
            schedule.compute_inline(cut)
    for read, (used, turns) in enumerate(zip(product.uses, product.copies, strict=True)):
        is_padded = not plan.grows.isdisjoint(used)
        panels = plan.panels if read == plan.read else None
        if panels is None and not is_padded:
            continue
        layout = panels.layout if panels else in_order(sorted(used))
        # What pads is more than a copy.
        once = read in product.free and not is_padded
        copy = copied(schedule, block, read, layout, is_padded + turns, once)
        if panels:
            panels.order(schedule, copy, plan.padded, product.line)
