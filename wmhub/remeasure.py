"""``remeasure``: rows of a dataset are measured again on this machine, and take the new times.

Where a clock was at fault, or a machine was not quiet, the schedules of a dataset are still worth
what drawing them cost. Each finished batch is in a journal (``DATASET.wmhub/again``) before the
next begins; the rows are replaced at the end, all at once.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from wmhub.dataset.assemble import COLLECTOR, assemble, part_of
from wmhub.dataset.manifest import Manifest, Repeatability
from wmhub.dataset.placing import destination
from wmhub.dataset.reader import Dataset, WorkloadRecords
from wmhub.dataset.schema import Provenance
from wmhub.dataset.verify import open_verified
from wmhub.dataset.version import Change
from wmhub.dataset.working import begin_anew, finish_work, working, working_folder
from wmhub.dataset.writer import Description
from wmhub.errors import InvalidInputError
from wmhub.live_collection import hardware_at_hand, interruptible
from wmhub.live_dataset import put_aside
from wmhub.logs.chunks import Rejection
from wmhub.measure.candidate import Measurement
from wmhub.measure.engine import Engine
from wmhub.measure.journal import Journal, JournalHead, read_journal
from wmhub.measure.live import LiveProgress
from wmhub.measure.rebuild import rebuilt, repeatability
from wmhub.records import FailureKind, MeasureRecord, Scheduler, candidate_id
from wmhub.tvm_compat import use_target

#: Programs that are built and timed together; what a killed run may lose.
_BATCH = 16


@dataclass(frozen=True)
class Choice:
    """Which rows are measured again: those that ran, of MetaSchedule, and all of this holds for."""

    before: float | None = None
    """Measured before this moment, Unix seconds, or who knows when."""
    below_seconds: float | None = None
    """Of a lower latency, in seconds."""
    within: float | None = None
    """At most so many times as slow as the best of their workload."""

    def __post_init__(self) -> None:
        if self.below_seconds is not None and not self.below_seconds > 0:
            raise InvalidInputError("a latency must be positive")
        if self.within is not None and not self.within >= 1:
            raise InvalidInputError("no row is faster than the best: within must be at least 1")

    def rows(self, records: WorkloadRecords) -> np.ndarray:
        """Which of a workload's N rows those are, bool [N]; needs ``COLUMNS``."""
        latency = records.latency_seconds
        chosen = np.isfinite(latency)
        if self.below_seconds is not None:
            chosen &= latency < self.below_seconds
        if self.within is not None and chosen.any():
            chosen &= latency <= self.within * latency.min()
        if self.before is not None:
            moments = records.table["timestamp"].to_pylist()
            chosen &= np.asarray([m is None or m < self.before for m in moments], dtype=bool)
        return chosen


#: What ``Choice.rows`` looks at, and what a program is built for.
COLUMNS = ("run_seconds", "failure", "timestamp", "target")


@dataclass(frozen=True)
class RemeasureReport:
    """What was measured again, and what the dataset is now."""

    output: Path
    manifest: Manifest
    chosen: int
    """Rows that were to be measured again."""
    replaced: int
    """Rows that have new times, with those of earlier calls that were broken off."""
    progress: LiveProgress
    """Of this call. What failed keeps the times that it had."""
    change: Repeatability | None
    """How new times compare with old ones; ``None`` where none was replaced."""
    rejections: list[Rejection]
    """Lines of the journal that were damaged."""
    journal: Path | None
    """Where the journal is kept, if any of its lines was rejected."""
    interrupted: bool
    """Whether Ctrl-C ended it."""


#: The columns of a ``_Row``.
_IDENTITY = ("candidate_id", "source", "line")


class _Row(NamedTuple):
    """What a row is known by while its times change."""

    candidate: str
    source: str
    line: int


class _Task(NamedTuple):
    """Rows of one workload that one target builds."""

    target: str
    best_seconds: float
    workload: str
    rows: np.ndarray
    """bool [N]: which of the workload's rows."""


