"""Instructions that decide where a stage is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wmhub.nest import COPIES, Loop, Stage
from wmhub.program import MOST_TERMS, OPERATIONS, Access, Index, most_terms
from wmhub.replay.state import State

if TYPE_CHECKING:
    from wmhub.replay.state import Bound


#: What a block reads after all that it could take in was inlined is a few dozen.
_MOST_READS = 1000
#: Operations of one class of a block's body; those of real ones are a few hundred.
_MOST_OPERATIONS = 1e6
_NOTHING = (0.0,) * len(OPERATIONS)


def compute_at(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``ComputeAt`` and ``ReverseComputeAt``."""
    stage, loop = values[0], values[1] if len(values) > 1 else None
    is_producer = name == "ComputeAt"
    if not isinstance(stage, Stage):
        state.emit(name, None)
        return []
    if loop == "inline":
        return inline(state, "ComputeInline" if is_producer else "ReverseComputeInline", [stage])
    others = state.consumers(stage) if is_producer else state.producers(stage)
    hosts = [s for s in others if isinstance(loop, Loop) and s.index(loop) >= 0]
    if not isinstance(loop, Loop) or not hosts:
        state.emit(name, stage)
        return []
    host, depth = hosts[0], hosts[0].index(loop) + 1
    state.emit(name, stage, loops=(loop,), target=state.number(host), position=depth - 1)
    stage.is_consumer = not is_producer
    needed = state.needed(stage, loop)
    keep_unit = not attrs or bool(attrs[0])
    own = [
        Loop.over(axis, needed.get(number, axis.extent)) for number, axis in enumerate(stage.axes)
    ]
    stage.loops = [
        *host.loops[:depth],
        *(one for one in own if keep_unit or (one.extent != 1).any()),
    ]
    stage.host, stage.depth = host, depth
    _move(state, stage, host, depth, is_producer)
    return []


def _move(state: State, stage: Stage, host: Stage, depth: int, is_producer: bool) -> None:
    """Keeps program order: a producer goes right before the subtree of its host, a consumer
    to the end of the loop's body (TVM's last possible insertion point)."""
    state.order.remove(stage)
    loops = host.loops[: depth + 1] if is_producer else host.loops[:depth]
    subtree = [s for s in state.order if s is host or s.index(loops[-1]) >= 0]
    at = state.order.index(subtree[0]) if is_producer else state.order.index(subtree[-1]) + 1
    state.order.insert(at, stage)


def inline(state: State, name: str, values: Any, *_: Any) -> list[Bound]:
    """``ComputeInline``, ``ReverseComputeInline`` and ``FuseReductionEpilogue``."""
    stage = values[0]
    state.emit(name, stage)
    if not isinstance(stage, Stage):
        return []
    stage.inlined = True
    if name == "ComputeInline":
        for consumer in state.consumers(stage):
            _take_in(consumer, stage)
    elif state.producers(stage):
        _absorb(state.producers(stage)[-1], stage)
    return []


def _bind(indices: Sequence[Index], values: Sequence[Index]) -> tuple[Index, ...]:
    """``indices`` with each iterator replaced by an expression; opaque where that gets long."""

    def bound(index: Index) -> Index:
        if index.op == "var":
            return values[index.value] if index.value < len(values) else Index("opaque")
        return Index(index.op, index.value, tuple(map(bound, index.args)))

    if most_terms(indices) * most_terms(values) > MOST_TERMS:
        return tuple(Index("opaque") for _ in indices)
    return tuple(map(bound, indices))


def _take_in(consumer: Stage, producer: Stage) -> None:
    """Gives ``consumer`` what ``producer``, inlined into it, reads and computes: once for each of
    its reads of it. What is made of indices alone, such as Winograd's matrices, is no work:
    compilers write the loops out and fold it."""
    made = {write.buffer for write in producer.writes}
    times = sum(read.buffer in made for read in consumer.reads)
    consumer.reads = _substitute(consumer.reads, producer)
    own = _operations(consumer)
    if own and producer.operations and producer.reads:
        both = zip(own, producer.operations)
        consumer.operations = tuple(
            min(ours + times * inlined, _MOST_OPERATIONS) for ours, inlined in both
        )


def _operations(stage: Stage) -> tuple[float, ...]:
    """Operations of a stage, to which others are added: what is inlined into a copy is computed as
    it is copied. None of the outer stage of a block."""
    return stage.operations or (_NOTHING if stage.role in COPIES and not stage.inner else ())


def _substitute(reads: Sequence[Access], producer: Stage) -> list[Access]:
    """``reads`` after ``producer`` was inlined into them, equal ones once."""
    made = {a.buffer: a for a in producer.writes}
    found: dict[Access, None] = {}
    for access in reads:
        write = made.get(access.buffer)
        if write is None:
            found[access] = None
            continue
        values = [Index("opaque")] * len(producer.axes)
        for own, given in zip(write.indices, access.indices):
            if own.op == "var":
                values[own.value] = given
        for read in producer.reads:
            found[Access(read.buffer, _bind(read.indices, values))] = None
        if len(found) > _MOST_READS:
            raise ValueError(f"a block of more than {_MOST_READS} reads")
    return list(found)


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
    producer.writes = [Access(w.buffer, _bind(w.indices, values)) for w in consumer.writes]
    more = [Access(r.buffer, _bind(r.indices, values)) for r in consumer.reads
            if r.buffer not in made]  # fmt: skip
    producer.reads = list(dict.fromkeys([*producer.reads, *more]))
    ours = _operations(producer)
    if ours and consumer.operations:
        # Once for each result, not for each step of the reduction that it comes from.
        steps = math.prod(
            max(float(axis.extent[0]), 1.0) for axis in producer.axes if axis.is_reduction
        )
        producer.operations = tuple(
            own + absorbed / steps for own, absorbed in zip(ours, consumer.operations)
        )
