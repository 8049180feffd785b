"""``export``: a dataset back to the tuning logs that TVM reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from wmhub.dataset.placing import destination, refuse_occupied
from wmhub.dataset.reader import Dataset, WorkloadRecords
from wmhub.dataset.row_checks import form_faults
from wmhub.dataset.verify import open_verified
from wmhub.dataset.working import anew, refuse_mixed, working
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.logs import ansor, meta_schedule
from wmhub.records import MeasureRecord, Scheduler, Workload

#: File names inside the output folder; those of MetaSchedule are what ``JSONDatabase`` looks for.
ANSOR_LOG = "auto_scheduler.json"
DATABASE_WORKLOADS = "database_workload.json"
DATABASE_RECORDS = "database_tuning_record.json"


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    files: tuple[Path, ...]
    workloads: int
    records: int
    left_out: int
    """Records of the format whose workload has no program, so that TVM cannot load them."""


def export(
    dataset: str | Path,
    output: str | Path,
    *,
    format: Scheduler | str | None = None,
    best: bool = False,
    split: str | None = None,
) -> ExportReport:
    """Writes the records of ``dataset`` as tuning logs into the new folder ``output``.

    ``format`` is the scheduler whose records are wanted; without it, the one that the dataset has.
    With ``best`` only the fastest record of each workload: the smallest database to deploy.
    All is written aside and moved there at the end, so that ``output`` is never half an export.
    Reading the files again gives the same records but for their source and line, and, of a
    MetaSchedule database, for what it has no place for: when and how long a record was measured,
    and why one failed.

    Raises ``DatasetError`` where the dataset is not what its manifest says, ``OutputExistsError``
    and ``InvalidInputError``.
    """
    opened = open_verified(dataset)
    scheduler = _format(opened, format)
    output = destination(output)
    refuse_mixed(output, [opened.path])
    write = _write_ansor if scheduler is Scheduler.AUTO_SCHEDULER else _write_database
    with working(output):
        refuse_occupied(output, "exists")
        with anew(output, "export") as staging:
            report = write(staging, _records(opened, scheduler, best, split))
            if not report.records:
                what = "measured record" if best else "record"
                left_out = f"{report.left_out} left out"
                raise InvalidInputError(f"{opened.path}: no {what} to export ({left_out})")
            staging.replace(output)
    return dataclasses.replace(report, files=tuple(output / path.name for path in report.files))


def _format(dataset: Dataset, format: Scheduler | str | None) -> Scheduler:
    present = sorted({str(workload.scheduler) for workload in dataset.workloads().values()})
    if format is None:
        if len(present) == 1:
            return Scheduler(present[0])
        raise InvalidInputError(
            f"{dataset.path}: it has records of {' and '.join(present)}; say which by format"
        )
    if str(format) not in present:
        raise InvalidInputError(
            f"{dataset.path}: no records of {format}; it has those of {' and '.join(present)}"
        )
    return Scheduler(str(format))


def _records(
    dataset: Dataset, scheduler: Scheduler, best: bool, split: str | None
) -> Iterator[tuple[Workload, list[MeasureRecord]]]:
    """Each workload with its records, in the order in which they were measured."""
    for workload, rows in dataset.iter_workload_records(split):
        if workload.scheduler is not scheduler:
            continue
        if best:
            rows = _fastest(rows)
        for row, reason in form_faults(scheduler, rows):
            raise DatasetError(f"{dataset.path}: row {row} of {workload.id}: {reason}")
        yield workload, sorted(rows.records(), key=lambda record: (record.source, record.line))


def _fastest(rows: WorkloadRecords) -> WorkloadRecords:
    latency = rows.latency_seconds
    fastest = int(np.argmin(latency))
    return WorkloadRecords(rows.table.slice(fastest, 1 if np.isfinite(latency[fastest]) else 0))


def _write_ansor(
    output: Path, records: Iterator[tuple[Workload, list[MeasureRecord]]]
) -> ExportReport:
    path = output / ANSOR_LOG
    workloads = written = 0
    with path.open("w", encoding="utf-8") as file:
        for workload, rows in records:
            workloads += bool(rows)
            written += _write_lines(file, (ansor.format_line(row, workload) for row in rows))
    return ExportReport((path,), workloads, written, 0)


def _write_database(
    output: Path, records: Iterator[tuple[Workload, list[MeasureRecord]]]
) -> ExportReport:
    paths = (output / DATABASE_WORKLOADS, output / DATABASE_RECORDS)
    index = written = left_out = 0
    with ExitStack() as stack:
        programs, tunings = (
            stack.enter_context(path.open("w", encoding="utf-8")) for path in paths
        )
        for workload, rows in records:
            if workload.program is None:
                left_out += len(rows)
            elif rows:
                _write_lines(programs, iter([meta_schedule.format_workload(workload)]))
                lines = (meta_schedule.format_line(row, index) for row in rows)
                written += _write_lines(tunings, lines)
                index += 1
    return ExportReport(paths, index, written, left_out)


def _write_lines(file: TextIO, lines: Iterator[str]) -> int:
    count = 0
    for line in lines:
        file.write(line + "\n")
        count += 1
    return count