def remeasure(
    dataset: str | Path,
    *,
    choice: Choice | None = None,
    seconds: float | None = None,
    contributor: str = "",
    build_timeout_seconds: float = 30.0,
    run_timeout_seconds: float = 10.0,
    progress: Callable[[LiveProgress], None] | None = None,
) -> RemeasureReport:
    """Measures the rows of ``dataset`` that ``choice`` names once more, in place.

    This machine must be the one of the dataset. Fast workloads come first. A row keeps its trace,
    source, licence and place; times, timestamp and collector are new, and so is the contributor
    where one is given. What fails now keeps the times that it had. As rows change, the version is
    the next major one. ``seconds``: wall time after which no batch begins; the rest keeps its
    times.

    Ctrl-C finishes the batch and the dataset; a second one leaves only the journal, which the next
    call takes up. Raises ``HardwareMismatchError``, ``DatasetError``, ``MeasureError`` and
    ``InvalidInputError``.
    """
    if seconds is not None and not seconds > 0:
        raise InvalidInputError("a budget must be positive")
    folder = destination(dataset)
    with working(folder):
        older = open_verified(folder)
        key, profile = hardware_at_hand(older.hardware, older, remote=False)
        tasks = _tasks(older, choice or Choice())
        state = LiveProgress(expected=sum(int(task.rows.sum()) for task in tasks))
        chosen = state.expected
        head = JournalHead(key, "", profile)
        path = working_folder(folder) / "again" / "journal.jsonl"
        with Journal(path, head) as journal, interruptible() as stop:
            run = _Run(older, journal, state, stop, seconds, progress)
            for text, same in itertools.groupby(tasks, key=lambda task: task.target):
                target = json.loads(text)
                # Traces are replayed here: without its tensor intrinsics, any with Tensorize is
                # refused.
                use_target(target)
                with Engine(
                    target,
                    build_timeout_seconds=build_timeout_seconds,
                    run_timeout_seconds=run_timeout_seconds,
                ) as engine:
                    run.measure(engine, list(same))
        rejections = [entry for entry in read_journal(path) if isinstance(entry, Rejection)]
        revision = _Revision({_row(record): record for record in run.known}, contributor)
        manifest = _rewritten(older, folder, revision) if revision.records else older.manifest
        kept = put_aside(path, folder) if rejections else None
        finish_work(folder, "again")
    return RemeasureReport(
        folder, manifest, chosen, len(revision.ratios), state, revision.change, rejections, kept,
        stop(),
    )  # fmt: skip


def _tasks(dataset: Dataset, choice: Choice) -> list[_Task]:
    """What is to be measured, by target, fast workloads first: they are measured worst."""
    tasks = []
    for workload, records in dataset.iter_workload_records(columns=COLUMNS):
        if workload.scheduler is not Scheduler.META_SCHEDULE or not workload.program:
            continue
        rows = choice.rows(records)
        targets = np.asarray(records.column("target"))
        best = float(records.latency_seconds.min(initial=math.inf))
        for target in np.unique(targets[rows]).tolist():
            tasks.append(_Task(target, best, workload.id, rows & (targets == target)))
    return sorted(tasks, key=lambda task: task[:3])


def _row(record: MeasureRecord) -> _Row:
    return _Row(candidate_id(record.workload_id, record.trace), record.source, record.line)


