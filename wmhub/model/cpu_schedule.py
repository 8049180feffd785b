"""What MetaSchedule's post-processing will make of a nest on a CPU: its tasks and its vectors.

``RewriteParallelVectorizeUnroll`` decides both after sampling, from annotations of the whole
program, block by block: it fuses outer spatial loops until their product exceeds
``meta_schedule.parallel``, and inner ones while it stays within ``meta_schedule.vectorize`` and all
accesses stay contiguous; a block whose loops could all be fused becomes one parallel loop over
vectors. This follows ``src/s_tir/meta_schedule/postproc/rewrite_parallel_vectorize_unroll.cc`` of
TVM for N candidates at once. A nest that says itself what is parallel or a vector (Ansor's) is
taken at its word.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from wmhub.model.loop_table import LoopTable, inclusive
from wmhub.model.movement import move_of, shapes_of
from wmhub.nest import Stage, trips
from wmhub.trajectory import Trajectories

#: Annotation of a block whose body becomes an instruction of its own.
_TENSORIZE = "meta_schedule.auto_tensorize"


@dataclass(frozen=True)
class CpuSchedule:
    """How one stage runs, for N candidates; arrays of shape [1] where all agree."""

    runs: np.ndarray
    """float64 [N or 1]: how often its body is executed, vectors taken apart."""
    tasks: np.ndarray
    """float64 [N or 1]: iterations of the parallel loop around it; 1 where one core does all."""
    vector: np.ndarray
    """float64 [N or 1]: elements that one vector operation handles; 1 for scalar code."""
    in_vector: np.ndarray
    """bool [L, N or 1], for each loop from the inside: whether the vector covers it."""
    gathers: np.ndarray
    """float64 [N or 1]: accesses whose elements of one vector do not lie side by side, nor are all
    the same one, so that they are moved one by one."""


def cpu_schedules(trajectories: Trajectories) -> list[tuple[Stage, CpuSchedule]]:
    """Of every stage that has loops and is not inlined; one that was made a block, once."""
    found = [stage for stage in trajectories.stages if not stage.inlined and stage.loops]
    live = [stage for stage in found if not stage.inner]
    marked = {action.stage for action in trajectories.actions if action.text == _TENSORIZE}
    blocks = [trajectories.stages[at] for at in sorted(marked) if at >= 0]
    shapes = shapes_of(trajectories, live)
    schedules = []
    for stage in live:
        block = next((one for one in blocks if _is_around(one, stage)), None)
        schedule = (
            _schedule(trajectories, stage, live, shapes)
            if block is None
            else _in_intrinsic(trajectories, stage, block, live, shapes)
        )
        schedules.append((stage, schedule))
    return schedules


def annotation_of(
    trajectories: Trajectories, stage: Stage, keys: Sequence[str]
) -> np.ndarray | None:
    """A numeric annotation of ``stage``, else of any other stage; float64 [N or 1]."""
    for one in (stage, *trajectories.stages):
        for key in keys:
            if key in one.annotations:
                return np.asarray(one.annotations[key], np.float64)
    return None


def _is_around(block: Stage, stage: Stage) -> bool:
    """Whether ``block`` was made of the inner loops of ``stage``."""
    nest = [*block.loops, *block.inner]
    is_nest = len(nest) == len(stage.loops) and all(map(operator.is_, nest, stage.loops))
    return bool(block.loops and block.inner) and is_nest


def _in_intrinsic(
    trajectories: Trajectories,
    stage: Stage,
    block: Stage,
    live: Sequence[Stage],
    shapes: Mapping[str, Sequence[int]],
) -> CpuSchedule:
    """What an instruction does is a vector over the loops inside ``block``."""
    around = _schedule(trajectories, block, [one for one in live if one is not stage], shapes)
    inside = [*[[True]] * len(block.inner), *[[False]] * len(block.loops)]
    return CpuSchedule(
        trips(stage.nest()), around.tasks, trips(block.inner), np.array(inside), np.zeros(1)
    )


def _schedule(
    trajectories: Trajectories,
    stage: Stage,
    live: Sequence[Stage],
    shapes: Mapping[str, Sequence[int]],
) -> CpuSchedule:
    around = [*stage.outer_loops(), *stage.loops]
    parallel = annotation_of(trajectories, stage, ("meta_schedule.parallel",))
    vectorize = annotation_of(trajectories, stage, ("meta_schedule.vectorize",))
    if (parallel is None and vectorize is None) or any(loop.annotation for loop in around):
        inside = [[loop.annotation == "vectorize"] for loop in stage.loops[::-1]]
        return CpuSchedule(
            trips(stage.nest()),
            trips([loop for loop in around if loop.annotation == "parallel"]),
            trips([loop for loop in stage.loops if loop.annotation == "vectorize"]),
            np.array(inside),
            np.zeros(1),
        )
    return _Fusing(stage, live, shapes).schedule(trips(stage.nest()), parallel, vectorize)


class _Fusing:
    """Which loops of one stage's nest are fused, from its outer and from its inner end."""

    def __init__(
        self, stage: Stage, live: Sequence[Stage], shapes: Mapping[str, Sequence[int]]
    ) -> None:
        self._stage = stage
        self._count = len(stage.loops)
        loops = LoopTable.of(stage.loops)
        #: float64 [L, N or 1]
        self._extents = loops.sizes.astype(np.float64)
        #: Iterations of the outer 0 to L loops, and of the inner 0 to L: float64 [L + 1, N or 1].
        self._outer = inclusive(self._extents)
        self._inner = inclusive(self._extents[::-1])
        self._every = np.arange(self._extents.shape[1])
        shared = {_common(stage, other) for other in live if other is not stage}
        #: Whether a loop's body is one statement: no other stage stands beside the next loop.
        single = [depth not in shared for depth in range(1, self._count + 1)]
        spatial = [not is_reduction for is_reduction in loops.is_reduction[:, 0].tolist()]
        #: How many outer loops may be fused as to what they are, and how many inner ones.
        self._most_outer = _leading(spatial)
        if not all(single):
            # The loop whose body is more than one statement is the last one.
            self._most_outer = min(self._most_outer, _leading(single) + 1)
        self._most_inner = _leading([a and b for a, b in zip(spatial[::-1], single[::-1])])
        found = {move_of(access, stage, shapes) for access in (*stage.reads, *stage.writes)}
        #: Where a tensor's shape is unknown, TVM makes no vectors, and neither is there a gather.
        self._has_shapes = None not in found
        self._moves = [move for move in found if move is not None]
        self._steps = self._walk()

    def schedule(
        self, runs: np.ndarray, parallel: np.ndarray | None, vectorize: np.ndarray | None
    ) -> CpuSchedule:
        """What comes of the two annotations, where they are there; ``runs`` as in the result."""
        none = np.full(1, -1)
        width = none if vectorize is None else self._vectorized(vectorize)
        outer = none if parallel is None else self._parallel(parallel)
        both = (outer >= 0) & (width >= 0)
        # A vector takes precedence over the loops that would be parallel.
        outer = np.where(both, np.minimum(outer, self._count - width), outer)
        total = self._outer[-1]
        tasks = self._outer[np.maximum(outer, 0), self._every]
        vector = total / self._outer[self._count - np.maximum(width, 0), self._every]
        inside = width > np.arange(self._count)[:, None]
        covered = inside
        if vectorize is not None and self._most_inner == self._count:
            whole = both & (self._contiguous(self._count) == self._count)
            tasks = np.where(whole, np.ceil(total / vectorize), tasks)
            vector = np.where(whole, np.minimum(vectorize, total), vector)
            # The loops that a vector of the one loop runs across.
            covered = np.where(whole, (total / self._outer)[:0:-1] % vector != 0, inside)
            inside = inside & ~whole
        return CpuSchedule(runs, tasks, vector, inside, self._gathers(covered))

    def _parallel(self, most: np.ndarray) -> np.ndarray:
        """How many outer loops are fused, -1 for none: int64 [N or 1]."""
        if not self._most_outer:
            return np.full(1, -1)
        # One loop after another, until what is fused exceeds ``most``.
        count = 1 + (self._outer[1 : self._most_outer] <= most).sum(axis=0)
        return np.where(self._outer[count, self._every] == 1, -1, count)

    def _vectorized(self, most: np.ndarray) -> np.ndarray:
        """How many inner loops are fused, -1 for none: int64 [N or 1]."""
        fits = self._inner <= most
        reach = int(fits[: self._most_inner].any(axis=1).sum())
        contiguous = self._contiguous(reach)
        count = fits[1 : reach + 1].sum(axis=0)
        # The loop with which it becomes too much is looked at as well.
        looked_at = self._inner[np.minimum(count + 1, contiguous), self._every]
        return np.where(looked_at == 1, -1, np.minimum(count, contiguous))

    def _contiguous(self, reach: int) -> np.ndarray:
        """Of the ``reach`` innermost loops, how many every access walks without a gap.

        Loops that an access does not move with leave no gap. int64 [N or 1].
        """
        if not self._has_shapes:
            return np.zeros(1, np.int64)
        if not self._moves:
            return np.full(1, reach)
        # For each access, [M, N or 1]; ``next_to`` is the stride that leaves no gap.
        count, going = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
        next_to = np.ones((1, 1))
        for place, extent in enumerate(self._extents[::-1][:reach]):
            stride = self._steps[place][0]
            if stride is not None:
                still = stride == 0
                if place:
                    going = going & (still | (stride == next_to))
                next_to = np.where(still, next_to, stride * extent)
            count = count + going
        return count.min(axis=0)

    def _gathers(self, covered: np.ndarray) -> np.ndarray:
        """How many accesses are gathered where a vector covers loops: float64 [N or 1].

        ``covered``, for each loop from the inside, is bool [L, N or 1].
        """
        reach = int(np.logical_and.accumulate(covered.any(axis=1)).sum())
        if not reach or not self._moves:
            return np.zeros(1)
        gathered, moves, stays = (np.zeros((len(self._moves), 1), bool) for _ in range(3))
        end = np.ones(1)
        for (stride, hidden), extent, part in zip(
            self._steps, self._extents[::-1], covered[:reach]
        ):
            here = part & (extent > 1)
            if hidden is not None:
                gathered = gathered | (here & hidden)
            if stride is None:
                stays = stays | here
            else:
                moving = here & (stride != 0)
                gathered = gathered | (moving & (stride != end))
                moves, stays = moves | moving, stays | (here & (stride == 0))
            end = np.where(here, end * extent, end)
        # Elements side by side, and all of them again and again.
        return (gathered | (moves & stays)).sum(axis=0).astype(np.float64)

    def _walk(self) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
        """Of each inner loop that may be fused, from the inside, for each of M accesses: elements
        by which a step moves it, float64 [M, N or 1]; and whether it does so in a way that TVM does
        not see and that leaves gaps, bool [M, N or 1]. ``None`` where no access moves so.

        A loop of one iteration moves none. Neither does a fused one: it is hidden in divisions,
        where TVM does not look for it.
        """
        if not self._moves:
            return []
        number = {id(axis): at for at, axis in enumerate(self._stage.axes)}
        inside = [np.ones(1) for _ in number]
        strides = np.array([move.strides for move in self._moves], dtype=np.float64)
        moving = {axis for move in self._moves for axis, step in enumerate(move.strides) if step}
        hiding = {axis for move in self._moves for axis in move.hidden}
        walks: list[tuple[np.ndarray | None, np.ndarray | None]] = []
        loops = self._stage.loops[::-1][: self._most_inner]
        for loop, extent in zip(loops, self._extents[::-1]):
            axes = [number[id(axis)] for axis, _ in loop.parts if id(axis) in number]
            stride = hidden = None
            if len(loop.parts) == 1 and axes and axes[0] in moving:
                steps = np.where(extent > 1, inside[axes[0]], 0.0)
                stride = strides[:, axes[0]][:, None] * steps
            if not hiding.isdisjoint(axes):
                ends = [inside[at] * extent for at in axes]
                hidden = np.stack([move.leaves_gaps(axes, ends) for move in self._moves])
            walks.append((stride, hidden))
            for axis, part in loop.parts:
                if id(axis) in number:
                    at = number[id(axis)]
                    inside[at] = inside[at] * np.maximum(part, 1)
        return walks


def _leading(marks: Iterable[bool]) -> int:
    """How many of ``marks`` are true before the first that is not."""
    return sum(1 for _ in takewhile(bool, marks))


def _common(stage: Stage, other: Stage) -> int:
    """How many outer loops two stages share."""
    shared = 0
    for mine, theirs in zip(stage.loops, other.loops):
        if mine is not theirs:
            break
        shared += 1
    return shared
