"""Datasets as the trainer sees them: encoded candidates and their gains, by workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import torch

from wmhub.dataset.reader import Dataset
from wmhub.errors import InvalidInputError
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.encode import Encoded, encode
from wmhub.model.network import Batch, collate
from wmhub.program import parse_program
from wmhub.records import Scheduler, Workload
from wmhub.replay.ansor import replay_steps
from wmhub.replay.meta_schedule import replay_traces
from wmhub.trajectory import Group


@dataclass(frozen=True)
class Candidates:
    """All candidates of one workload."""

    workload: Workload
    groups: tuple[Encoded, ...]
    """One for each structure."""
    group_of: np.ndarray
    """int64 [N]: group of each candidate."""
    row_of: np.ndarray
    """int64 [N]: row in its group."""
    latency: np.ndarray
    """float64 [N] in seconds, ``inf`` for failed ones."""

    def gains(self, worst: float) -> np.ndarray:
        """float32 [N]: log(best latency / latency), not below ``worst``; failed ones there."""
        best = self.latency.min()
        with np.errstate(divide="ignore"):
            gains = np.log(best) - np.log(self.latency)
        return np.maximum(gains, worst).astype(np.float32)

    def rows(self, chosen: np.ndarray) -> list[tuple[Encoded, torch.Tensor, np.ndarray]]:
        """The chosen candidates by group: encoding, rows in it, positions in ``chosen``."""
        parts = []
        for number in np.unique(self.group_of[chosen]):
            at = np.flatnonzero(self.group_of[chosen] == number)
            rows = torch.from_numpy(self.row_of[chosen[at]])
            parts.append((self.groups[number], rows, at))
        return parts


def replay(workload: Workload, traces: Sequence[object]) -> list[Group]:
    """Replays parsed traces of either scheduler.

    Raises ``InvalidInputError`` where the workload's program is needed and missing.
    """
    if workload.scheduler is Scheduler.AUTO_SCHEDULER:
        return replay_steps(workload.key, traces)  # type: ignore[arg-type]
    if workload.program is None:
        raise InvalidInputError(f"workload {workload.id}: its program is not in the dataset")
    return replay_traces(parse_program(workload.program), traces)


def load_candidates(
    dataset: Dataset, split: str | None, hardware: HardwareProfile
) -> Iterator[Candidates]:
    """The workloads of a split that have at least two measured candidates.

    Workloads whose program is unknown (MetaSchedule without its workload file) are left out.
    """
    for workload, records in dataset.iter_workload_records(
        split, ["trace", "run_seconds", "failure"]
    ):
        latency = records.latency_seconds
        missing = workload.scheduler is Scheduler.META_SCHEDULE and workload.program is None
        if missing or np.isfinite(latency).sum() < 2:
            continue
        groups = replay(workload, [orjson.loads(trace) for trace in records.traces])
        yield from_groups(workload, groups, latency, hardware)


def from_groups(
    workload: Workload, groups: Sequence[Group], latency: np.ndarray, hardware: HardwareProfile
) -> Candidates:
    """Encodes replayed groups."""
    group_of = np.zeros(len(latency), dtype=np.int64)
    row_of = np.zeros(len(latency), dtype=np.int64)
    for number, group in enumerate(groups):
        group_of[group.members] = number
        row_of[group.members] = np.arange(len(group.members))
    encoded = tuple(encode(group.trajectories, hardware) for group in groups)
    return Candidates(workload, encoded, group_of, row_of, latency)


class Sampler:
    """Draws training batches: lists of candidates, each of one workload."""

    def __init__(self, data: Sequence[Candidates], lists: int, length: int, worst: float) -> None:
        self._data = data
        self._gains = [candidates.gains(worst) for candidates in data]
        self._lists, self._length = lists, length

    def draw(self, rng: np.random.Generator) -> tuple[Batch, torch.Tensor]:
        """A batch of W lists of L candidates, and their gains, float32 [W, L]."""
        parts: list[tuple[Encoded, torch.Tensor]] = []
        gains = []
        for number in rng.integers(0, len(self._data), self._lists):
            candidates = self._data[number]
            chosen = rng.integers(0, len(candidates.latency), self._length)
            order = []
            for encoded, rows, at in candidates.rows(chosen):
                parts.append((encoded, rows))
                order.append(at)
            gains.append(self._gains[number][chosen[np.concatenate(order)]])
        return collate(parts, None), torch.from_numpy(np.stack(gains))


def normalisation(data: Sequence[Candidates]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and scale of the structured features, and scale of the action columns.

    Each workload counts the same, however many candidates it has.
    """
    total = square = None
    actions = np.zeros(0)
    for candidates in data:
        table = np.concatenate([group.structured for group in candidates.groups]).astype(np.float64)
        mean, second = table.mean(axis=0), (table**2).mean(axis=0)
        total = mean if total is None else total + mean
        square = second if square is None else square + second
        for group in candidates.groups:
            for rows in group.actions:
                largest = np.abs(rows).max(axis=0)
                actions = np.maximum(actions, largest) if len(actions) else largest
    assert total is not None
    assert square is not None
    mean = total / len(data)
    scale = np.sqrt(np.maximum(square / len(data) - mean**2, 0.0)) + 0.05
    return mean, scale, 1.0 / np.maximum(actions, 1.0)
