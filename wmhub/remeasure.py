"""``remeasure``: a dataset with rows that were measured again on this machine.

Where a clock was at fault, or a machine was not quiet, the schedules of a dataset are still worth
what drawing them cost. Each finished batch is in a journal (``OUTPUT.wmhub/again``) before the next
begins; the new dataset is written at the end, and the old one stays as it is.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wmhub.dataset.manifest import MANIFEST, Manifest, Repeatability
from wmhub.dataset.placing import destination, refuse_existing
from wmhub.dataset.reader import Dataset
from wmhub.dataset.rewrite import retime
from wmhub.dataset.row_choice import COLUMNS, RowChoice
from wmhub.dataset.schema import Provenance
from wmhub.dataset.verify import open_verified
from wmhub.dataset.working import finish_work, refuse_mixed, working, working_folder
from wmhub.errors import DatasetError, InvalidInputError, MeasureError
from wmhub.hardware.probe import calibrated_here
from wmhub.interrupts import interruptible
from wmhub.live_dataset import put_aside
from wmhub.logs.chunks import Rejection
from wmhub.measure.candidate import Measurement
from wmhub.measure.engine import Engine
from wmhub.measure.journal import Journal, JournalHead, read_head, read_journal
from wmhub.measure.live import LiveProgress
from wmhub.measure.rebuild import rebuilt, repeatability, target_on
from wmhub.measure.timing import TimingPlan
from wmhub.records import FailureKind, MeasureRecord, Scheduler
from wmhub.tvm_compat import use_target

#: Programs that are built and timed together; what a killed run may lose.
_BATCH = 16


@dataclass(frozen=True)
class RemeasureReport:
    """What was measured again and written."""

    output: Path
    """Folder of the new dataset."""
    manifest: Manifest
    """Of the new dataset."""
    chosen: int
    """Rows that were to be measured again."""
    replaced: int
    """Rows that have new times, with those that calls before chose and were broken off at."""
    progress: LiveProgress
    """Of this call. What failed keeps the times that it had."""
    change: Repeatability
    """How new times compare with old ones."""
    rejections: list[Rejection]
    """Lines of the journal that were damaged."""
    journal: Path | None
    """Where the journal is kept, if any of its lines was rejected."""
    interrupted: bool
    """Whether Ctrl-C ended it."""


class _Task(NamedTuple):
    """Rows of one workload that one target builds."""

    target: str
    """JSON text, the same for the same target."""
    best_seconds: float
    """The best old latency of the workload."""
    workload: str
    """Its id."""
    first: int
    """Number of its first row in the dataset."""
    rows: np.ndarray
    """int [M]: which of its rows, from 0, fast ones first."""


def remeasure(
    dataset: str | Path,
    output: str | Path,
    *,
    choice: RowChoice | None = None,
    seconds: float | None = None,
    contributor: str = "",
    build_timeout_seconds: float = 30.0,
    run_timeout_seconds: float = 10.0,
    progress: Callable[[LiveProgress], None] | None = None,
) -> RemeasureReport:
    """Measures the rows of ``dataset`` that ``choice`` names once more, into the new ``output``.

    This machine must be the one of the dataset. Of each target, fast workloads come first. All
    other rows come along as they are; a row that was measured again keeps its trace, source,
    licence and split; times, timestamp and collector are new, and so is the contributor where one
    is given. What fails now keeps the times that it had. As rows change, the version is the next
    major one. ``seconds``: wall time after which no batch begins.

    Ctrl-C finishes the batch and the dataset; a second one leaves only the journal, which the next
    call takes up. Raises ``HardwareMismatchError``, ``OutputExistsError``, ``DatasetError``,
    ``InvalidInputError`` (also where no row is chosen), and ``MeasureError`` where none ran.
    """
    if seconds is not None and not seconds > 0:
        raise InvalidInputError("a budget must be positive")
    Provenance(contributor)  # What no row can hold is refused before the work.
    older = open_verified(dataset)
    output = destination(output)
    refuse_mixed(output, [older.path])
    with working(output):
        refuse_existing(output)
        profile = calibrated_here(older.hardware)
        tasks = _tasks(older, choice or RowChoice())
        chosen = sum(len(task.rows) for task in tasks)
        if not chosen:
            raise InvalidInputError(f"{older.path}: no row of MetaSchedule ran and is chosen")
        path = working_folder(output) / "again" / "journal.jsonl"
        head = JournalHead(older.hardware, _identity(older), profile)
        _refuse_other(path, head)
        state = LiveProgress(expected=chosen)
        with Journal(path, head) as journal, interruptible() as stop:
            run = _Run(older, journal, state, stop, seconds, progress)
            run.measure(tasks, build_timeout_seconds, run_timeout_seconds)
        rejections = [entry for entry in read_journal(path) if isinstance(entry, Rejection)]
        if not run.known:
            if not rejections:
                finish_work(output, "again")
            if stop() and not state.failures:  # Nothing is kept, and nothing is wrong.
                raise KeyboardInterrupt
            raise MeasureError(_nothing(chosen, state, stop()))
        # What another process made of it meanwhile has other rows.
        if _identity(open_verified(dataset)) != head.target:
            raise DatasetError(f"{older.path}: was changed meanwhile; {path} has what was measured")
        manifest, ratios = retime(older, output, run.known, contributor)
        kept = put_aside(path, output) if rejections else None
        finish_work(output, "again")
    tried = len(ratios) + state.failures.total()
    change = repeatability(ratios, tried, datetime.date.today())
    return RemeasureReport(
        output, manifest, chosen, len(ratios), state, change, rejections, kept, stop()
    )


def _identity(dataset: Dataset) -> str:
    """SHA-256 of the manifest, and so of all rows and their order."""
    return hashlib.sha256((dataset.path / MANIFEST).read_bytes()).hexdigest()


def _refuse_other(journal: Path, head: JournalHead) -> None:
    """Raises ``InvalidInputError`` for the journal of another dataset, whose rows are others."""
    if journal.exists() and any(True for _ in read_journal(journal)):
        there = read_head(journal)
        if (there.hardware, there.target) != (head.hardware, head.target):
            raise InvalidInputError(
                f"{journal}: begun for another dataset, or for this one before it was changed; "
                "choose another output, or remove it with what was measured"
            )


def _nothing(chosen: int, state: LiveProgress, interrupted: bool) -> str:
    """Why there is no dataset to write."""
    if state.failures:
        return f"none of {chosen} rows ran again; the last: {state.last_failure}"
    why = "it was interrupted" if interrupted else "its time was spent"
    return f"none of {chosen} rows was measured again: {why} before"


def _tasks(dataset: Dataset, choice: RowChoice) -> list[_Task]:
    """What is to be measured, by target, fast workloads first: they are measured worst."""
    tasks, first, key = [], 0, dataset.hardware
    for workload, records in dataset.iter_workload_records(columns=(*COLUMNS, "target")):
        if workload.scheduler is Scheduler.META_SCHEDULE and workload.program:
            latency = records.latency_seconds
            rows = np.flatnonzero(choice.rows(records))
            rows = rows[np.argsort(latency[rows], kind="stable")]
            targets = np.asarray([target_on(key, text) or "" for text in records.column("target")])
            best = float(latency.min(initial=math.inf))
            for target in filter(None, np.unique(targets[rows]).tolist()):
                mine = rows[targets[rows] == target]
                tasks.append(_Task(target, best, workload.id, first, mine))
        first += len(records)
    return sorted(tasks, key=lambda task: task[:3])


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
        self.known = {record.line: record for record in journal.records()}
        """All that was measured again, now and by calls that were broken off, by the number of its
        row in the dataset: in the journal that stands in the place of the line, since several rows
        may have one source and line."""

    def measure(self, tasks: Sequence[_Task], build_timeout: float, run_timeout: float) -> None:
        """Measures the rows of ``tasks``, which are sorted by their targets."""
        for text, same in itertools.groupby(tasks, key=lambda task: task.target):
            if self._is_over:
                return
            target = json.loads(text)
            use_target(target)  # With its tensor intrinsics: some traces hold Tensorize.
            with Engine(
                target,
                plan=TimingPlan(flush_cache=self._dataset.manifest.is_cold),
                build_timeout_seconds=build_timeout,
                run_timeout_seconds=run_timeout,
            ) as engine:
                self._measure_with(engine, same)

    def _measure_with(self, engine: Engine, tasks: Iterable[_Task]) -> None:
        for task in tasks:
            records = list(self._dataset.workload_records(task.workload).records())
            left = [
                dataclasses.replace(records[row], line=task.first + row)
                for row in task.rows.tolist()
                if task.first + row not in self.known
            ]
            self._state.expected -= len(task.rows) - len(left)
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
            self._state.last_failure = "this TVM refuses its trace"
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
            self.known.update((record.line, record) for record in again)
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
