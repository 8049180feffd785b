"""Stages that copy what others read: what one holds, how often it is made, and by how many at once.

Such are the caches that a schedule asks for; a GPU's threads copy to shared memory together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wmhub.nest import Loop, Stage, extents, steps_of, trips

#: Copies described one by one.
CACHES = 3


def copies_of(stages: Sequence[Stage]) -> list[Stage]:
    """The stages that copy what others read; of one that was made a block, the inner one."""
    return [s for s in stages if s.role == "cache_read" and not s.inlined and not s.inner]


def own_loops(copy: Stage) -> list[Loop]:
    """The loops of a copy that are not its host's."""
    host = copy.host
    return [loop for loop in copy.loops if host is None or host.index(loop) < 0]


def tile_of(copy: Stage) -> np.ndarray:
    """Elements that a copy holds: float64 [N or 1]."""
    return trips(own_loops(copy)) if copy.copied is None else copy.held.astype(np.float64)


def rounds_of(copy: Stage, block: np.ndarray) -> np.ndarray:
    """How often a copy is made; one to shared memory once for all ``block`` threads, virtual ones
    too. float64 [N or 1]."""
    own = own_loops(copy)
    around = [loop for loop in copy.nest() if all(loop is not mine for mine in own)]
    rounds = trips(around) if copy.host is not None else np.ones(1)
    return np.maximum(rounds / block, 1.0) if copy.scope.startswith("shared") else rounds


def vector_of(copy: Stage) -> np.ndarray:
    """Elements that a thread copies at once: float64 [N or 1]."""
    told = copy.annotations.get("meta_schedule.cooperative_fetch")
    if told is not None:
        return np.maximum(told, 1.0)
    return trips([loop for loop in copy.loops if loop.annotation == "vectorize"])


def copied_by(
    copy: Stage, shapes: Mapping[str, Sequence[int]]
) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """Elements that a copy holds along each dimension of a tensor, and those that this has.

    int64 [N or 1] each; nothing where they are unknown. ``shapes``: of the program's tensors.
    """
    if copy.copied is not None:
        return copy.copied
    shape = shapes.get(copy.reads[0].tensor, ()) if copy.reads else ()
    if len(shape) != len(copy.axes):
        return ()
    own = own_loops(copy)
    return [(steps_of(own, axis), extents(size)) for axis, size in zip(copy.axes, shape)]
