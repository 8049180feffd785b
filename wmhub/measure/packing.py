"""``PackOperands``: sketches of matrix products whose operands are copied to fit a CPU.

TVM's rules tile a product as it stands. Two kinds are slow however they are tiled: one whose vector
runs across an operand's rows (the weights of ``x @ w.T``, the keys of attention), so that each of
its elements is fetched from a line of its own; and one with a prime extent, such as the 197 tokens
of a vision transformer, which has no tile but all of it. For these the rule adds sketches in which
the operand is copied to panels, and extents are rounded up on the way. TVM's own sketches stay
beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from wmhub.measure.panels import LEAST_REUSE, PANEL_LINES, Panels, beside, in_order, index_map
from wmhub.measure.products import Product
from wmhub.measure.space import prime_factors
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms

#: What an extent may grow for wider panels.
_MOST_GROWN = 0.06
#: An extent with a larger prime factor has too few tiles, and grows by this share at most, to a
#: multiple of ``_ROW_STEP``.
_LARGEST_PRIME, _MOST_ROWS_GROWN, _ROW_STEP = 13, 0.12, 4


@derived_object
class PackOperands(ms.schedule_rule.PyScheduleRule):  # type: ignore[misc]
    """The rule; it stands after those that inline and before those that tile."""

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing depends on the context."""

    def apply(self, schedule: Any, block: Any) -> list[Any]:
        """``schedule`` as it is and, where that can pay, with the operands of ``block`` packed."""
        product = Product.of(schedule, block)
        plan = product and _plan(product)
        if not product or not plan:
            return [schedule]
        return beside(schedule, lambda packed: _pack(packed, block, product, plan))

    def clone(self) -> Any:
        """Another one like it."""
        return PackOperands()


@dataclass(frozen=True)
class _Plan:
    """What to do with a product."""

    padded: tuple[int, ...]
    """Extents of the iterators, rounded up."""
    read: int
    """The operand that is packed."""
    panels: Panels | None
    """How; ``None`` where its rows are as they should be."""

    def grows(self, product: Product) -> set[int]:
        """The iterators whose extents are rounded up."""
        return {n for n, extent in enumerate(product.extents) if self.padded[n] != extent}


def _plan(product: Product) -> _Plan | None:
    """How to pack a product; ``None`` where its operands are well as they are."""
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
    plan = _Plan(padded, wide[0], None)
    grows = plan.grows(product)
    if operand[-1] != column or not grows.isdisjoint(operand):
        return _Plan(padded, wide[0], Panels.of(product, operand, column, panel))
    return plan if grows else None


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


def _pack(schedule: Any, block: Any, product: Product, plan: _Plan) -> None:
    """Applies ``plan`` to ``schedule``."""
    grows = plan.grows(product)
    if grows:
        multiples = [padded if n in grows else 1 for n, padded in enumerate(plan.padded)]
        schedule.pad_einsum(block, multiples)
        (cut,) = schedule.get_consumers(block)
        if schedule.get_consumers(cut):
            schedule.compute_inline(cut)
    for read, (used, turns) in enumerate(zip(product.uses, product.copies, strict=True)):
        is_padded = not grows.isdisjoint(used)
        panels = plan.panels if read == plan.read else None
        if panels is None and not is_padded:
            continue
        layout = panels.layout if panels else in_order(sorted(used))
        mapping = index_map(schedule, block, layout)
        copy = schedule.reindex_cache_read(block, read, "global", mapping)
        # The copy pads and turns on its way.
        for _ in range(is_padded + turns):
            (before,) = schedule.get_producers(copy)
            schedule.compute_inline(before)
        if panels:
            panels.order(schedule, copy, plan.padded, product.line)
