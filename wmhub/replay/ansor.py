"""Replays Ansor's transform steps without TVM: steps to `Action`s and final nests.

An Ansor log holds no program, only steps over numbered stages and iterators (`ansor_steps`).
Candidates whose steps differ in numbers alone are replayed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.records import Scheduler
from wmhub.replay.ansor_steps import StepReplay
from wmhub.replay.state import refused
from wmhub.replay.workload_key import WorkloadKey
from wmhub.trajectory import Group, Trajectories, group_by


def replay_steps(workload_key: str, traces: Sequence[Sequence[Any]]) -> list[Group]:
    """Groups lists of steps by structure and replays each group.

    ``workload_key`` is the log's JSON text. Raises ``InvalidInputError`` for a step that no
    Ansor could have written.
    """
    keys, rows = [], []
    for steps in traces:
        with refused(steps):
            structure, numbers = _separate(steps)
            hash(structure)
            np.array(numbers, dtype=np.int64)
        keys.append(structure)
        rows.append(numbers)
    key = WorkloadKey.parse(workload_key)
    groups = []
    for _, members in group_by(keys):
        table = np.array([rows[m] for m in members], dtype=np.int64).reshape(len(members), -1)
        groups.append(Group(members, _replay(traces[members[0]], table, key)))
    return groups


def _separate(steps: Sequence[Any]) -> tuple[tuple[Any, ...], list[int]]:
    """Structure and numbers of one list of steps; the numbers are a split's extent and lengths
    and the value of a pragma."""
    structure: list[Any] = []
    numbers: list[int] = []
    for step in steps:
        name = step[0]
        if name == "SP":
            lengths = step[4]
            structure.append((name, step[1], step[2], len(lengths), step[5]))
            numbers.append(int(step[3] or 0))
            numbers.extend([int(n or 0) for n in lengths])
        elif name == "PR":
            key, _, value = str(step[3]).partition("$")
            structure.append((name, step[1], step[2], key))
            numbers.append(int(value) if value.lstrip("-").isdigit() else 0)
        else:
            structure.append(tuple([tuple(x) if isinstance(x, list) else x for x in step]))
    return tuple(structure), numbers


def _replay(steps: Sequence[Any], table: np.ndarray, key: WorkloadKey) -> Trajectories:
    replay = StepReplay(table, key)
    for step in steps:
        with refused(step):
            replay.step(step)
    replay.finish()
    return Trajectories(
        scheduler=Scheduler.AUTO_SCHEDULER,
        program=None,
        shape=key.sizes,
        actions=tuple(replay.actions),
        stages=tuple(replay.created),
        count=len(table),
        unknown=tuple(replay.unknown),
    )
