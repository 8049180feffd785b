"""What each of Ansor's transform steps does to the numbered stages and iterators.

What a stage looks like is learned from the steps themselves, a split names an extent, a reorder the
number of iterators, and from what `operands` and `operators` tell by them. The rules follow
``src/auto_scheduler/transform_step.cc`` (TVM 0.8 to 0.19).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wmhub.actions import ANSOR_ANNOTATIONS, ANSOR_STEPS, Action, ActionKind
from wmhub.nest import Axis, Loop, Stage, extents, fuse_loops, split_loop, steps_of
from wmhub.replay import operands, operators
from wmhub.replay.workload_key import WorkloadKey

_MOST_STAGES = 4096
#: Iterators of a stage, and of all: those of real schedules are a few dozen, and a few hundred.
_MOST_ITERATORS = 256
_MOST_TOLD = 1 << 14


class StepReplay:
    """The state of one replay: the numbered stages, and the actions so far."""

    def __init__(self, table: np.ndarray, key: WorkloadKey) -> None:
        self.table = table
        self.key = key
        self.column = 0
        self.stages: list[Stage] = []
        self.created: list[Stage] = []
        self.actions: list[Action] = []
        self.unknown: list[str] = []
        self.splits: dict[int, list[np.ndarray]] = {}
        self.split_extents: dict[int, np.ndarray] = {}
        #: The loop at which each hosted stage is computed, by the stage's identity.
        self.locations: dict[int, Loop] = {}
        self.number = 0
        #: Iterators that some step has mentioned.
        self.told = 0

    def step(self, step: Sequence[Any]) -> None:
        """Takes one step, of a kind that need not be known."""
        name = step[0]
        handler = _HANDLERS.get(name)
        if handler is None:
            self.unknown.append(str(name))
            self.actions.append(Action(ActionKind.OTHER, str(name), -1))
        else:
            handler(self, step)
        self.number += 1

    # -- looking things up --------------------------------------------------------------------

    def _stage(self, number: Any) -> Stage:
        if not 0 <= number < _MOST_STAGES:
            raise ValueError(f"stage {number}")
        while len(self.stages) <= number:
            stage = Stage(f"stage{len(self.created)}", [], [])
            self.stages.append(stage)
            self.created.append(stage)
        return self.stages[number]

    def _loop(self, stage: Stage, number: Any) -> Loop:
        """The iterator ``number`` of a stage; those not yet mentioned have unknown extents."""
        if not 0 <= number < _MOST_ITERATORS:
            raise ValueError(f"iterator {number}")
        while len(stage.loops) <= number:
            self.told += 1
            if self.told > _MOST_TOLD:
                raise ValueError(f"more than {_MOST_TOLD:,} iterators")
            axis = Axis(f"i{len(stage.axes)}", extents(0), None)
            stage.axes.append(axis)
            stage.loops.append(Loop.over(axis))
        return stage.loops[number]

    def _next(self) -> np.ndarray:
        """The next number of each candidate; [1] when they agree."""
        values = self.table[:, self.column]
        self.column += 1
        return values[:1] if values.size and (values == values[0]).all() else values

    def _emit(self, step: Sequence[Any], stage: Stage | None, **details: Any) -> None:
        number = next((i for i, s in enumerate(self.created) if s is stage), -1)
        kind = details.pop("kind", ANSOR_STEPS[step[0]])
        self.actions.append(Action(kind, step[0], number, **details))

    # -- one method per kind of step ----------------------------------------------------------

    def _apply_split(
        self, step: Sequence[Any], stage: Stage, at: int, factors: list[np.ndarray | None]
    ) -> None:
        loop = self._loop(stage, at)
        made = split_loop(loop, factors)
        self._emit(step, stage, loops=(loop,), results=tuple(made))
        stage.loops = [*stage.loops[:at], *made, *stage.loops[at + 1 :]]
        self._relocate([loop], made[-1])

    def _split(self, step: Sequence[Any]) -> None:
        stage, at = self._stage(step[1]), step[2]
        extent = self._next()
        lengths = [self._next() for _ in step[4]]
        loop = self._loop(stage, at)
        if stage.copied is not None:
            # The log's extent is another candidate's; see `operators`.
            loop.extent = stage.held
        elif (extent > 0).all():
            if len(loop.parts) == 1 and loop.parts[0][0].extent.max() == 0:
                loop.parts[0][0].extent = extent
            if len(loop.parts) == 1:
                loop.parts = ((loop.parts[0][0], extent),)
            loop.extent = extent
        self.splits[self.number] = lengths
        self.split_extents[self.number] = loop.extent
        inferred: list[np.ndarray | None] = [None]
        known: list[np.ndarray | None] = list(lengths)
        self._apply_split(step, stage, at, inferred + known if step[5] else known + inferred)

    def _follow_split(self, step: Sequence[Any]) -> None:
        lengths = self.splits.get(step[3], [])
        count = step[4]
        factors: list[np.ndarray | None] = list(lengths[: count - 1])
        tail = extents(1)
        for length in lengths[count - 1 :]:
            tail = tail * length
        stage, at = self._stage(step[1]), step[2]
        self._inherit(stage, at, step[3])
        self._apply_split(step, stage, at, [None, *factors, tail])

    def _inherit(self, stage: Stage, at: int, source: Any) -> None:
        """A follow-split walks an axis as long as the one it follows."""
        loop = self._loop(stage, at)
        extent = self.split_extents.get(source)
        if extent is not None and loop.extent.max() == 0 and len(loop.parts) == 1:
            axis = loop.parts[0][0]
            axis.extent = loop.extent = extent
            loop.parts = ((axis, extent),)

    def _follow_fused_split(self, step: Sequence[Any]) -> None:
        level, by_factor = step[4], step[5]
        length = extents(1)
        for source in step[3]:
            lengths = self.splits.get(source, [])
            length = length * (lengths[level] if level < len(lengths) else extents(1))
        factors: list[np.ndarray | None] = [None, length] if by_factor else [length, None]
        self._apply_split(step, self._stage(step[1]), step[2], factors)

    def _fuse(self, step: Sequence[Any]) -> None:
        stage, numbers = self._stage(step[1]), step[2]
        if not numbers:
            return
        loops = [self._loop(stage, n) for n in numbers]
        made = fuse_loops(loops)
        self._emit(step, stage, loops=tuple(loops), results=(made,))
        stage.replace(loops, [made])
        self._relocate(loops, made)

    def _relocate(self, old: Sequence[Loop], new: Loop) -> None:
        """What was computed at one of the ``old`` loops is computed at the ``new`` one, as in
        Ansor's attach map."""
        for stage, loop in self.locations.items():
            if any(loop is one for one in old):
                self.locations[stage] = new

    def _reorder(self, step: Sequence[Any]) -> None:
        stage, order = self._stage(step[1]), step[2]
        if order:
            self._loop(stage, len(order) - 1)
        if sorted(order) != list(range(len(stage.loops))):
            raise ValueError(f"not an order of {len(stage.loops)} iterators")
        before = list(stage.loops)
        stage.loops = [before[n] for n in order]
        self._emit(step, stage, loops=tuple(stage.loops), order=tuple(order))

    def _annotate(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        loop = self._loop(stage, step[2])
        known = 0 <= step[3] < len(ANSOR_ANNOTATIONS)
        word = ANSOR_ANNOTATIONS[step[3]] if known else f"annotation{step[3]}"
        kinds = {
            "parallel": ActionKind.PARALLEL, "vectorize": ActionKind.VECTORIZE,
            "unroll": ActionKind.UNROLL, "tensorize": ActionKind.TENSORIZE,
        }  # fmt: skip
        is_axis = word.startswith(("block", "thread", "vthread"))
        kind = ActionKind.BIND if is_axis else kinds.get(word, ActionKind.ANNOTATE)
        self._emit(step, stage, kind=kind, loops=(loop,), text=word)
        loop.annotation = word

    def _pragma(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        key = str(step[3]).partition("$")[0]
        value = self._next().astype(np.float64)
        stage.annotations[key] = value
        self._emit(step, stage, text=key, value=value)

    def _compute_at(self, step: Sequence[Any]) -> None:
        stage, host = self._stage(step[1]), self._stage(step[2])
        loop = self._loop(host, step[3])
        number = next(i for i, s in enumerate(self.created) if s is host)
        self._emit(step, stage, loops=(loop,), target=number, position=step[3])
        stage.host, self.locations[id(stage)] = host, loop
        if stage.role == "cache_read":
            self._copy(stage, host, loop)

    def _copy(self, stage: Stage, host: Stage, location: Loop) -> None:
        """Tells what a copy holds, which is nothing that its steps could."""
        for own in stage.loops:
            own.extent, own.parts = extents(0), ()
        reads, _ = operands.accesses_of(host, self.key)
        # The last operand, whose stage has the highest number, is copied first.
        number = sum(one.copied is not None and one.host is host for one in self.created)
        stage.copied = ()
        if number < len(reads):
            stage.reads = [reads[-1 - number]]
            stage.copied = operators.copied(host, stage.reads[0], location)

    def _compute_inline(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        self._emit(step, stage)
        stage.inlined = True

    def _compute_root(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        self._emit(step, stage)
        stage.host, stage.inlined = None, False

    def _insert(self, number: int, role: str, scope: str) -> Stage:
        stage = Stage(f"stage{len(self.created)}.{role}", [], [], role=role, scope=scope)
        self.stages.insert(number, stage)
        self.created.append(stage)
        return stage

    def _cache_read(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        self._emit(step, stage, text=str(step[2]), position=len(step[3]))
        self._insert(step[1] + 1, "cache_read", str(step[2]))

    def _cache_write(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        self._emit(step, stage, text=str(step[2]))
        # The computation moves into the new stage at this number; the old one only copies.
        copy = self._insert(step[1] + 1, "cache_write", "global")
        copy.loops, copy.axes = [], []
        stage.scope = str(step[2])

    def _rfactor(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        loop = self._loop(stage, step[2])
        self._emit(step, stage, loops=(loop,), position=step[3])
        # What only the whole axis tells, has to be told before it is two.
        operators.fill_extents(stage, self.key.sizes)
        rest = [own for own in stage.loops if own is not loop]
        at = min(max(int(step[3]), 0), len(rest))
        # The partial reduction takes this number, with the factored iterator among the spatial
        # ones; the final one follows, and walks those and what was factored.
        factor = Axis("factor", loop.extent, False)
        stage.loops = [*rest[:at], Loop.over(factor), *rest[at:]]
        for axis in loop.axes:
            axis.is_reduction = True
            axis.extent = steps_of(rest, axis) * (axis.extent > 0)
        stage.axes.append(factor)
        final = self._insert(step[1] + 1, "rfactor", stage.scope)
        final.axes = [
            Axis(own.parts[0][0].name, own.extent, False) for own in rest[:at] if own.parts
        ]
        final.axes.append(Axis("factor", loop.extent, True))
        final.loops = [Loop.over(axis) for axis in final.axes]

    def _storage_align(self, step: Sequence[Any]) -> None:
        stage = self._stage(step[1])
        self._emit(step, stage, loops=(self._loop(stage, step[2]),))

    def finish(self) -> None:
        """Tells what only all steps together do."""
        if not self.created:
            self._stage(0)  # A schedule that is as the program was.
        for stage in self.created:
            operators.fill_extents(stage, self.key.sizes)
            operators.mark_reductions(stage, self.created)
            if stage.role == "compute":
                stage.reads, stage.writes = operands.accesses_of(stage, self.key)
            # How deep in its host's final nest it stands. Of copies the tile is known.
            stage.is_whole = stage.role != "cache_read"
            if stage.host is not None:
                stage.depth = stage.host.index(self.locations[id(stage)]) + 1


_HANDLERS: dict[str, Callable[[StepReplay, Sequence[Any]], None]] = {
    "SP": StepReplay._split,
    "FSP": StepReplay._follow_split,
    "FFSP": StepReplay._follow_fused_split,
    "FU": StepReplay._fuse,
    "RE": StepReplay._reorder,
    "AN": StepReplay._annotate,
    "PR": StepReplay._pragma,
    "CA": StepReplay._compute_at,
    "CI": StepReplay._compute_inline,
    "CR": StepReplay._compute_root,
    "CHR": StepReplay._cache_read,
    "CHW": StepReplay._cache_write,
    "RF": StepReplay._rfactor,
    "SA": StepReplay._storage_align,
}
