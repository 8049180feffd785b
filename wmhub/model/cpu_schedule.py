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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wmhub.nest import Stage, trips
from wmhub.program import Access, Index
from wmhub.trajectory import Trajectories

_STILL = np.zeros(1)


@dataclass(frozen=True)
class CpuSchedule:
    """How one stage runs, for N candidates; arrays of shape [1] where all agree."""

    tasks: np.ndarray
    """float64 [N or 1]: iterations of the parallel loop around it; 1 where one core does all."""
    vector: np.ndarray
    """float64 [N or 1]: elements that one vector operation handles; 1 for scalar code."""
    in_vector: tuple[np.ndarray, ...]
    """bool [N or 1] for each loop from the inside: whether the vector covers it."""
    gathers: np.ndarray
    """float64 [N or 1]: accesses whose elements of one vector do not lie side by side, nor are all
    the same one, so that they are moved one by one."""


def cpu_schedules(trajectories: Trajectories) -> list[tuple[Stage, CpuSchedule]]:
    """Of every stage that has loops and is not inlined."""
    live = [stage for stage in trajectories.stages if not stage.inlined and stage.loops]
    shapes = _shapes(trajectories, live)
    return [(stage, _schedule(trajectories, stage, live, shapes)) for stage in live]


def annotation_of(
    trajectories: Trajectories, stage: Stage, keys: Sequence[str]
) -> np.ndarray | None:
    """A numeric annotation of ``stage``, else of any other stage; float64 [N or 1]."""
    for one in (stage, *trajectories.stages):
        for key in keys:
            if key in one.annotations:
                return np.asarray(one.annotations[key], np.float64)
    return None


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
        inside = [np.full(1, loop.annotation == "vectorize") for loop in stage.loops[::-1]]
        return CpuSchedule(
            trips([loop for loop in around if loop.annotation == "parallel"]),
            trips([loop for loop in stage.loops if loop.annotation == "vectorize"]),
            tuple(inside),
            np.zeros(1),
        )
    return _Fusing(stage, live, shapes).schedule(parallel, vectorize)


