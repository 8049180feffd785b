"""Replays MetaSchedule traces without TVM: trace instructions to `Action`s and final nests.

A trace names loops and blocks by variables (``l14``, ``b1``); the replay binds each to the `Loop`
and `Stage` objects that the instruction would produce. Loop extents after ``ComputeAt`` follow
from the regions that consumers read, by interval arithmetic on the program's affine accesses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wmhub.actions import META_SCHEDULE_INSTRUCTIONS, Action, ActionKind
from wmhub.nest import Axis, Loop, Stage, extents, fuse_loops, span, split_loop
from wmhub.program import Access, Index, Program
from wmhub.records import Scheduler
from wmhub.trajectory import Group, Trajectories, group_by

if TYPE_CHECKING:
    #: What a trace variable may stand for. ``None``: something the replay could not follow.
    Bound = Stage | Loop | np.ndarray | str | None

_TILES = ("SamplePerfectTile", "SamplePartitionedTile")


def replay_traces(
    program: Program, traces: Sequence[Any], include_postproc: bool = False
) -> list[Group]:
    """Groups parsed traces (``[instructions, decisions]``) by structure and replays each group.

    What post-processors did (from ``EnterPostproc`` on) is left out unless ``include_postproc``:
    it follows from the rest, and a candidate is ranked before any post-processor runs.
    """
    keys, tables = [], []
    for instructions, decisions in traces:
        names = [i[0] for i in instructions]
        if not include_postproc and "EnterPostproc" in names:
            instructions = instructions[: names.index("EnterPostproc")]
        table = {int(at): value for at, value in decisions if int(at) < len(instructions)}
        # A compute location decides which loop is meant, so it is part of the structure.
        located = [(at, v) for at, v in table.items() if names[at] == "SampleComputeLocation"]
        keys.append(json.dumps([instructions, located]))
        tables.append(table)
    groups = []
    for key, members in group_by(keys):
        instructions = json.loads(key)[0]
        rows = [tables[m] for m in members]
        groups.append(Group(members, replay_decisions(program, instructions, rows)))
    return groups


def replay_decisions(
    program: Program, instructions: Sequence[Any], rows: Sequence[dict[int, Any]]
) -> Trajectories:
    """Replays one structure under N settings of its decisions (instruction number -> value)."""
    replay = _Replay(program)
    for number, instruction in enumerate(instructions):
        replay.step(instruction, _decision(instruction, number, rows))
    return Trajectories(
        scheduler=Scheduler.META_SCHEDULE,
        program=program,
        shape=(),
        actions=tuple(replay.actions),
        stages=tuple(replay.stages),
        count=len(rows),
        unknown=tuple(replay.unknown),
    )


def _decision(instruction: Any, number: int, rows: Sequence[dict[int, Any]]) -> Any:
    """The decisions of one sampling instruction, as arrays over the N candidates."""
    name = instruction[0]
    if name in _TILES:
        width = len(instruction[3])
        table = np.ones((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            tile = row.get(number)
            if tile is not None and len(tile) == width:
                table[i] = tile
        return [_shared(table[:, k]) for k in range(width)]
    if name == "SampleCategorical":
        candidates = np.asarray(instruction[2][0], dtype=np.float64)
        chosen = np.array([int(row.get(number) or 0) for row in rows])
        return _shared(candidates[np.clip(chosen, 0, len(candidates) - 1)])
    if name == "SampleComputeLocation":
        return rows[0].get(number, -1) if rows else -1
    return None


def _shared(values: np.ndarray) -> np.ndarray:
    """[1] when all candidates agree, so that what they share is computed once."""
    return values[:1] if values.size and (values == values[0]).all() else values


class _Replay:
    """The state of one replay: stages, variable bindings, and the actions so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.stages: list[Stage] = []
        self.order: list[Stage] = []
        self.actions: list[Action] = []
        self.unknown: list[str] = []
        self.bound: dict[str, Bound] = {}
        self.shapes = {name: b.shape for name, b in program.buffers.items()}
        self._caches = 0
        shared: dict[tuple[tuple[str, int, int], ...], Loop] = {}
        for block in program.blocks:
            axes = [Axis(i.name, extents(i.extent), i.is_reduction) for i in block.iterators]
            loops = []
            for depth, (_, extent, axis) in enumerate(block.loops):
                loop = (
                    Loop.over(axes[axis], extents(extent)) if axis >= 0 else Loop(extents(extent))
                )
                loops.append(loop)
                shared[block.loops[: depth + 1]] = loop
            self._add(
                Stage(
                    block.name, axes, loops, list(block.reads), list(block.writes),
                    operations=block.operations,
                )
            )  # fmt: skip

    def _add(self, stage: Stage, after: Stage | None = None, before: bool = False) -> Stage:
        self.stages.append(stage)
        at = self.order.index(after) + (0 if before else 1) if after else len(self.order)
        self.order.insert(at, stage)
        return stage

    def step(self, instruction: Any, decision: Any) -> None:
        """Applies one instruction; what it returns is bound to its output variables."""
        name, inputs, attrs, outputs = instruction
        values = [self._value(i) for i in inputs]
        handler = _HANDLERS.get(name)
        if handler is not None:
            made = handler(self, name, values, attrs, outputs, decision)
        else:
            self._emit_plain(name, values, attrs)
            made = []
        for variable, value in zip(outputs, [*made, *[None] * len(outputs)]):
            self.bound[variable] = value

    def _value(self, item: Any) -> Any:
        if isinstance(item, str):
            if item in self.bound:
                return self.bound[item]
            return item[1:-1] if item[:1] == '"' else item
        if isinstance(item, list):
            return [self._value(i) for i in item]
        return item

    # -- emitting actions ---------------------------------------------------------------------

    def _number(self, stage: Any) -> int:
        return next((i for i, s in enumerate(self.stages) if s is stage), -1)

    def _owner(self, loop: Any) -> Stage | None:
        """The stage that a loop belongs to: the innermost nest in which it is not shared."""
        holders = [s for s in self.order if not s.inlined and s.index(loop) >= 0]
        return next(
            (s for s in holders if s.index(loop) >= s.depth), holders[0] if holders else None
        )

    def _emit(self, name: str, stage: Any, **details: Any) -> None:
        kind = META_SCHEDULE_INSTRUCTIONS.get(name, ActionKind.OTHER)
        self.actions.append(Action(kind, name, self._number(stage), **details))

    def _emit_plain(self, name: str, values: Sequence[Any], attrs: Sequence[Any]) -> None:
        """An action without effect on loops, or one that this version does not know."""
        if name not in META_SCHEDULE_INSTRUCTIONS:
            self.unknown.append(name)
        stage = next((v for v in values if isinstance(v, Stage)), None)
        loops = tuple(v for v in values if isinstance(v, Loop))
        if stage is None and loops:
            stage = self._owner(loops[0])
        text = next((a for a in attrs if isinstance(a, str)), "")
        self._emit(name, stage, loops=loops, text=text)

    # -- queries ------------------------------------------------------------------------------

    def _by_name(self, name: str) -> Stage | None:
        return next((s for s in self.order if s.name == name), None)

    def _get_block(self, _n: str, _v: Any, attrs: Any, _o: Any, _d: Any) -> list[Bound]:
        return [self._by_name(attrs[0]) or str(attrs[0])]

    def _get_loops(self, _n: str, values: Any, _a: Any, outputs: Any, _d: Any) -> list[Bound]:
        stage = values[0]
        if not isinstance(stage, Stage):
            return []
        if len(stage.loops) != len(outputs):
            # Something upstream was not followed; go on with loops of unknown extent.
            stage.loops = [Loop(extents(0)) for _ in outputs]
        return list(stage.loops)

    def _live(self) -> list[Stage]:
        return [s for s in self.order if not s.inlined]

    def _get_children(self, *_: Any) -> list[Bound]:
        return list(self._live())

    def _producers(self, stage: Stage) -> list[Stage]:
        wanted = [a.buffer for a in stage.reads]
        makers = [s for s in self._live() if s is not stage]
        return [s for s in makers if any(a.buffer in wanted for a in s.writes)]

    def _consumers(self, stage: Stage) -> list[Stage]:
        made = [a.buffer for a in stage.writes]
        return [
            s for s in self._live() if s is not stage and any(a.buffer in made for a in s.reads)
        ]

    def _get_producers(self, _n: str, values: Any, *_: Any) -> list[Bound]:
        return list(self._producers(values[0])) if isinstance(values[0], Stage) else []

    def _get_consumers(self, _n: str, values: Any, *_: Any) -> list[Bound]:
        return list(self._consumers(values[0])) if isinstance(values[0], Stage) else []

    def _sample(self, _n: str, _v: Any, _a: Any, _o: Any, decision: Any) -> list[Bound]:
        return list(decision) if isinstance(decision, list) else [decision]

    def _sample_location(
        self, _n: str, values: Any, _a: Any, _o: Any, decision: Any
    ) -> list[Bound]:
        if decision == -2:
            return ["inline"]
        consumers = self._consumers(values[0]) if isinstance(values[0], Stage) else []
        if decision == -1 or not consumers or int(decision) >= len(consumers[0].loops):
            return ["root"]
        # Locations count the loops from the root to the consumers' lowest common ancestor.
        return [consumers[0].loops[int(decision)]]

    # -- loops --------------------------------------------------------------------------------

    def _replace(self, old: Sequence[Loop], new: Sequence[Loop]) -> None:
        for stage in self.order:
            before = len(stage.loops)
            shared = sum(1 for loop in old if 0 <= stage.index(loop) < stage.depth)
            stage.replace(old, new)
            if shared:
                stage.depth += len(stage.loops) - before

    def _split(self, name: str, values: Any, _a: Any, outputs: Any, _d: Any) -> list[Bound]:
        loop, factors = values[0], values[1:]
        if not isinstance(loop, Loop):
            self._emit(name, None)
            return [Loop(extents(0)) for _ in outputs]
        sizes = [extents(f) if isinstance(f, int) else f for f in factors]
        # A factor drawn by SampleCategorical comes as a float.
        whole = [f.astype(np.int64) if isinstance(f, np.ndarray) else None for f in sizes]
        made = split_loop(loop, whole)
        self._emit(name, self._owner(loop), loops=(loop,), results=tuple(made))
        self._replace([loop], made)
        return list(made)

    def _fuse(self, name: str, values: Any, *_: Any) -> list[Bound]:
        loops = [v for v in values if isinstance(v, Loop)]
        if not loops:
            self._emit(name, None)
            return [Loop(extents(0))]
        made = fuse_loops(loops)
        self._emit(name, self._owner(loops[0]), loops=tuple(loops), results=(made,))
        self._replace(loops, [made])
        return [made]

    def _reorder(self, name: str, values: Any, *_: Any) -> list[Bound]:
        loops = [v for v in values if isinstance(v, Loop)]
        owner = self._owner(loops[0]) if loops else None
        if owner is None or name != "Reorder":
            self._emit(name, values[0] if values else None)
            return []
        order = tuple(owner.index(loop) for loop in loops)
        self._emit(name, owner, loops=tuple(loops), order=order)
        for stage in self.order:
            mine = [loop for loop in loops if stage.index(loop) >= 0]
            places = sorted(stage.index(loop) for loop in mine)
            nest = list(stage.loops)
            for place, loop in zip(places, mine):
                nest[place] = loop
            stage.loops = nest
        return []

    def _annotate_loop(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        loop = values[0]
        word = attrs[0] if name == "Bind" and attrs else name.lower()
        if isinstance(loop, Loop):
            self._emit(name, self._owner(loop), loops=(loop,), text=str(word))
            loop.annotation = str(word)
        return []

    def _add_loop(self, name: str, values: Any, _a: Any, outputs: Any, _d: Any) -> list[Bound]:
        first = values[0] if values else None
        made = Loop(extents(1 if name == "AddUnitLoop" else 0))
        loops = tuple(v for v in values if isinstance(v, Loop))
        stage = self._owner(first) if isinstance(first, Loop) else first
        self._emit(name, stage, loops=loops, results=(made,))
        if isinstance(stage, Stage) and name == "AddUnitLoop":
            at = stage.index(first) if isinstance(first, Loop) else len(stage.loops)
            for other in self.order:
                if other is stage or (isinstance(first, Loop) and other.index(first) >= 0):
                    other.loops = [*other.loops[:at], made, *other.loops[at:]]
        return [made] * len(outputs)

    # -- annotations and storage --------------------------------------------------------------

    def _annotate(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        target, value = values[0], values[1] if len(values) > 1 else None
        if isinstance(value, (int, float)):
            value = np.array([float(value)])
        number = value if isinstance(value, np.ndarray) else None
        key = str(attrs[0]) if attrs else ""
        if isinstance(target, Loop):
            self._emit(name, self._owner(target), loops=(target,), text=key, value=number)
            target_stage: Any = self._owner(target)
        else:
            self._emit(name, target, text=key, value=number)
            # Annotations of the root block (parallel, vectorize, unroll) hold for all stages.
            target_stage = target if isinstance(target, Stage) else None
        if number is not None:
            for stage in [target_stage] if target_stage is not None else self.stages:
                stage.annotations[key] = number
        return []

    def _set_scope(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        stage = values[0]
        scope = str(attrs[1]) if len(attrs) > 1 else ""
        if isinstance(stage, Stage) and name == "SetScope":
            stage.scope = scope
        self._emit(name, stage, text=scope)
        return []

    def _copy_stage(self, stage: Stage, buffer: str, scope: str, role: str) -> tuple[Stage, str]:
        """A new stage that copies ``buffer``, and the name of the buffer that the cache is."""
        self._caches += 1
        cache = f"{buffer}.{scope}.{self._caches}"
        shape = self.shapes.get(buffer, ())
        self.shapes[cache] = shape
        axes = [Axis(f"ax{i}", extents(n), False) for i, n in enumerate(shape)]
        index = tuple(Index("var", i) for i in range(len(shape)))
        source, copy = (buffer, cache) if role == "cache_read" else (cache, buffer)
        made = Stage(
            f"{buffer}_{scope}", axes, [Loop.over(a) for a in axes],
            [Access(source, index)], [Access(copy, index)], role,
            scope=scope if role == "cache_read" else stage.scope,
        )  # fmt: skip
        return made, cache

    def _cache(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        stage, number, scope = values[0], int(attrs[0]), str(attrs[1] if len(attrs) > 1 else "")
        if not isinstance(stage, Stage):
            self._emit(name, None, text=scope)
            return []
        is_read = "Read" in name or name in ("CacheInplace", "CacheIndex")
        accesses = stage.reads if is_read else stage.writes
        self._emit(name, stage, text=scope, position=number)
        if number >= len(accesses):
            return []
        access = accesses[number]
        role = "cache_read" if is_read else "cache_write"
        made, cache = self._copy_stage(stage, access.buffer, scope, role)
        accesses[number] = Access(cache, access.indices)
        if is_read:
            for axis, width in zip(made.axes, self._spans(stage, access, 0)):
                axis.extent = np.minimum(axis.extent, width)
            made.loops = [Loop.over(axis) for axis in made.axes]
        else:
            stage.scope = scope
        self._add(made, after=stage, before=is_read)
        return [made]

    def _reindex(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        stage = values[0]
        self._emit(name, stage, position=int(attrs[0]) if attrs else -1)
        if not isinstance(stage, Stage):
            return []
        is_read = len(attrs) < 2 or int(attrs[1]) == 0
        accesses = stage.reads if is_read else stage.writes
        if not attrs or int(attrs[0]) >= len(accesses):
            return []
        access = accesses[int(attrs[0])]
        used = sorted({v for index in access.indices for v in index.variables()})
        axes = [Axis(stage.axes[v].name, stage.axes[v].extent, False) for v in used]
        self._caches += 1
        cache = f"{access.buffer}.reindex.{self._caches}"
        self.shapes[cache] = tuple(int(a.extent[0]) for a in axes)
        renumbered = tuple(_renumber(i, {v: k for k, v in enumerate(used)}) for i in access.indices)
        plain = tuple(Index("var", k) for k in range(len(used)))
        outer, inner = Access(access.buffer, renumbered), Access(cache, plain)
        made = Stage(
            f"{access.buffer}_reindex", axes, [Loop.over(a) for a in axes],
            [outer if is_read else inner], [inner if is_read else outer], "reindex",
        )  # fmt: skip
        accesses[int(attrs[0])] = Access(cache, tuple(Index("var", v) for v in used))
        self._add(made, after=stage, before=is_read)
        return [made]

    # -- where a stage is computed ------------------------------------------------------------

    def _spans(self, stage: Stage, access: Access, depth: int) -> list[np.ndarray]:
        """Extents of the region that ``stage`` touches inside its loops from ``depth`` on."""
        tiles = stage.tiles(depth)
        shape = self.shapes.get(access.buffer, ())
        widths = [span(index, tiles) for index in access.indices]
        return [np.minimum(w, n) for w, n in zip(widths, shape)] if shape else widths

    def _compute_at(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        stage, loop = values[0], values[1] if len(values) > 1 else None
        if not isinstance(stage, Stage):
            self._emit(name, None)
            return []
        if loop == "inline":
            return self._inline("ComputeInline", [stage])
        is_producer = name == "ComputeAt"
        others = self._consumers(stage) if is_producer else self._producers(stage)
        hosts = [s for s in others if isinstance(loop, Loop) and s.index(loop) >= 0]
        if not isinstance(loop, Loop) or not hosts:
            self._emit(name, stage)
            return []
        host, depth = hosts[0], hosts[0].index(loop) + 1
        self._emit(name, stage, loops=(loop,), target=self._number(host), position=depth - 1)
        needed = self._needed(stage, hosts, loop, is_producer)
        keep_unit = not attrs or bool(attrs[0])
        own = [
            Loop.over(axis, needed.get(number, axis.extent))
            for number, axis in enumerate(stage.axes)
        ]
        stage.loops = [
            *host.loops[:depth],
            *(one for one in own if keep_unit or (one.extent != 1).any()),
        ]
        stage.host, stage.depth = host, depth
        self._move(stage, host, depth, is_producer)
        return []

    def _move(self, stage: Stage, host: Stage, depth: int, is_producer: bool) -> None:
        """Keeps program order: a producer goes right before the subtree of its host, a consumer
        to the end of the loop's body (TVM's last possible insertion point)."""
        self.order.remove(stage)
        loops = host.loops[: depth + 1] if is_producer else host.loops[:depth]
        subtree = [s for s in self.order if s is host or s.index(loops[-1]) >= 0]
        at = self.order.index(subtree[0]) if is_producer else self.order.index(subtree[-1]) + 1
        self.order.insert(at, stage)

    def _needed(
        self, stage: Stage, hosts: Sequence[Stage], loop: Loop, is_producer: bool
    ) -> dict[int, np.ndarray]:
        """Steps of each axis of ``stage`` that one iteration of ``loop`` asks for."""
        mine = stage.writes if is_producer else stage.reads
        needed: dict[int, np.ndarray] = {}
        for host in hosts:
            depth = host.index(loop) + 1
            for access in host.reads if is_producer else host.writes:
                for own in (a for a in mine if a.buffer == access.buffer):
                    for index, width in zip(own.indices, self._spans(host, access, depth)):
                        if index.op == "var":
                            full = stage.axes[index.value].extent
                            before = needed.get(index.value, extents(1))
                            needed[index.value] = np.minimum(np.maximum(before, width), full)
        return needed

    def _inline(self, name: str, values: Any, *_: Any) -> list[Bound]:
        stage = values[0]
        self._emit(name, stage)
        if not isinstance(stage, Stage):
            return []
        stage.inlined = True
        if name == "ComputeInline":
            for consumer in self._consumers(stage):
                consumer.reads = _substitute(consumer.reads, stage)
        elif self._producers(stage):
            _absorb(self._producers(stage)[-1], stage)
        return []

    # -- reductions, layouts ------------------------------------------------------------------

    def _rfactor(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        loop = values[0]
        stage = self._owner(loop) if isinstance(loop, Loop) else None
        self._emit(name, stage, loops=(loop,) if isinstance(loop, Loop) else ())
        if stage is None or not isinstance(loop, Loop):
            return []
        self._caches += 1
        cache = f"{stage.name}.rf.{self._caches}"
        self.shapes[cache] = ()
        partial = Stage(
            f"{stage.name}_rf", stage.axes, list(stage.loops), list(stage.reads),
            [Access(cache, ())], "rfactor", operations=stage.operations, host=stage.host,
            depth=stage.depth,
        )  # fmt: skip
        kept = [one for one in stage.loops if one is loop or not one.is_reduction]
        stage.loops, stage.reads = kept, [Access(cache, ())]
        self._add(partial, after=stage, before=True)
        return [partial]

    def _decompose(self, name: str, values: Any, *_: Any) -> list[Bound]:
        stage, loop = values[0], values[1] if len(values) > 1 else None
        loops = (loop,) if isinstance(loop, Loop) else ()
        self._emit(name, stage, loops=loops)
        if not isinstance(stage, Stage) or not loops:
            return []
        depth = max(0, stage.index(loops[0]))
        inner = [Loop(one.extent, one.parts) for one in stage.loops[depth:] if not one.is_reduction]
        init = Stage(
            f"{stage.name}_init", [a for a in stage.axes if not a.is_reduction],
            [*stage.loops[:depth], *inner], [], list(stage.writes), "init", host=stage, depth=depth,
        )  # fmt: skip
        self._add(init, after=stage, before=True)
        stage.name += "_update"  # as TVM renames it; post-processors look blocks up by name
        return [init]

    def _blockize(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        target = values[0]
        text = str(attrs[0]) if name == "Tensorize" and attrs else ""
        stage = self._owner(target) if isinstance(target, Loop) else target
        loops = (target,) if isinstance(target, Loop) else ()
        self._emit(name, stage, loops=loops, text=text)
        if name == "Blockize" and loops and isinstance(stage, Stage):
            outer = Stage(
                f"{stage.name}_o", stage.axes, stage.loops[: stage.index(loops[0])],
                stage.reads, stage.writes, stage.role, stage.scope,
            )  # fmt: skip
            self._add(outer, after=stage, before=True)
            return [outer]
        return []

    def _pad(self, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
        stage = values[0]
        self._emit(name, stage)
        if isinstance(stage, Stage) and attrs:
            for axis, multiple in zip(stage.axes, attrs[0]):
                padded = -(-axis.extent // int(multiple)) * int(multiple)
                for loop in stage.loops:
                    if len(loop.parts) == 1 and loop.parts[0][0] is axis:
                        loop.extent, loop.parts = padded, ((axis, padded),)
                axis.extent = padded
        return []


def _renumber(index: Index, numbers: dict[int, int]) -> Index:
    if index.op == "var":
        return Index("var", numbers.get(index.value, 0))
    return Index(index.op, index.value, tuple(_renumber(a, numbers) for a in index.args))


def _bind(index: Index, values: Sequence[Index]) -> Index:
    """``index`` with each iterator replaced by an expression."""
    if index.op == "var":
        return values[index.value] if index.value < len(values) else Index("opaque")
    return Index(index.op, index.value, tuple(_bind(a, values) for a in index.args))


def _substitute(reads: Sequence[Access], producer: Stage) -> list[Access]:
    """``reads`` after ``producer`` was inlined into them."""
    made = {a.buffer: a for a in producer.writes}
    found: list[Access] = []
    for access in reads:
        write = made.get(access.buffer)
        if write is None:
            found.append(access)
            continue
        values = [Index("opaque")] * len(producer.axes)
        for own, given in zip(write.indices, access.indices):
            if own.op == "var":
                values[own.value] = given
        for read in producer.reads:
            found.append(Access(read.buffer, tuple(_bind(i, values) for i in read.indices)))
    return found


def _absorb(producer: Stage, consumer: Stage) -> None:
    """Gives ``producer`` what ``consumer``, inlined into it, read and wrote."""
    made = {a.buffer: a for a in producer.writes}
    values = [Index("opaque")] * len(consumer.axes)
    for read in consumer.reads:
        write = made.get(read.buffer)
        if write is not None:
            for own, given in zip(read.indices, write.indices):
                if own.op == "var":
                    values[own.value] = given
    producer.writes = [
        Access(w.buffer, tuple(_bind(i, values) for i in w.indices)) for w in consumer.writes
    ]
    producer.reads = producer.reads + [
        Access(r.buffer, tuple(_bind(i, values) for i in r.indices))
        for r in consumer.reads
        if r.buffer not in made
    ]
    if producer.operations and consumer.operations:
        producer.operations = tuple(a + b for a, b in zip(producer.operations, consumer.operations))


if TYPE_CHECKING:
    _Handler = Callable[[_Replay, str, Any, Any, Any, Any], list[Bound]]

_HANDLERS: dict[str, _Handler] = {
    "SampleCategorical": _Replay._sample,
    "SamplePerfectTile": _Replay._sample,
    "SamplePartitionedTile": _Replay._sample,
    "SampleComputeLocation": _Replay._sample_location,
    "GetBlock": _Replay._get_block,
    "GetSBlock": _Replay._get_block,
    "GetLoops": _Replay._get_loops,
    "GetChildBlocks": _Replay._get_children,
    "GetProducers": _Replay._get_producers,
    "GetConsumers": _Replay._get_consumers,
    "GetOutputBlocks": lambda self, *_: [s for s in self._live() if not self._consumers(s)],
    "EnterPostproc": lambda *_: [],
    "Split": _Replay._split,
    "Fuse": _Replay._fuse,
    "Merge": _Replay._add_loop,
    "LoopPartition": _Replay._add_loop,
    "AddUnitLoop": _Replay._add_loop,
    "Reorder": _Replay._reorder,
    "ReorderBlockIterVar": _Replay._reorder,
    "Parallel": _Replay._annotate_loop,
    "Vectorize": _Replay._annotate_loop,
    "Unroll": _Replay._annotate_loop,
    "Bind": _Replay._annotate_loop,
    "Annotate": _Replay._annotate,
    "SetScope": _Replay._set_scope,
    "CacheRead": _Replay._cache,
    "CacheWrite": _Replay._cache,
    "CacheInplace": _Replay._cache,
    "CacheIndex": _Replay._cache,
    "ReindexCacheRead": _Replay._cache,
    "ReindexCacheWrite": _Replay._cache,
    "ReIndex": _Replay._reindex,
    "ComputeAt": _Replay._compute_at,
    "ReverseComputeAt": _Replay._compute_at,
    "ComputeInline": _Replay._inline,
    "ReverseComputeInline": _Replay._inline,
    "FuseReductionEpilogue": _Replay._inline,
    "RFactor": _Replay._rfactor,
    "DecomposeReduction": _Replay._decompose,
    "Blockize": _Replay._blockize,
    "Tensorize": _Replay._blockize,
    "PadEinsum": _Replay._pad,
}
