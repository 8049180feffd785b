"""``TurnResult``: sketches of convolutions whose vectors run along the channels.

Where channels come before the image (PyTorch's layout), TVM's vectors run along its rows: of 7, 14
or 28 elements, which hardly fill one. The rule adds sketches in which the weights are copied to
panels of output channels, the result is computed with these as its last dimension, and what follows
turns it back, block by block.
"""

from __future__ import annotations

import math
from typing import Any

from wmhub.measure.panels import Panels, in_order, index_map, largest_divisor
from wmhub.measure.products import Product
from wmhub.measure.sketch import REFUSALS
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms

#: Widths of a panel in cache lines, the widest first; fewer elements than ``_LEAST_WIDTH`` are not
#: worth it.
_PANELS, _LEAST_WIDTH = (4, 2, 1), 8
#: How often each element of a panel is used at least, so that copying it can pay.
_LEAST_REUSE = 8


@derived_object
class TurnResult(ms.schedule_rule.PyScheduleRule):  # type: ignore[misc]
    """The rule; it stands after those that inline and before those that tile."""

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing depends on the context."""

    def apply(self, schedule: Any, block: Any) -> list[Any]:
        """``schedule`` as it is and, where that can pay, with the result of ``block`` turned."""
        product = Product.of(schedule, block)
        found = product and _weights(product)
        if not product or not found:
            return [schedule]
        turned = schedule.copy()
        try:
            _turn(turned, block, product, *found)
        except REFUSALS:
            # It looked like a convolution, but TVM cannot copy it.
            return [schedule]
        return [turned, schedule]

    def clone(self) -> Any:
        """Another one like it."""
        return TurnResult()


def _weights(product: Product) -> tuple[int, Panels] | None:
    """The number of the operand that holds weights, and its panels of channels.

    Weights are what no place of the image changes; ``None`` where channels come last already.
    """
    if None not in product.operands:
        return None
    for channel in product.result[:-1]:
        others = set(product.result) - {channel}
        holders = [n for n, used in enumerate(product.uses) if channel in used]
        operand = product.operands[holders[0]] if len(holders) == 1 else None
        if operand is None or not others.isdisjoint(operand) or product.copies[holders[0]]:
            continue
        width = _width(product.extents[channel], product.line)
        if width and math.prod(product.extents[n] for n in others) >= _LEAST_REUSE:
            return holders[0], Panels.of(product, operand, channel, width)
    return None


def _width(channels: int, line: int) -> int | None:
    """The width of the panels of so many channels, which it divides."""
    for lines in _PANELS:
        if channels % (lines * line) == 0:
            return lines * line
    width = largest_divisor(channels, _PANELS[0] * line)
    return width if width >= _LEAST_WIDTH else None


def _turn(schedule: Any, block: Any, product: Product, read: int, panels: Panels) -> None:
    """Packs the weights of ``block``, and turns its result."""
    order = [*(n for n in product.result if n != panels.column), panels.column]
    copy = schedule.reindex_cache_read(
        block, read, "global", index_map(schedule, block, panels.layout)
    )
    back = schedule.reindex_cache_write(
        block, 0, "global", index_map(schedule, block, in_order(order))
    )
    order += [n for n in range(len(product.extents)) if n in product.reductions]
    loops = schedule.get_loops(block)
    schedule.reorder(*(loops[n] for n in order))
    schedule.reorder_block_iter_var(block, order)
    panels.order(schedule, copy, product.extents, product.line)
    consumers = schedule.get_consumers(back)
    if len(consumers) == 1:
        schedule.compute_inline(back)
        (back,) = consumers
    _order_back(schedule, back, product, panels.column)


def _order_back(schedule: Any, block: Any, product: Product, channel: int) -> None:
    """Orders the loops of what turns the result back: lines of the image by lines of channels."""
    loops = list(schedule.get_loops(block))
    if len(loops) != len(product.result):
        return
    at = product.result.index(channel)
    sizes = [product.extents[n] for n in product.result]
    channels, lane = schedule.split(loops[at], [None, largest_divisor(sizes[at], product.line)])
    row, pixel = schedule.split(loops[-1], [None, largest_divisor(sizes[-1], product.line)])
    schedule.reorder(*loops[:at], channels, *loops[at + 1 : -1], row, lane, pixel)