class _Fusing:
    """Which loops of one stage's nest are fused, from its outer and from its inner end."""

    def __init__(
        self, stage: Stage, live: Sequence[Stage], shapes: Mapping[str, Sequence[int]]
    ) -> None:
        self._stage = stage
        self._count = len(stage.loops)
        loops = stage.loops
        #: float64 [L, N or 1]
        self._extents = np.empty((self._count, max(len(loop.extent) for loop in loops)))
        for row, loop in zip(self._extents, loops):
            row[:] = loop.extent
        np.maximum(self._extents, 1.0, out=self._extents)
        self._spatial = [not loop.is_reduction for loop in loops]
        shared = {_common(stage, other) for other in live if other is not stage}
        #: Whether a loop's body is one statement: no other stage stands beside the next loop.
        self._single = [depth not in shared for depth in range(1, self._count + 1)]
        moves = {_move(access, stage, shapes) for access in (*stage.reads, *stage.writes)}
        #: Where a tensor's shape is unknown, TVM makes no vectors, and neither is there a gather.
        self._has_shapes = None not in moves
        self._moves = {move for move in moves if move is not None}
        self._walks = self._walk()

    def schedule(self, parallel: np.ndarray | None, vectorize: np.ndarray | None) -> CpuSchedule:
        """What comes of the two annotations, where they are there."""
        none = np.full(1, -1)
        width = none if vectorize is None else self._vectorized(vectorize)
        outer = none if parallel is None else self._parallel(parallel)
        both = (outer >= 0) & (width >= 0)
        # A vector takes precedence over the loops that would be parallel.
        outer = np.where(both, np.minimum(outer, self._count - width), outer)
        ahead = np.cumprod(np.vstack([np.ones_like(self._extents[:1]), self._extents]), axis=0)
        every = np.arange(self._extents.shape[1])
        total = ahead[-1]
        tasks = ahead[np.maximum(outer, 0), every]
        vector = total / ahead[self._count - np.maximum(width, 0), every]
        inside = [width > place for place in range(self._count)]
        covered = inside
        if vectorize is not None and all(self._single) and all(self._spatial):
            whole = both & (self._contiguous(self._count) == self._count)
            tasks = np.where(whole, np.ceil(total / vectorize), tasks)
            vector = np.where(whole, np.minimum(vectorize, total), vector)
            # The loops that a vector of the one loop runs across.
            covered = [
                np.where(whole, size % vector != 0, part)
                for part, size in zip(inside, (total / ahead)[:0:-1])
            ]
            inside = [part & ~whole for part in inside]
        return CpuSchedule(tasks, vector, tuple(inside), self._gathers(covered))

    def _parallel(self, most: np.ndarray) -> np.ndarray:
        """How many outer loops are fused, -1 for none: int64 [N or 1]."""
        count, product, going = np.zeros(1, np.int64), np.ones(1), np.ones(1, bool)
        for extent, spatial, single in zip(self._extents, self._spatial, self._single):
            if not (spatial and going.any()):
                break
            count = count + going
            product = np.where(going, product * extent, product)
            going = going & (product <= most) & single
        return np.where(product == 1, -1, count)

    def _vectorized(self, most: np.ndarray) -> np.ndarray:
        """How many inner loops are fused, -1 for none: int64 [N or 1]."""
        reach, size = 0, np.ones(1)
        while reach < self._count and (size <= most).any():
            place = self._count - 1 - reach
            if not (self._spatial[place] and self._single[place]):
                break
            reach, size = reach + 1, size * self._extents[place]
        contiguous = self._contiguous(reach)
        count, product, going = np.zeros(1, np.int64), np.ones(1), np.ones(1, bool)
        for extent in self._extents[::-1][:reach]:
            going = going & (count < contiguous)
            product = np.where(going, product * extent, product)
            going = going & (product <= most)
            count = count + going
        return np.where(product == 1, -1, count)

    def _contiguous(self, reach: int) -> np.ndarray:
        """Of the ``reach`` innermost loops, how many every access walks without a gap.

        Loops that an access does not move with leave no gap. int64 [N or 1].
        """
        if not self._has_shapes:
            return np.zeros(1, np.int64)
        least = np.full(1, reach)
        for move in self._moves:
            least = np.minimum(least, self._walked(move, reach))
        return least

    def _walked(self, move: _Move, reach: int) -> np.ndarray:
        """``_contiguous`` of one access."""
        count, going = np.zeros(1, np.int64), np.ones(1, bool)
        before, width = np.zeros(1), np.ones(1)
        for (stride, _), extent in zip(self._steps(move, reach), self._extents[::-1]):
            moves, begun = stride != 0, before != 0
            next_to = np.where(begun, stride == before * width, (stride == 1) | (count == 0))
            going = going & (~moves | next_to)
            if not going.any():
                break
            count = count + going
            before, width = np.where(moves, stride, before), np.where(moves, extent, width)
        return count

    def _gathers(self, covered: Sequence[np.ndarray]) -> np.ndarray:
        """How many accesses are gathered where a vector covers loops: float64 [N or 1].

        ``covered``, for each loop from the inside, is bool [N or 1].
        """
        reach = next((n for n, part in enumerate(covered) if not part.any()), len(covered))
        count = np.zeros(1)
        for move in self._moves if reach else ():
            count = count + self._is_gathered(move, covered[:reach])
        return count

    def _is_gathered(self, move: _Move, covered: Sequence[np.ndarray]) -> np.ndarray:
        gathered, moves, stays = (np.zeros(1, bool) for _ in range(3))
        end = np.ones(1)
        steps = self._steps(move, len(covered))
        for (stride, hidden), extent, part in zip(steps, self._extents[::-1], covered):
            here = part & (extent > 1)
            still = stride == 0
            gathered = gathered | (here & (hidden | (~still & (stride != end))))
            moves, stays = moves | (here & ~still), stays | (here & still)
            end = np.where(here, end * extent, end)
        # Elements side by side, and all of them again and again.
        return gathered | (moves & stays)

    def _steps(self, move: _Move, reach: int) -> Iterator[tuple[np.ndarray, bool]]:
        """Of the ``reach`` innermost loops from the inside: by how much each moves an access, and
        whether it does so in a way that TVM does not see."""
        for axes, step in self._walks[:reach]:
            stride = _STILL if step is None else move.strides[axes[0]] * step
            yield stride, not move.hidden.isdisjoint(axes)

    def _walk(self) -> list[tuple[list[int], np.ndarray | None]]:
        """Of each loop from the inside: numbers of the axes that it walks, and the steps that it
        takes along its axis, float64 [N or 1].

        A loop of one iteration takes none. Neither does a fused one: it is hidden in divisions,
        where TVM does not look for it.
        """
        number = {id(axis): at for at, axis in enumerate(self._stage.axes)}
        inside = [np.ones(1) for _ in number]
        walks: list[tuple[list[int], np.ndarray | None]] = []
        for loop, extent in zip(self._stage.loops[::-1], self._extents[::-1]):
            axes = [number[id(axis)] for axis, _ in loop.parts if id(axis) in number]
            alone = len(loop.parts) == 1 and axes
            walks.append((axes, np.where(extent > 1, inside[axes[0]], 0.0) if alone else None))
            for axis, part in loop.parts:
                if id(axis) in number:
                    at = number[id(axis)]
                    inside[at] = inside[at] * np.maximum(part, 1)
        return walks


