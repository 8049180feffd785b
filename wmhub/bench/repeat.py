"""Measures records of a dataset again: how well its latencies repeat."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wmhub.dataset.manifest import Manifest, Repeatability
from wmhub.dataset.reader import Dataset
from wmhub.dataset.verify import open_verified
from wmhub.errors import MeasureError
from wmhub.hardware.probe import measured_here
from wmhub.measure.engine import Engine
from wmhub.measure.rebuild import rebuilt, repeatability, target_on
from wmhub.measure.timing import ANY_RATIO, TimingPlan
from wmhub.records import MeasureRecord, Scheduler, Workload
from wmhub.tvm_compat import use_target

#: Programs that are built and timed together.
_BATCH = 25


def repeat(
    dataset: str | Path,
    *,
    count: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Repeatability:
    """Measures ``count`` records of ``dataset``, drawn at random among those that ran, once more.

    This machine has to be the one of the dataset. Only MetaSchedule's records hold all that a
    program needs. ``progress`` is told how many are done, of how many.
    """
    opened = open_on_this_machine(dataset)
    drawn = _draw(opened, count, seed)
    if not drawn:
        raise MeasureError(f"{opened.path}: no record of MetaSchedule that ran and can be rebuilt")
    measured = measure_again(opened.manifest, drawn, progress)
    ratios = [
        seconds / record.latency_seconds
        for (_, record), seconds in zip(drawn, measured, strict=True)
        if seconds is not None and record.latency_seconds is not None
    ]
    if not ratios:
        raise MeasureError(f"{opened.path}: none of {len(drawn)} records ran again")
    return repeatability(ratios, len(drawn), datetime.date.today())


def open_on_this_machine(dataset: str | Path) -> Dataset:
    """The dataset; raises ``HardwareMismatchError`` where it was measured on other hardware."""
    opened = open_verified(dataset)
    measured_here(opened.hardware)
    return opened


def measure_again(
    manifest: Manifest,
    records: Sequence[tuple[Workload, MeasureRecord]],
    progress: Callable[[int, int], None] | None = None,
) -> list[float | None]:
    """Latency in seconds of each record of ``manifest``'s dataset on this machine, now; ``None``
    where it failed or was compiled for something else.

    Each is timed as well as any other, however slow. ``progress`` is told how many are done.
    """
    plan = TimingPlan(slow_ratio=ANY_RATIO, close_ratio=ANY_RATIO, flush_cache=manifest.is_cold)
    seconds: list[float | None] = [None] * len(records)
    by_target: dict[str, list[int]] = {}
    for number, (_, record) in enumerate(records):
        if (target := target_on(manifest.hardware, record.target)) is not None:
            by_target.setdefault(target, []).append(number)
    done = 0
    for text, same in by_target.items():
        target = json.loads(text)
        # Traces are replayed here: without its tensor intrinsics, any with Tensorize is refused.
        use_target(target)
        with Engine(target, plan=plan) as engine:
            for start in range(0, len(same), _BATCH):
                found = {n: rebuilt(*records[n]) for n in same[start : start + _BATCH]}
                programs = {n: program for n, program in found.items() if program is not None}
                results = engine.measure(list(programs.values()))
                for number, result in zip(programs, results, strict=True):
                    if result.failure is None:
                        seconds[number] = statistics.median(result.run_seconds)
                done += len(found)
                if progress is not None:
                    progress(done, len(records))
    return seconds


def _draw(dataset: Dataset, count: int, seed: int) -> list[tuple[Workload, MeasureRecord]]:
    """Each record that ran has the same chance, whatever its workload."""
    total = sum(split.measured for split in dataset.manifest.splits.values())
    chosen = np.random.default_rng(seed).permutation(total)[: min(count, total)]
    wanted, at = set(chosen.tolist()), 0
    found = []
    for workload, records in dataset.iter_workload_records():
        ran = np.isfinite(records.latency_seconds)
        here = [row for n, row in enumerate(np.flatnonzero(ran)) if at + n in wanted]
        at += int(ran.sum())
        if workload.scheduler is Scheduler.META_SCHEDULE and workload.program and here:
            rows = list(records.records())
            found += [(workload, rows[int(row)]) for row in here]
    return found