class _Run:
    """One call's measuring."""

    def __init__(
        self,
        dataset: Dataset,
        journal: Journal,
        state: LiveProgress,
        stop: Callable[[], bool],
        seconds: float | None,
        progress: Callable[[LiveProgress], None] | None,
    ) -> None:
        self._dataset, self._journal, self._state = dataset, journal, state
        self._stop, self._budget, self._tell = stop, seconds, progress
        self._began = time.monotonic()
        self._workloads = dataset.workloads()
        self.known = list(journal.records())
        """All that was measured again, now and by calls that were broken off."""
        self._done = {_row(record) for record in self.known}

    def measure(self, engine: Engine, tasks: Sequence[_Task]) -> None:
        """Measures the rows of ``tasks``, all of the engine's target."""
        for task in tasks:
            records = self._dataset.workload_records(task.workload).records()
            wanted = itertools.compress(records, task.rows.tolist())
            left = [record for record in wanted if _row(record) not in self._done]
            self._state.expected -= int(task.rows.sum()) - len(left)
            engine.know_best(task.workload, task.best_seconds)
            for start in range(0, len(left), _BATCH):
                if self._is_over:
                    return
                self._measure_batch(engine, left[start : start + _BATCH])

    @property
    def _is_over(self) -> bool:
        spent = self._budget is not None and time.monotonic() - self._began >= self._budget
        return spent or self._stop()

    def _measure_batch(self, engine: Engine, records: Sequence[MeasureRecord]) -> None:
        workload = self._workloads[records[0].workload_id]
        programs = [(record, rebuilt(workload, record, workload.id)) for record in records]
        can = [(record, program) for record, program in programs if program is not None]
        if refused := len(records) - len(can):
            self._state.failures[str(FailureKind.INSTANTIATION)] += refused
        again: list[MeasureRecord] = []

        def done(index: int, result: Measurement) -> None:
            if result.failure is not None:
                self._state.failures[str(result.failure)] += 1
                self._state.last_failure = result.message
            else:
                again.append(_anew(can[index][0], result))

        try:
            engine.measure([program for _, program in can], done)
        finally:
            # Also when the user has lost patience: what is measured is kept.
            self._journal.append(workload, again)
            self.known += again
            self._show(records, again)

    def _show(self, records: Sequence[MeasureRecord], again: Sequence[MeasureRecord]) -> None:
        state = self._state
        state.workload = records[0].source.removeprefix("live/")
        state.records += len(records)
        state.elapsed_seconds = time.monotonic() - self._began
        latencies = [record.latency_seconds for record in again]
        best = [seconds for seconds in latencies if seconds is not None]
        if best:
            seconds = state.best_seconds.get(state.workload, math.inf)
            state.best_seconds[state.workload] = min(seconds, *best)
        if self._tell is not None:
            self._tell(state)


def _anew(record: MeasureRecord, result: Measurement) -> MeasureRecord:
    return dataclasses.replace(
        record,
        run_seconds=result.run_seconds,
        measure_seconds=result.build_seconds + result.wall_seconds,
        timestamp=time.time(),
    )


class _Revision:
    """New times for rows."""

    def __init__(self, records: dict[_Row, MeasureRecord], contributor: str) -> None:
        self.records = records
        self._provenance = Provenance(contributor, collector=COLLECTOR)
        self.ratios: list[float] = []
        """New latency over old one of each row that was replaced."""

    @property
    def change(self) -> Repeatability | None:
        """What the ratios say."""
        if not self.ratios:
            return None
        return repeatability(self.ratios, len(self.ratios), datetime.date.today())

    def __call__(self, table: pa.Table) -> pa.Table:
        """``table`` with the new times."""
        rows = zip(*(table[name].to_pylist() for name in _IDENTITY), strict=True)
        found = [self.records.get(_Row(*row)) for row in rows]
        if not any(found):
            return table
        before = table["run_seconds"].to_pylist()
        for record, seconds in zip(found, before, strict=True):
            if record is not None and record.latency_seconds is not None:
                self.ratios.append(record.latency_seconds / statistics.median(seconds))
        for name in ("run_seconds", "measure_seconds", "timestamp"):
            new = [None if record is None else getattr(record, name) for record in found]
            table = _replaced(table, name, new)
        for name in ("contributor", "collector"):
            if value := getattr(self._provenance, name):
                new = [None if record is None else value for record in found]
                table = _replaced(table, name, new)
        return table


def _replaced(table: pa.Table, name: str, new: Sequence[Any]) -> pa.Table:
    """``table`` with what is ``new`` in the column ``name``; ``None`` leaves what is there."""
    at, field = table.schema.get_field_index(name), table.schema.field(name)
    old = table[name].to_pylist()
    values = [was if value is None else value for was, value in zip(old, new, strict=True)]
    return table.set_column(at, field, pa.array(values, field.type))


def _rewritten(older: Dataset, folder: Path, revision: _Revision) -> Manifest:
    """The dataset with what was measured again, in place of ``older``."""
    manifest = older.manifest
    description = Description(
        older.hardware,
        manifest.profile,
        COLLECTOR,
        version=manifest.version.after(Change.MAJOR),
        test_workloads=manifest.test_workloads,
        # How well the old times repeated says nothing of the new ones.
        limits=manifest.limits,
    )
    settled = older.split_of
    part = part_of(older, begin_anew(folder, "runs"), "again", revision)
    written = assemble([part], folder, description, settled=settled, replace=True)
    finish_work(folder, "runs")
    return written