@dataclass(frozen=True)
class _Move:
    """How an access moves with the axes of its stage."""

    strides: tuple[int, ...]
    """Elements for a step of each axis."""
    hidden: frozenset[int]
    """Axes that it moves with by a division or the like, which have no stride."""


def _common(stage: Stage, other: Stage) -> int:
    """How many outer loops two stages share."""
    shared = 0
    for mine, theirs in zip(stage.loops, other.loops):
        if mine is not theirs:
            break
        shared += 1
    return shared


def _move(access: Access, stage: Stage, shapes: Mapping[str, Sequence[int]]) -> _Move | None:
    """How ``access`` moves; ``None`` where the shape of its tensor is unknown."""
    shape = shapes.get(access.buffer)
    if shape is None or len(shape) != len(access.indices):
        return None
    strides = [0] * len(stage.axes)
    used: set[int] = set()
    size = 1
    for index, extent in zip(access.indices[::-1], shape[::-1]):
        for axis in {axis for axis in index.variables() if axis < len(strides)}:
            used.add(axis)
            # The last dimension that an axis occurs in counts, as in TVM.
            if strides[axis] == 0:
                strides[axis] = (_coefficient(index, axis) or 0) * size
        size *= extent
    return _Move(tuple(strides), frozenset(axis for axis in used if strides[axis] == 0))


def _coefficient(index: Index, axis: int) -> int | None:
    """The factor of ``axis`` in ``index``, as TVM's ``StrideExtractor`` sees it."""
    if index.op == "var":
        return 1 if index.value == axis else None
    if index.op == "-" and index.args[1].op == "const":
        return _coefficient(index.args[0], axis)
    if index.op == "+":
        found = [c for arg in index.args if (c := _coefficient(arg, axis)) is not None]
        return min(found, default=None)
    if index.op == "*":
        for scale, other in (index.args, index.args[::-1]):
            if scale.op == "const":
                inner = _coefficient(other, axis)
                return None if inner is None else inner * scale.value
    return None


def _shapes(trajectories: Trajectories, live: Sequence[Stage]) -> dict[str, tuple[int, ...]]:
    """Shapes of the buffers that ``live`` stages touch, as far as they are known."""
    buffers = trajectories.program.buffers if trajectories.program else {}
    shapes = {name: buffer.shape for name, buffer in buffers.items()}
    for stage in live:
        for access in stage.writes:
            if access.buffer not in shapes and all(i.op == "var" for i in access.indices):
                axes = [stage.axes[i.value] for i in access.indices if i.value < len(stage.axes)]
                shapes[access.buffer] = tuple(int(axis.extent.max()) for axis in axes)
    for stage in live:
        for access in [*stage.reads, *stage.writes]:
            # A copy in other memory, ``name.scope.number``, has the shape of the whole.
            whole = shapes.get(access.buffer.split(".")[0])
            if access.buffer not in shapes and whole is not None:
                shapes[access.buffer] = whole
    return shapes
