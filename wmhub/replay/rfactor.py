"""``RFactor``: a reduction becomes a stage of partial results and one that adds them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.program import Access, Index
from wmhub.replay.state import State

if TYPE_CHECKING:
    from wmhub.replay.state import Bound


def rfactor(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``RFactor``, as ``src/s_tir/schedule/primitive/reduction.cc`` does it.

    The partial stage walks all loops; the factored one is spatial there and its first iterator,
    and each other loop of a reduction that it was split from is an iterator of its own. The final
    stage reduces over the factored loop alone, also its first iterator.
    """
    loop = values[0]
    stage = state.owner(loop) if isinstance(loop, Loop) else None
    state.emit(name, stage, loops=(loop,) if isinstance(loop, Loop) else ())
    if stage is None or not isinstance(loop, Loop):
        return []
    state.caches += 1
    cache = f"{stage.name}.rf.{state.caches}"
    at = int(attrs[0]) if attrs else 0
    rank = len(stage.writes[0].indices) if stage.writes else 0
    at = min(max(at if at >= 0 else at + rank + 1, 0), rank)
    for write in stage.writes[:1]:
        shape = list(state.shapes.get(write.buffer, ()))
        state.scopes[cache] = state.scope(write.buffer)
        state.shapes[cache] = (*shape[:at], int(loop.extent.max()), *shape[at:])
    partial = _partial(stage, loop, cache, at)
    _finish(stage, loop, cache, at)
    return [state.add(partial, after=stage, before=True)]


def _partial(stage: Stage, loop: Loop, cache: str, at: int) -> Stage:
    """The stage of partial results; its loops are new ones."""
    touched = loop.axes
    factor = Axis("vrf", loop.extent, False)
    axes, of_axis, of_loop = [factor], {}, {id(loop): 0}
    for number, axis in enumerate(stage.axes):
        if not axis.is_reduction or axis not in touched:
            of_axis[number] = Index("var", len(axes))
            axes.append(Axis(axis.name, axis.extent, axis.is_reduction))
            continue
        for one in stage.loops:
            if id(one) not in of_loop and axis in one.axes:
                of_loop[id(one)] = len(axes)
                axes.append(Axis(f"v{axis.name}", one.extent, True))
        of_axis[number] = _address(stage, axis, of_loop)
    renamed = {
        id(a): axes[of_axis[n].value] for n, a in enumerate(stage.axes) if _is_var(of_axis[n])
    }
    loops = [
        Loop.over(axes[of_loop[id(one)]])
        if id(one) in of_loop
        else Loop(one.extent, [(renamed[id(a)], e) for a, e in one.parts if id(a) in renamed])
        for one in stage.loops
    ]
    for made, one in zip(loops, stage.loops):
        made.annotation = one.annotation
    return Stage(
        f"{stage.name}_rf", axes, loops,
        [Access(r.buffer, _bound(r.indices, of_axis)) for r in stage.reads],
        [_with_factor(w, cache, at, of_axis) for w in stage.writes[:1]],
        "rfactor", operations=stage.operations,
    )  # fmt: skip


def _finish(stage: Stage, loop: Loop, cache: str, at: int) -> None:
    """Turns ``stage`` into the one that adds the partial results up."""
    factor = Axis("vrf", loop.extent, True)
    axes, of_axis = [factor], {}
    renamed: dict[int, Axis] = {}
    for number, axis in enumerate(stage.axes):
        if not axis.is_reduction:
            of_axis[number] = Index("var", len(axes))
            renamed[id(axis)] = Axis(axis.name, axis.extent, False)
            axes.append(renamed[id(axis)])
    loops = []
    for one in stage.loops:
        if one is loop:
            loops.append(Loop.over(factor))
        elif not any(axis.is_reduction for axis in one.axes):
            parts = [(renamed[id(a)], e) for a, e in one.parts if id(a) in renamed]
            loops.append(Loop(one.extent, parts, one.annotation))
    stage.axes, stage.loops = axes, loops
    stage.reads = [_with_factor(w, cache, at, of_axis) for w in stage.writes[:1]]
    stage.writes = [Access(w.buffer, _bound(w.indices, of_axis)) for w in stage.writes]
    stage.host, stage.depth = None, 0


def _address(stage: Stage, axis: Axis, of_loop: Mapping[int, int]) -> Index:
    """``axis`` as an expression over the iterators that its loops became.

    Strides must be those of all candidates: ``replay_traces`` groups them so. For fused loops it
    is opaque.
    """
    terms: list[Index] = []
    stride = extents(1)
    for one in reversed(stage.loops):
        if axis not in one.axes:
            continue
        variable = Index("var", of_loop[id(one)])
        if one.fused or len(np.unique(stride)) > 1:
            return Index("opaque", 0, (variable, *terms))
        scale = Index("const", int(stride.flat[0]))
        terms.append(Index("*", 0, (variable, scale)))
        stride = stride * one.extent
    address = terms[0]
    for term in terms[1:]:
        address = Index("+", 0, (term, address))
    return address


def _is_var(index: Index) -> bool:
    return index.op == "var"


def _bound(indices: tuple[Index, ...], of_axis: Mapping[int, Index]) -> tuple[Index, ...]:
    return tuple(_substitute(index, of_axis) for index in indices)


def _substitute(index: Index, of_axis: Mapping[int, Index]) -> Index:
    if index.op == "var":
        return of_axis.get(index.value, Index("opaque"))
    return Index(index.op, index.value, tuple(_substitute(a, of_axis) for a in index.args))


def _with_factor(write: Access, cache: str, at: int, of_axis: Mapping[int, Index]) -> Access:
    indices = _bound(write.indices, of_axis)
    return Access(cache, (*indices[:at], Index("var", 0), *indices[at:]))
