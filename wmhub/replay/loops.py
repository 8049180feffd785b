"""Instructions that transform or annotate loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wmhub.nest import PIPELINE, Loop, Stage, extents, fuse_loops, split_loop
from wmhub.program import Access
from wmhub.replay.state import State

if TYPE_CHECKING:
    from wmhub.replay.state import Bound


def split(state: State, name: str, values: Any, _a: Any, outputs: Any, _d: Any) -> list[Bound]:
    """``Split``."""
    loop, factors = values[0], values[1:]
    if not isinstance(loop, Loop):
        state.emit(name, None)
        return [Loop(extents(0)) for _ in outputs]
    sizes = [extents(f) if isinstance(f, int) else f for f in factors]
    # A factor drawn by SampleCategorical comes as a float.
    whole = [f.astype(np.int64) if isinstance(f, np.ndarray) else None for f in sizes]
    made = split_loop(loop, whole)
    state.emit(name, state.owner(loop), loops=(loop,), results=tuple(made))
    state.replace([loop], made)
    return list(made)


def fuse(state: State, name: str, values: Any, *_: Any) -> list[Bound]:
    """``Fuse``."""
    loops = [v for v in values if isinstance(v, Loop)]
    if not loops:
        state.emit(name, None)
        return [Loop(extents(0))]
    made = fuse_loops(loops)
    state.emit(name, state.owner(loops[0]), loops=tuple(loops), results=(made,))
    state.replace(loops, [made])
    return [made]


def reorder_iterators(state: State, name: str, values: Any, *_: Any) -> list[Bound]:
    """``ReorderBlockIterVar``: the iterators of a block in another order; its loops stay."""
    stage, order = values[0], values[1] if len(values) > 1 else None
    state.emit(name, stage)
    if not isinstance(stage, Stage) or not isinstance(order, list):
        return []
    if sorted(order) == list(range(len(stage.axes))):
        number = {old: new for new, old in enumerate(order)}
        stage.axes = [stage.axes[old] for old in order]
        for accesses in (stage.reads, stage.writes):
            accesses[:] = [
                Access(one.buffer, tuple(index.renumbered(number) for index in one.indices))
                for one in accesses
            ]
    return []


def reorder(state: State, name: str, values: Any, *_: Any) -> list[Bound]:
    """``Reorder``."""
    loops = [v for v in values if isinstance(v, Loop)]
    owner = state.owner(loops[0]) if loops else None
    if owner is None:
        state.emit(name, values[0] if values else None)
        return []
    order = tuple(owner.index(loop) for loop in loops)
    state.emit(name, owner, loops=tuple(loops), order=order)
    for stage in state.order:
        mine = [loop for loop in loops if stage.index(loop) >= 0]
        places = sorted(stage.index(loop) for loop in mine)
        nest = list(stage.loops)
        for place, loop in zip(places, mine):
            nest[place] = loop
        stage.loops = nest
    return []


def annotate_loop(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``Parallel``, ``Vectorize``, ``Unroll`` and ``Bind``."""
    loop = values[0]
    word = attrs[0] if name == "Bind" and attrs else name.lower()
    if isinstance(loop, Loop):
        state.emit(name, state.owner(loop), loops=(loop,), text=str(word))
        loop.annotation = str(word)
    return []


def add_loop(state: State, name: str, values: Any, _a: Any, outputs: Any, _d: Any) -> list[Bound]:
    """``AddUnitLoop``."""
    first = values[0] if values else None
    made = Loop(extents(1))
    loops = tuple(v for v in values if isinstance(v, Loop))
    stage = state.owner(first) if isinstance(first, Loop) else first
    state.emit(name, stage, loops=loops, results=(made,))
    if isinstance(stage, Stage):
        at = stage.index(first) if isinstance(first, Loop) else len(stage.loops)
        for other in state.order:
            if other is stage or (isinstance(first, Loop) and other.index(first) >= 0):
                other.loops = [*other.loops[:at], made, *other.loops[at:]]
    return [made] * len(outputs)


def annotate(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``Annotate`` of a block or a loop."""
    target, value = values[0], values[1] if len(values) > 1 else None
    key = str(attrs[0]) if attrs else ""
    if isinstance(value, (int, float)):
        value = np.array([float(value)])
    elif key == PIPELINE and isinstance(value, list):
        # The stage of each statement, counted from 0.
        value = np.array([1.0 + max((int(stage) for stage in value), default=0)])
    number = value if isinstance(value, np.ndarray) else None
    if isinstance(target, Loop):
        state.emit(name, state.owner(target), loops=(target,), text=key, value=number)
        target_stage: Any = state.owner(target)
    else:
        state.emit(name, target, text=key, value=number)
        # Annotations of the root block (parallel, vectorize, unroll) hold for all stages.
        target_stage = target if isinstance(target, Stage) else None
    if number is not None:
        for stage in [target_stage] if target_stage is not None else state.stages:
            stage.annotations[key] = number
    return []
