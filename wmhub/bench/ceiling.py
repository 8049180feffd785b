"""What one measurement of a workload says of another: how much noise leaves a model to reach.

Whoever knew every latency exactly would still not find the candidate that a dataset calls the
best, because the lowest of many noisy latencies is low by luck. So whole workloads are measured
again, and the new latencies are scored as if a model had predicted them. They are noisy themselves:
exact latencies would score at least as much, and not 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmhub.bench.repeat import measure_again, open_on_this_machine
from wmhub.dataset.reader import Dataset
from wmhub.errors import InvalidInputError, MeasureError
from wmhub.records import MeasureRecord, Scheduler, Workload
from wmhub.training.metrics import Metrics, summarise, summarise_random


@dataclass(frozen=True)
class Ceiling:
    """Scores of one measurement as the prediction of another."""

    records: int
    """Records that were measured again."""
    failed: int
    """Of those, how many did not run again; they are left out."""
    again: Metrics
    """Of the new latencies, on the recorded ones."""
    random: Metrics
    """What a random order expects on the same records."""


def ceiling(
    dataset: str | Path,
    *,
    workloads: int = 12,
    split: str = "validation",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Ceiling:
    """Measures all records of ``workloads`` of ``split``, drawn at random, once more.

    This machine has to be the one of the dataset. ``progress`` is told how many records are done,
    of how many. Ctrl-C ends it after the batch at work, with what was measured until then. Raises
    ``HardwareMismatchError``, ``InvalidInputError`` and ``MeasureError``.
    """
    if workloads < 1:
        raise InvalidInputError("at least one workload has to be measured again")
    opened = open_on_this_machine(dataset)
    drawn = _draw(opened, split, workloads, seed)
    if not drawn:
        raise MeasureError(f"{opened.path}: no workload of {split} that can be rebuilt and ranked")
    records = [(workload, record) for workload, found in drawn for record in found]
    seconds = measure_again(opened.manifest, records, progress)
    failed = sum(one is None for one in seconds.values())
    if failed == len(seconds):
        raise MeasureError(f"{opened.path}: none of {len(seconds)} candidates ran again here")
    numbers = itertools.count()
    pairs = []
    for _, found in drawn:
        both = [(record.latency_seconds, seconds.get(next(numbers))) for record in found]
        ran = [(old, new) for old, new in both if old is not None and new is not None]
        old, new = np.array(ran).reshape(-1, 2).T
        pairs.append((old, -new))
    return Ceiling(
        len(seconds), failed, summarise(pairs), summarise_random([old for old, _ in pairs])
    )


def _draw(
    dataset: Dataset, split: str, count: int, seed: int
) -> list[tuple[Workload, list[MeasureRecord]]]:
    """Workloads of MetaSchedule with their records that ran, two or more."""
    usable = []
    for workload, records in dataset.iter_workload_records(split):
        if workload.scheduler is Scheduler.META_SCHEDULE and workload.program:
            ran = [record for record in records.records() if record.failure is None]
            if len(ran) >= 2:
                usable.append((workload, ran))
    order = np.random.default_rng(seed).permutation(len(usable))[:count]
    return [usable[number] for number in sorted(order.tolist())]
