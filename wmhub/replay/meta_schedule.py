"""Replays MetaSchedule traces without TVM: trace instructions to `Action`s and final nests.

A trace names loops and blocks by variables (``l14``, ``b1``); the replay binds each to the `Loop`
and `Stage` objects that the instruction would produce. Loop extents after ``ComputeAt`` follow
from the regions that consumers read, by interval arithmetic on the program's affine accesses.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from wmhub.errors import InvalidInputError
from wmhub.program import Program
from wmhub.records import Scheduler
from wmhub.replay import copies, layouts, loops, placement, queries
from wmhub.replay.rfactor import rfactor
from wmhub.replay.state import REFUSED, State, refusal, refused
from wmhub.trajectory import Group, Trajectories, group_by

if TYPE_CHECKING:
    from wmhub.replay.state import Bound

    _Handler = Callable[[State, str, Any, Any, Any, Any], list[Bound]]

_TILES = ("SamplePerfectTile", "SamplePartitionedTile")


def replay_traces(
    program: Program, traces: Sequence[Any], include_postproc: bool = False
) -> list[Group]:
    """Groups parsed traces (``[instructions, decisions]``) by structure and replays each group.

    What post-processors did (from ``EnterPostproc`` on) is left out unless ``include_postproc``:
    it follows from the rest, and a candidate is ranked before any post-processor runs. Raises
    ``InvalidInputError`` for an instruction that no MetaSchedule could have written.
    """
    #: By the text of all instructions, and by that of those that count.
    known: dict[bytes, _Space] = {}
    spaces: dict[bytes, _Space] = {}
    trace: Any = None
    latest, space = b"", _Space.of(())
    try:
        for number, trace in enumerate(traces):
            instructions, decisions = trace
            text = _text(instructions)
            # As a rule it is that of the trace before: comparing is faster than hashing.
            if text != latest:
                if text not in known:
                    counted = instructions if include_postproc else without_postproc(instructions)
                    known[text] = spaces.setdefault(_text(counted), _Space.of(counted))
                latest, space = text, known[text]
            space.members.append(number)
            space.rows.append(by_number(decisions))
    except InvalidInputError:
        raise
    except REFUSED as error:
        raise refusal(trace, error) from error
    return [group for space in spaces.values() for group in space.replay(program)]


def replay_settings(
    program: Program, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
) -> list[Group]:
    """Groups candidates of one design space, each ``[[instruction number, value], ...]``, by
    structure and replays each group. Post-processing is left out, as in `replay_traces`."""
    space = _Space.of(without_postproc(instructions))
    space.members.extend(range(len(decisions)))
    space.rows.extend(map(by_number, decisions))
    return list(space.replay(program))


@dataclass(frozen=True)
class _Space:
    """Candidates with the same instructions."""

    instructions: Sequence[Any]
    deciding: Sequence[int]
    """Numbers of those whose decisions are part of the structure; see `structural`."""
    members: list[int]
    """Positions of the candidates in the list that they come from."""
    rows: list[dict[int, Any]]
    """Their decisions, by number of instruction."""

    @classmethod
    def of(cls, instructions: Sequence[Any]) -> _Space:
        """A space of which no candidate is known yet."""
        return cls(instructions, structural(instructions), [], [])

    def replay(self, program: Program) -> Iterator[Group]:
        """The candidates by structure."""
        members = np.array(self.members, dtype=np.int64)
        keys: list[tuple[Any, ...]] = [()] * len(self.rows)
        if self.deciding:
            keys = [tuple(hashable(row.get(at, -1)) for at in self.deciding) for row in self.rows]
        with refused(self.instructions):  # A decision of another kind is no key.
            groups = list(group_by(keys))
        for _, places in groups:
            rows = [self.rows[place] for place in places.tolist()]
            yield Group(members[places], replay_decisions(program, self.instructions, rows))


def without_postproc(instructions: Sequence[Any]) -> Sequence[Any]:
    """The instructions before ``EnterPostproc``."""
    names = [i[0] for i in instructions]
    return (
        instructions[: names.index("EnterPostproc")] if "EnterPostproc" in names else instructions
    )


def structural(instructions: Sequence[Any]) -> list[int]:
    """Numbers of the instructions whose decisions are part of the structure.

    A compute location decides which loop is meant; where there is an RFactor, tiles become strides
    of index expressions.
    """
    names = [i[0] for i in instructions]
    deciding = {"SampleComputeLocation", *(_TILES if "RFactor" in names else ())}
    return [number for number, name in enumerate(names) if name in deciding]


def hashable(decision: Any) -> Any:
    """A decision as a key: lists (the factors of a tiling) as tuples."""
    return tuple(decision) if isinstance(decision, list) else decision


def by_number(decisions: Sequence[Any]) -> dict[int, Any]:
    """Decisions ``[instruction number, value]`` by that number."""
    if decisions and type(decisions[0][0]) is int:
        return dict(decisions)
    return {int(at): value for at, value in decisions}


def _text(value: Any) -> bytes:
    """JSON of ``value``, equal for equal structures."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a number beyond 64 bits
        return json.dumps(value).encode()


