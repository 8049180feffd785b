"""``turn_result``: sketches of convolutions whose vectors run along the channels.

Where channels come before the image (PyTorch's layout), TVM's vectors run along its rows: of 7, 14
or 28 elements, which hardly fill one. Here are sketches in which the weights are copied to
panels of output channels, the result is computed with these as its last dimension, and what follows
turns it back, block by block.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from wmhub.measure.panels import (
    LEAST_REUSE,
    PANEL_LINES,
    Panels,
    Step,
    copied,
    in_order,
    index_map,
    largest_divisor,
)
from wmhub.measure.products import Product, parsed, written_whole

#: Panels of fewer elements are not worth it.
_LEAST_WIDTH = 8


def turn_result(product: Product) -> Step | None:
    """How to turn the result of ``product``; ``None`` where that cannot pay."""
    found = _weights(product)
    return None if found is None else partial(_turn, product, *found)


def _weights(product: Product) -> tuple[int, Panels] | None:
    """The number of the operand that holds weights, and its panels of channels.

    Weights are what no place of the image changes; ``None`` where channels come last already, and
    where no operand is walked as an image is: a matrix product.
    """
    if None not in product.operands:
        return None
    for channel in product.result[:-1]:
        others = set(product.result) - {channel}
        holders = [n for n, used in enumerate(product.uses) if channel in used]
        operand = product.operands[holders[0]] if len(holders) == 1 else None
        if operand is None or not others.isdisjoint(operand):
            continue
        width = _width(product.extents[channel], product.line)
        if width and math.prod(product.extents[n] for n in others) >= LEAST_REUSE:
            return holders[0], Panels.of(product, operand, channel, width)
    return None


def _width(channels: int, line: int) -> int | None:
    """The width of the panels of so many channels, which it divides."""
    for lines in PANEL_LINES:
        if channels % (lines * line) == 0:
            return lines * line
    width = largest_divisor(channels, PANEL_LINES[0] * line)
    return width if width >= _LEAST_WIDTH else None


def _turn(product: Product, read: int, panels: Panels, schedule: Any, block: Any) -> None:
    once = read in product.free
    copy = copied(schedule, block, read, panels.layout, product.copies[read], once)
    spatial = [*(n for n in product.result if n != panels.column), panels.column]
    mapping = index_map(schedule, block, in_order(spatial))
    back = schedule.reindex_cache_write(block, 0, "global", mapping)
    order = [*spatial, *sorted(product.reductions)]
    loops = schedule.get_loops(block)
    schedule.reorder(*(loops[n] for n in order))
    schedule.reorder_block_iter_var(block, order)
    panels.order(schedule, copy, product.extents, product.line)
    consumers = schedule.get_consumers(back)
    if len(consumers) == 1 and _goes_alike(schedule, consumers[0], product):
        schedule.compute_inline(back)
        (back,) = consumers
    _order_back(schedule, back, product, panels.column)


def _goes_alike(schedule: Any, block: Any, product: Product) -> bool:
    """Whether ``block`` writes element for element what has the result's shape."""
    found = parsed(schedule, block)
    if found is None:
        return False
    extents = [iterator.extent for iterator in found[0].iterators]
    alike = extents == [product.extents[n] for n in product.result]
    return alike and written_whole(*found) == tuple(range(len(extents)))


def _order_back(schedule: Any, block: Any, product: Product, channel: int) -> None:
    """Orders the loops of what turns the result back: lines of the image by lines of channels."""
    loops = list(schedule.get_loops(block))
    at = product.result.index(channel)
    sizes = [product.extents[n] for n in product.result]
    channels, lane = schedule.split(loops[at], [None, largest_divisor(sizes[at], product.line)])
    row, pixel = schedule.split(loops[-1], [None, largest_divisor(sizes[-1], product.line)])
    schedule.reorder(*loops[:at], channels, *loops[at + 1 : -1], row, lane, pixel)
