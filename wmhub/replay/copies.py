"""Instructions that add stages: caches, reindexing, partial reductions, initialisation, blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wmhub.errors import InvalidInputError
from wmhub.nest import Axis, Loop, Stage, extents, span
from wmhub.program import Access, Index
from wmhub.replay.state import State
from wmhub.tvm_json import parse_index_map

if TYPE_CHECKING:
    from wmhub.replay.state import Bound


def set_scope(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``SetScope``."""
    stage = values[0]
    scope = str(attrs[1]) if len(attrs) > 1 else ""
    if isinstance(stage, Stage):
        stage.scope = scope
        if stage.writes:
            state.scopes[stage.writes[min(int(attrs[0]), len(stage.writes) - 1)].buffer] = scope
    state.emit(name, stage, text=scope)
    return []


def _copy_stage(
    state: State, stage: Stage, buffer: str, scope: str, role: str
) -> tuple[Stage, str]:
    """A new stage that copies ``buffer``, and the name of the buffer that the cache is."""
    state.caches += 1
    cache = f"{buffer}.{scope}.{state.caches}"
    shape = state.shapes.get(buffer, ())
    state.shapes[cache], state.scopes[cache] = shape, scope
    name = state.hints[cache] = f"{state.hints.get(buffer, buffer)}_{scope}"
    axes = [Axis(f"ax{i}", extents(n), False) for i, n in enumerate(shape)]
    index = tuple(Index("var", i) for i in range(len(shape)))
    source, copy = (buffer, cache) if role == "cache_read" else (cache, buffer)
    made = Stage(
        name, axes, [Loop.over(a) for a in axes],
        [Access(source, index)], [Access(copy, index)], role,
        scope=scope if role == "cache_read" else stage.scope,
    )  # fmt: skip
    return made, cache


