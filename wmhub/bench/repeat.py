"""Measures records of a dataset again: how well its latencies repeat."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from wmhub.dataset.manifest import Manifest, Repeatability
from wmhub.dataset.reader import Dataset
from wmhub.dataset.verify import open_verified
from wmhub.errors import MeasureError
from wmhub.hardware.probe import measured_here
from wmhub.interrupts import interruptible
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
    program needs. ``progress`` is told how many are done, of how many. Ctrl-C ends it after the
    batch at work, with what was measured until then.
    """
    opened = open_on_this_machine(dataset)
    drawn = _draw(opened, count, seed)
    if not drawn:
        raise MeasureError(f"{opened.path}: no record of MetaSchedule that ran and can be rebuilt")
    measured = measure_again(opened.manifest, drawn, progress)
    ratios = [
        seconds / latency
        for number, seconds in measured.items()
        if seconds is not None and (latency := drawn[number][1].latency_seconds) is not None
    ]
    if not ratios:
        raise MeasureError(f"{opened.path}: none of {len(measured)} records ran again")
    return repeatability(ratios, len(measured), datetime.date.today())


def open_on_this_machine(dataset: str | Path) -> Dataset:
    """The dataset; raises ``HardwareMismatchError`` where it was measured on other hardware."""
    opened = open_verified(dataset)
    measured_here(opened.hardware)
    return opened


def measure_again(
    manifest: Manifest,
    records: Sequence[tuple[Workload, MeasureRecord]],
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, float | None]:
    """Latency in seconds of each record of ``manifest``'s dataset on this machine, now, by its
    place; ``None`` where it failed or was compiled for something else.

    Each is timed as well as any other, however slow. ``progress`` is told how many are done. The
    first Ctrl-C leaves out the batches that follow; where nothing was measured before, it raises
    ``KeyboardInterrupt``, as the second does.
    """
    plan = TimingPlan(slow_ratio=ANY_RATIO, close_ratio=ANY_RATIO, flush_cache=manifest.is_cold)
    by_target: dict[str, list[int]] = {}
    seconds: dict[int, float | None] = {}
    for number, (_, record) in enumerate(records):
        if (target := target_on(manifest.hardware, record.target)) is not None:
            by_target.setdefault(target, []).append(number)
        else:
            seconds[number] = None
    with interruptible() as stop:
        for text, same in by_target.items():
            if stop():
                break
            target = json.loads(text)
            # Traces are replayed here: without its tensor intrinsics, any with Tensorize is
            # refused.
            use_target(target)
            with Engine(target, plan=plan) as engine:
                for start in range(0, len(same), _BATCH):
                    if stop():
                        break
                    batch = same[start : start + _BATCH]
                    seconds |= _measured(engine, {n: records[n] for n in batch})
                    if progress is not None:
                        progress(len(seconds), len(records))
        if stop() and all(one is None for one in seconds.values()):
            raise KeyboardInterrupt
    return seconds


def _measured(
    engine: Engine, batch: Mapping[int, tuple[Workload, MeasureRecord]]
) -> dict[int, float | None]:
    """Latency in seconds of each of a batch; ``None`` where it failed."""
    found = {number: rebuilt(*one) for number, one in batch.items()}
    programs = {number: program for number, program in found.items() if program is not None}
    results = engine.measure(list(programs.values()))
    seconds: dict[int, float | None] = dict.fromkeys(batch)
    for number, result in zip(programs, results, strict=True):
        if result.failure is None:
            seconds[number] = statistics.median(result.run_seconds)
    return seconds


def _draw(dataset: Dataset, count: int, seed: int) -> list[tuple[Workload, MeasureRecord]]:
    """Each record that ran and can be built has the same chance, whatever its workload."""
    total = sum(
        int(np.isfinite(records.latency_seconds).sum())
        for workload, records in dataset.iter_workload_records(columns=("run_seconds", "failure"))
        if _can_be_built(workload)
    )
    chosen = np.random.default_rng(seed).permutation(total)[: min(count, total)]
    wanted, at = set(chosen.tolist()), 0
    found = []
    for workload, records in dataset.iter_workload_records():
        if not _can_be_built(workload):
            continue
        ran = np.isfinite(records.latency_seconds)
        here = [row for n, row in enumerate(np.flatnonzero(ran)) if at + n in wanted]
        at += int(ran.sum())
        if here:
            rows = list(records.records())
            found += [(workload, rows[int(row)]) for row in here]
    return found


def _can_be_built(workload: Workload) -> bool:
    return workload.scheduler is Scheduler.META_SCHEDULE and bool(workload.program)
