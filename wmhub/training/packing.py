"""Encoded candidates as flat numbers: what a group shares once, of each candidate what differs.

Of the columns of an action only the extents of loops differ between candidates of one structure, so
this takes about a fifth of the memory, and a batch is gathered with a few calls for each group.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson

from wmhub.errors import InvalidInputError
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.encode import ACTION_COLUMNS, Encoded, encode
from wmhub.records import Scheduler, Workload
from wmhub.replay.ansor import replay_steps
from wmhub.replay.meta_schedule import replay_traces
from wmhub.trajectory import Group
from wmhub.tvm_json import parse_program

#: Traces of a workload that are replayed and encoded together; some 10 kB each.
_AT_ONCE = 8192
#: Replays parsed traces of one workload.
_Player = Callable[[Sequence[Any]], list[Group]]


@dataclass(frozen=True)
class PackedGroup:
    """N candidates of one structure."""

    blocks: np.ndarray
    """float32 [B, P]: the initial program, as in ``Encoded``."""
    kinds: np.ndarray
    """float32 [T]: numbers of the action kinds."""
    template: np.ndarray
    """float32 [T * A + F]: the first candidate's action columns, then its structured features."""
    varying: np.ndarray
    """float32 [K]: the positions in ``template`` where candidates differ."""
    rows: np.ndarray
    """float32 [N, K]: what each candidate has there."""

    def dense(self, chosen: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Action columns float32 [n, T, A] and structured features float32 [n, F] of some rows."""
        rows = np.asarray(self.rows[chosen])
        whole = np.repeat(np.asarray(self.template)[None], len(rows), axis=0)
        whole[:, self.varying.astype(np.int64)] = rows
        width = len(self.kinds) * len(ACTION_COLUMNS)
        actions = whole[:, :width].reshape(len(rows), len(self.kinds), len(ACTION_COLUMNS))
        return actions, whole[:, width:]

    def unpack(self, hardware: np.ndarray) -> Encoded:
        """The group as ``encode`` made it."""
        actions, structured = self.dense(slice(None))
        differs = np.zeros(len(self.kinds), dtype=bool)
        steps = self.varying.astype(np.int64) // len(ACTION_COLUMNS)
        differs[steps[steps < len(differs)]] = True
        return Encoded(
            blocks=np.array(self.blocks),
            hardware=hardware,
            kinds=self.kinds.astype(np.int64),
            actions=tuple(
                np.ascontiguousarray(actions[:, step] if differs[step] else actions[:1, step])
                for step in range(len(self.kinds))
            ),
            structured=np.ascontiguousarray(structured),
        )


def pack(encoded: Encoded) -> PackedGroup:
    """Packs one group; ``unpack`` is the inverse."""
    tables = [*encoded.actions, encoded.structured]
    masks = [(table != table[:1]).any(axis=0) for table in tables]
    # A table of one row, which all candidates share, has nothing that differs.
    parts = [table[:, mask] for table, mask in zip(tables, masks, strict=True) if mask.any()] or [
        np.empty((encoded.count, 0), dtype=np.float32)
    ]
    return PackedGroup(
        blocks=encoded.blocks,
        kinds=encoded.kinds.astype(np.float32),
        template=np.concatenate([table[0] for table in tables]),
        varying=np.flatnonzero(np.concatenate(masks)).astype(np.float32),
        rows=np.concatenate(parts, axis=1),
    )


class DamagedTraceWarning(UserWarning):
    """A dataset holds traces that no scheduler could have written, or of a program that cannot be
    read; they are left out."""


def parse_trace(text: str) -> object:
    """The JSON of a trace; of what is none ``None``, which `replay` leaves out as damaged."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def replay(workload: Workload, traces: Sequence[object]) -> list[Group]:
    """Replays parsed traces of either scheduler; damaged ones are in no group, nor are any where
    the workload's program cannot be read.

    Raises ``InvalidInputError`` where the workload's program is needed and missing.
    """
    if workload.scheduler is Scheduler.META_SCHEDULE and workload.program is None:
        raise InvalidInputError(f"workload {workload.id}: its program is not in the dataset")
    try:
        play = _player(workload)
    except InvalidInputError:
        return []
    try:
        return play(traces)
    except InvalidInputError:
        good = [number for number, trace in enumerate(traces) if _is_sound(play, trace)]
    positions = np.asarray(good, dtype=np.int64)
    groups = play([traces[number] for number in good]) if good else []
    return [Group(positions[group.members], group.trajectories) for group in groups]


def _player(workload: Workload) -> _Player:
    """What replays the workload's traces; raises ``InvalidInputError`` for a damaged program."""
    if workload.program is None:
        return partial(replay_steps, workload.key)
    return partial(replay_traces, parse_program(workload.program))


def _is_sound(play: _Player, trace: object) -> bool:
    try:
        play([trace])
    except InvalidInputError:
        return False
    return True


def sound(
    workload: Workload, count: int, members: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Positions of the ``count`` traces that could be replayed, and each group's members in them.

    Warns with ``DamagedTraceWarning`` where some could not, or the program could not be read.
    """
    kept = np.sort(np.concatenate([*members, np.empty(0, dtype=np.int64)]))
    if len(kept) < count:
        text = f"{count - len(kept)} of {count} traces are damaged and left out"
        try:
            _player(workload)
        except InvalidInputError as error:
            text = f"its program cannot be read, and all {count} traces are left out ({error})"
        warnings.warn(f"workload {workload.id}: {text}", DamagedTraceWarning, stacklevel=2)
    return kept, [np.searchsorted(kept, one) for one in members]


def encode_workload(
    workload: Workload, traces: Sequence[str], hardware: HardwareProfile
) -> list[tuple[np.ndarray, PackedGroup]]:
    """Encodes a workload's candidates from the JSON of their traces, by structure.

    Each group comes with the positions of its members, int64 [N]; what `replay` leaves out is in
    none.
    Runs in a process of its own, so this module loads no torch.
    """
    packed = []
    for start in range(0, len(traces), _AT_ONCE):
        # Of a workload with very many, only so many are in memory unpacked.
        parsed = [parse_trace(trace) for trace in traces[start : start + _AT_ONCE]]
        packed += [
            (group.members + start, pack(encode(group.trajectories, hardware)))
            for group in replay(workload, parsed)
        ]
    return packed