def cache(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``CacheRead``, ``CacheWrite`` and their kin: a stage that copies."""
    stage, number, scope = values[0], int(attrs[0]), str(attrs[1] if len(attrs) > 1 else "")
    if not isinstance(stage, Stage):
        state.emit(name, None, text=scope)
        return []
    is_read = "Read" in name or name in ("CacheInplace", "CacheIndex")
    accesses = stage.reads if is_read else stage.writes
    state.emit(name, stage, text=scope, position=number)
    if number >= len(accesses):
        return []
    access = accesses[number]
    reindexes = name.startswith("Reindex") and len(values) > 1
    layout = _layout(stage, access, values[1]) if reindexes else None
    role = "cache_read" if is_read else "cache_write"
    if layout is not None:
        cache = _new_shape(state, access.buffer, scope)
        state.scopes[cache] = scope
        made = _copy_in_layout(state, stage, number, is_read, cache, layout, role)
        if is_read:
            made.scope = scope
        else:
            made.scope, stage.scope = stage.scope, scope
        return [made]
    made, cache = _copy_stage(state, stage, access.buffer, scope, role)
    if access.buffer in state.blurred:
        state.blurred.add(cache)
    accesses[number] = Access(cache, access.indices)
    if is_read:
        for axis, width in zip(made.axes, state.spans(stage, access, 0)):
            axis.extent = np.minimum(axis.extent, width)
        made.loops = [Loop.over(axis) for axis in made.axes]
    else:
        stage.scope = scope
    if access.buffer in state.blurred or name not in ("CacheRead", "CacheWrite"):
        made.loops = [Loop(extents(0), ((axis, extents(0)),)) for axis in made.axes]
    state.add(made, after=stage, before=is_read)
    return [made]


def _layout(stage: Stage, access: Access, text: Any) -> tuple[Index, ...] | None:
    """What a serialised index map makes of the iterators of ``stage``.

    ``None`` for what is none, or uses others than ``access`` does, which TVM refuses.
    """
    try:
        count, layout = parse_index_map(str(text))
    except InvalidInputError:
        return None
    used, mapped = (
        {v for index in indices for v in index.variables()} for indices in (access.indices, layout)
    )
    return layout if count == len(stage.axes) and used == mapped else None


def _new_shape(state: State, buffer: str, word: str) -> str:
    """Name of a new buffer with what ``buffer`` holds, in another shape.

    Without a dot: what follows one stands for a copy of the same shape.
    """
    state.caches += 1
    name = f"{buffer.replace('.', '_')}@{state.caches}"
    state.hints[name] = f"{state.hints.get(buffer, buffer)}_{word}"
    return name


def _copy_in_layout(
    state: State, stage: Stage, number: int, is_read: bool, cache: str, layout: Sequence[Index],
    role: str,
) -> Stage:  # fmt: skip
    """Puts ``cache``, which has ``layout``, between ``stage`` and what it reads or writes there.

    The stage that copies walks the iterators of ``layout``; others do not move the access.
    """
    accesses = stage.reads if is_read else stage.writes
    access = accesses[number]
    used = sorted({v for index in layout for v in index.variables()})
    axes = [Axis(stage.axes[v].name, stage.axes[v].extent, False) for v in used]
    values = dict.fromkeys(range(len(stage.axes)), Index("const"))
    values.update({v: Index("var", k) for k, v in enumerate(used)})
    outer, inner = (
        Access(buffer, tuple(index.substituted(values) for index in indices))
        for buffer, indices in ((access.buffer, access.indices), (cache, layout))
    )
    whole = [axis.extent for axis in axes]
    state.shapes[cache] = tuple(int(span(index, whole).max()) for index in inner.indices)
    reads, writes = ([outer], [inner]) if is_read else ([inner], [outer])
    made = Stage(
        state.hints[cache], axes, [Loop.over(axis) for axis in axes], reads, writes, role
    )  # fmt: skip
    accesses[number] = Access(cache, tuple(layout))
    return state.add(made, after=stage, before=is_read)


def reindex(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``ReIndex``: a copy in the order of the block's iterators."""
    stage = values[0]
    state.emit(name, stage, position=int(attrs[0]) if attrs else -1)
    if not isinstance(stage, Stage):
        return []
    is_read = len(attrs) < 2 or int(attrs[1]) == 0
    accesses = stage.reads if is_read else stage.writes
    if not attrs or int(attrs[0]) >= len(accesses):
        return []
    access = accesses[int(attrs[0])]
    layout = [Index("var", v) for v in _moving(stage, access)]
    cache = _new_shape(state, access.buffer, "reindex")
    return [_copy_in_layout(state, stage, int(attrs[0]), is_read, cache, layout, "reindex")]


def _moving(stage: Stage, access: Access) -> list[int]:
    """Numbers of the iterators that ``access`` moves with, in their order.

    TVM drops those of one step, and those divided by as much as they count to, unless one is an
    index by itself.
    """
    alone = {index.value for index in access.indices if index.op == "var"}
    moving = []
    for number, axis in enumerate(stage.axes):
        steps = [extents(1)] * len(stage.axes)
        steps[number] = np.where(axis.extent > 0, axis.extent, 2)  # an unknown one may move it
        if number in alone or any((span(index, steps) > 1).any() for index in access.indices):
            moving.append(number)
    return moving


def decompose(state: State, name: str, values: Any, *_: Any) -> list[Bound]:
    """``DecomposeReduction``: a stage that initialises."""
    stage, loop = values[0], values[1] if len(values) > 1 else None
    loops = (loop,) if isinstance(loop, Loop) else ()
    state.emit(name, stage, loops=loops)
    if not isinstance(stage, Stage) or not loops:
        return []
    depth = max(0, stage.index(loops[0]))
    # A reduction of the host that it shares may be an outer loop of its own space.
    inner = [
        Loop(one.extent, one.parts)
        for place, one in enumerate(stage.loops[depth:], depth)
        if place < stage.depth or not one.is_reduction
    ]
    init = Stage(
        f"{stage.name}_init", [a for a in stage.axes if not a.is_reduction],
        [*stage.loops[:depth], *inner], [], list(stage.writes), "init", host=stage, depth=depth,
    )  # fmt: skip
    state.add(init, after=stage, before=True)
    stage.name += "_update"  # as TVM renames it; post-processors look blocks up by name
    return [init]


def blockize(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``Blockize`` and ``Tensorize``."""
    target = values[0]
    text = str(attrs[0]) if name == "Tensorize" and attrs else ""
    stage = state.owner(target) if isinstance(target, Loop) else target
    loops = (target,) if isinstance(target, Loop) else ()
    state.emit(name, stage, loops=loops, text=text)
    if name == "Blockize" and loops and isinstance(stage, Stage):
        outer = Stage(
            f"{stage.name}_o", stage.axes, stage.loops[: stage.index(loops[0])],
            stage.reads, stage.writes, stage.role, stage.scope,
            inner=[*stage.loops[stage.index(loops[0]) :], *stage.inner],
        )  # fmt: skip
        state.add(outer, after=stage, before=True)
        return [outer]
    return []


def pad(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``PadEinsum``: extents rounded up, in copies of what it reads, and cut from what it writes.

    TVM refuses indices that are neither an iterator nor a constant.
    """
    stage = values[0]
    state.emit(name, stage)
    if not isinstance(stage, Stage) or not attrs:
        return []
    before = [axis.extent for axis in stage.axes]
    for axis, multiple in zip(stage.axes, attrs[0]):
        padded = -(-axis.extent // int(multiple)) * int(multiple)
        for loop in stage.loops:
            if len(loop.parts) == 1 and loop.parts[0][0] is axis:
                loop.extent, loop.parts = padded, ((axis, padded),)
        axis.extent = padded
    grown = {n for n, axis in enumerate(stage.axes) if (axis.extent != before[n]).any()}
    for accesses, is_read in ((stage.reads, True), (stage.writes, False)):
        for number, access in enumerate(accesses):
            walked = {index.value for index in access.indices if index.op == "var"}
            if not grown.isdisjoint(walked):
                accesses[number] = _padded(state, stage, access, before, is_read)
    return []


def _padded(
    state: State, stage: Stage, access: Access, before: Sequence[np.ndarray], is_read: bool
) -> Access:
    """The access to a padded tensor in place of ``access``; a new stage pads or cuts it.

    ``before``: extents of the axes of ``stage`` before they were rounded up.
    """
    # A constant is an axis of one step.
    walked = [index.value if index.op == "var" else None for index in access.indices]
    padded = _new_shape(state, access.buffer, "pad")
    after = [extents(1) if v is None else stage.axes[v].extent for v in walked]
    state.shapes[padded] = tuple(int(size[0]) for size in after)
    cut = [extents(1) if v is None else before[v] for v in walked]
    sizes = after if is_read else [extents(n) for n in state.shapes.get(access.buffer, ())] or cut
    axes = [Axis(f"ax{n}", size, False) for n, size in enumerate(sizes)]
    index = tuple(Index("var", n) for n in range(len(axes)))
    source, copy = (access.buffer, padded) if is_read else (padded, access.buffer)
    made = Stage(
        state.hints[padded], axes, [Loop.over(axis) for axis in axes],
        [Access(source, index)], [Access(copy, index)], "reindex",
    )  # fmt: skip
    state.add(made, after=stage, before=is_read)
    return Access(padded, access.indices)