def replay_decisions(
    program: Program, instructions: Sequence[Any], rows: Sequence[dict[int, Any]]
) -> Trajectories:
    """Replays one structure under N settings of its decisions (instruction number -> value)."""
    with refused("program"):
        state = State(program)
    for number, instruction in enumerate(instructions):
        with refused(instruction):
            _step(state, instruction, _decision(instruction, number, rows))
    return Trajectories(
        scheduler=Scheduler.META_SCHEDULE,
        program=program,
        shape=(),
        actions=tuple(state.actions),
        stages=tuple(state.stages),
        count=len(rows),
        unknown=tuple(state.unknown),
    )


def _decision(instruction: Any, number: int, rows: Sequence[dict[int, Any]]) -> Any:
    """The decisions of one sampling instruction, as arrays over the N candidates."""
    name = instruction[0]
    if name in _TILES:
        table = _tiles(_column(rows, number), len(instruction[3]))
        return [_shared(column) for column in table.T]
    if name == "SampleCategorical":
        candidates = np.asarray(instruction[2][0], dtype=np.float64)
        chosen = np.array([int(choice or 0) for choice in _column(rows, number)])
        return _shared(candidates[np.clip(chosen, 0, len(candidates) - 1)])
    if name == "SampleComputeLocation":
        return rows[0].get(number, -1) if rows else -1
    return None


def _column(rows: Sequence[dict[int, Any]], number: int) -> list[Any]:
    """What each of ``rows`` decided at instruction ``number``; ``None`` where it did not."""
    try:
        # The usual case, in a loop of C.
        return list(map(itemgetter(number), rows))
    except KeyError:
        return [row.get(number) for row in rows]


def _tiles(tiles: Sequence[Any], width: int) -> np.ndarray:
    """[N, width] factors; ones where there are none, or of another tiling."""
    try:
        fit = set(map(len, tiles)) <= {width}
    except TypeError:
        fit = False
    if fit:
        flat = itertools.chain.from_iterable(tiles)
        return np.fromiter(flat, np.int64, len(tiles) * width).reshape(len(tiles), width)
    table = np.ones((len(tiles), width), dtype=np.int64)
    for i, tile in enumerate(tiles):
        if tile is not None and len(tile) == width:
            table[i] = tile
    return table


def _shared(values: np.ndarray) -> np.ndarray:
    """[1] when all candidates agree, so that what they share is computed once."""
    return values[:1] if values.size and (values == values[0]).all() else values


def _step(state: State, instruction: Any, decision: Any) -> None:
    """Applies one instruction; what it returns is bound to its output variables."""
    name, inputs, attrs, outputs = instruction
    values = [state.value(i) for i in inputs]
    handler = _HANDLERS.get(name)
    if handler is not None:
        made = handler(state, name, values, attrs, outputs, decision)
    else:
        state.emit_plain(name, values, attrs)
        made = []
    for variable, value in zip(outputs, [*made, *[None] * len(outputs)]):
        state.bound[variable] = value


_HANDLERS: dict[str, _Handler] = {
    "SampleCategorical": queries.sample,
    "SamplePerfectTile": queries.sample,
    "SamplePartitionedTile": queries.sample,
    "SampleComputeLocation": queries.sample_location,
    "GetBlock": queries.get_block,
    "GetSBlock": queries.get_block,
    "GetLoops": queries.get_loops,
    "GetChildBlocks": queries.get_children,
    "GetProducers": queries.get_producers,
    "GetConsumers": queries.get_consumers,
    "GetOutputBlocks": lambda state, *_: [s for s in state.live() if not state.consumers(s)],
    "EnterPostproc": lambda *_: [],
    "Split": loops.split,
    "Fuse": loops.fuse,
    "AddUnitLoop": loops.add_loop,
    "Reorder": loops.reorder,
    "ReorderBlockIterVar": loops.reorder_iterators,
    "Parallel": loops.annotate_loop,
    "Vectorize": loops.annotate_loop,
    "Unroll": loops.annotate_loop,
    "Bind": loops.annotate_loop,
    "Annotate": loops.annotate,
    "SetScope": copies.set_scope,
    "CacheRead": copies.cache,
    "CacheWrite": copies.cache,
    "CacheInplace": copies.cache,
    "CacheIndex": copies.cache,
    "ReindexCacheRead": copies.cache,
    "ReindexCacheWrite": copies.cache,
    "ReIndex": copies.reindex,
    "ComputeAt": placement.compute_at,
    "ReverseComputeAt": placement.compute_at,
    "ComputeInline": placement.inline,
    "ReverseComputeInline": placement.inline,
    "FuseReductionEpilogue": placement.inline,
    "RFactor": rfactor,
    "DecomposeReduction": copies.decompose,
    "Blockize": copies.blockize,
    "Tensorize": copies.blockize,
    "PadEinsum": copies.pad,
    "TransformLayout": layouts.transform_layout,
    "TransformBlockLayout": layouts.transform_layout,
    "DecomposePadding": layouts.change_nest,
    "Merge": layouts.change_nest,
    "LoopPartition": layouts.change_nest,
}
