"""Instructions that change layouts: of tensors, of what walks them, and of whole nests.

Extents of what depends on a layout that is not understood become 0, which stands for unknown:
better none than a wrong one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wmhub.errors import InvalidInputError
from wmhub.nest import Axis, Loop, Stage, extents, span
from wmhub.program import MOST_TERMS, Access, Index, most_terms
from wmhub.replay.state import State
from wmhub.tvm_json import parse_index_map

if TYPE_CHECKING:
    from wmhub.replay.state import Bound


def transform_layout(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``TransformLayout`` of a buffer, and ``TransformBlockLayout`` of a block's iterators."""
    state.emit_plain(name, values, [])
    stage = values[0] if values else None
    if not isinstance(stage, Stage):
        return []
    texts = [*values[1:], *attrs]
    if name == "TransformBlockLayout":
        _change_iterators(state, stage, _layout(texts, len(stage.axes)))
        return []
    is_read = len(attrs) < 2 or int(attrs[1]) == 0
    accesses = stage.reads if is_read else stage.writes
    number = int(attrs[0]) if attrs and isinstance(attrs[0], int) else 0
    for access in accesses[number : number + 1]:
        _change_buffer(state, access.buffer, _layout(texts, len(access.indices)))
    return []


def _layout(texts: Sequence[Any], count: int) -> tuple[Index, ...] | None:
    """What the one index map among ``texts`` makes of ``count`` indices; ``None`` where that is not
    understood."""
    maps = [text for text in texts if isinstance(text, str) and text.lstrip().startswith("{")]
    try:
        parsed = [parse_index_map(text) for text in maps]
    except InvalidInputError:
        return None
    # A second one tells what a tensor is padded with.
    if len(parsed) != 1 or parsed[0][0] != count:
        return None
    layout = parsed[0][1]
    is_known = most_terms(layout) <= MOST_TERMS and not any(one.is_opaque for one in layout)
    return layout if is_known else None


def _keeps_order(layout: Sequence[Index], count: int) -> bool:
    return list(layout) == [Index("var", number) for number in range(count)]


def _change_buffer(state: State, buffer: str, layout: Sequence[Index] | None) -> None:
    """Gives ``buffer`` another layout, in all accesses."""
    shape = state.shapes.get(buffer, ())
    if layout is not None and _keeps_order(layout, len(shape)):
        return
    every = {id(accesses): accesses for s in state.stages for accesses in (s.reads, s.writes)}
    places = [
        (accesses, number)
        for accesses in every.values()
        for number, access in enumerate(accesses)
        if access.buffer == buffer
    ]
    indices = [accesses[number].indices for accesses, number in places]
    if (
        layout is None
        or any(len(one) != len(shape) for one in indices)
        or most_terms(layout) * max(map(most_terms, indices)) > MOST_TERMS
    ):
        state.blurred.add(buffer)
        return
    for accesses, number in places:
        values = dict(enumerate(accesses[number].indices))
        accesses[number] = Access(buffer, tuple(one.substituted(values) for one in layout))
    sizes = [extents(size) for size in shape]
    state.shapes[buffer] = tuple(int(span(one, sizes)[0]) for one in layout)


def _change_iterators(state: State, stage: Stage, layout: Sequence[Index] | None) -> None:
    """Makes the iterators of ``stage`` what ``layout`` makes of them, each with one loop."""
    if layout is None:
        forget_loops(state, stage)
        state.blurred |= {access.buffer for access in (*stage.reads, *stage.writes)}
        return
    if _keeps_order(layout, len(stage.axes)):
        return
    before = [axis.extent for axis in stage.axes]
    known = {number for number, extent in enumerate(before) if (extent > 0).all()}
    axes = []
    for number, index in enumerate(layout):
        used = index.variables()
        extent = span(index, before) if known.issuperset(used) else extents(0)
        # One step is no reduction, as TVM has it.
        walked = [stage.axes[one] for one in used if (before[one] != 1).any()]
        is_reduction = bool(walked) and all(axis.is_reduction for axis in walked)
        axes.append(Axis(f"v{number}", extent, is_reduction))
    inverse = _inverse(layout, before)
    for accesses in (stage.reads, stage.writes):
        for number, access in enumerate(accesses):
            accesses[number] = _walked(access, layout, inverse)
            if any(index.is_opaque for index in accesses[number].indices):
                state.blurred.add(access.buffer)
    stage.axes = axes
    stage.loops = [*stage.loops[: stage.depth], *map(Loop.over, axes)]


def _walked(access: Access, layout: Sequence[Index], inverse: Mapping[int, Index]) -> Access:
    """``access`` over what ``layout`` makes, opaque where that cannot be said."""
    indices = (Index("opaque"),) * len(access.indices)
    if most_terms(access.indices) <= MOST_TERMS:
        with contextlib.suppress(KeyError):
            indices = tuple(_over(index, layout, inverse) for index in access.indices)
    return Access(access.buffer, indices)


def _over(index: Index, layout: Sequence[Index], inverse: Mapping[int, Index]) -> Index:
    """``index`` over what ``layout`` makes; raises ``KeyError`` where that cannot be said."""
    if index in layout:
        return Index("var", layout.index(index))
    if index.op == "var":
        return inverse[index.value]
    return Index(index.op, index.value, tuple(_over(one, layout, inverse) for one in index.args))


def _inverse(layout: Sequence[Index], before: Sequence[np.ndarray]) -> dict[int, Index]:
    """Iterators over what ``layout`` makes of them, of those that it fuses or leaves alone.

    ``before``: their extents, int64 [N or 1] each.
    """
    found = {at: Index("const") for at, extent in enumerate(before) if (extent == 1).all()}
    for number, index in enumerate(layout):
        inside = 1
        values: dict[int, Index] = {}
        terms = _terms(index)
        for place, (scale, variable) in enumerate(terms[::-1], 1):
            extent = before[variable]
            if scale != inside or len(extent) > 1:
                values = {}
                break
            value = Index("var", number)
            value = value if scale == 1 else Index("//", 0, (value, Index("const", scale)))
            inside = scale * int(extent[0])
            if place < len(terms):
                value = Index("%", 0, (value, Index("const", int(extent[0]))))
            values[variable] = value
        found.update(values)
    return found


def _terms(index: Index) -> list[tuple[int, int]]:
    """Factor and number of each iterator of a sum of scaled ones; none of anything else."""
    if index.op == "var":
        return [(1, index.value)]
    if index.op == "+":
        first, second = map(_terms, index.args)
        return [*first, *second] if first and second else []
    if index.op == "*":
        for scale, other in (index.args, index.args[::-1]):
            if scale.op == "const":
                return [(scale.value * factor, at) for factor, at in _terms(other)]
    return []


def change_nest(state: State, name: str, values: Any, *_: Any) -> list[Bound]:
    """``DecomposePadding`` and others after which a nest is not what it was."""
    state.emit_plain(name, values, [])
    for value in values:
        stage = value if isinstance(value, Stage) else state.owner(value)
        if stage is not None:
            forget_loops(state, stage)
    return []


def forget_loops(state: State, stage: Stage) -> None:
    """Makes every loop of ``stage``, and the extents of its axes, unknown."""
    stage.loops = [*stage.loops[: stage.depth]]
    stage.axes = [Axis(axis.name, extents(0), axis.is_reduction) for axis in stage.axes]
    stage.loops += [Loop(extents(0), ((axis, extents(0)),)) for axis in stage.axes]
