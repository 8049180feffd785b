"""Logs to sorted runs: in parallel, in flat memory, and without parsing a chunk twice.

A run is named by the digest of its chunk and of all that decides what the chunk becomes. So a
collection that was interrupted finds its runs and goes on where it was, and one whose log has grown
parses only what is new.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson
import pyarrow as pa

from wmhub.actions import ANSOR_STEPS, META_SCHEDULE_INSTRUCTIONS
from wmhub.dataset.schema import Provenance
from wmhub.dataset.spool import RUN_FORMAT, read_note, rows_to_table, write_run
from wmhub.dataset.workers import in_order
from wmhub.errors import InvalidInputError, LogFormatError
from wmhub.logs.ansor import AnsorReader
from wmhub.logs.chunks import ReadCounts, Rejection, parse_chunk
from wmhub.logs.discover import LogFile
from wmhub.logs.lines import Chunk, decompressed, open_raw, read_chunks
from wmhub.logs.meta_schedule import MetaScheduleReader
from wmhub.logs.sniff import LogKind, sniff
from wmhub.logs.text import target_kind
from wmhub.logs.workloads import read_workload_file
from wmhub.records import Scheduler, Workload

_KNOWN_ACTIONS: Mapping[LogKind | None, frozenset[str]] = {
    LogKind.AUTO_SCHEDULER: frozenset(ANSOR_STEPS),
    LogKind.META_SCHEDULE: frozenset(META_SCHEDULE_INSTRUCTIONS),
}
#: Logs below this size, compressed, are parsed before a pool of workers has started.
_FEW_BYTES = 1 << 20
#: Files up to this size, compressed, are read by the workers; larger ones are cut into chunks here.
_WHOLE_BYTES = 4 << 20

_MOST_REJECTIONS = 100_000

#: Name and note of each run of a task.
_Runs = list[tuple[str, bytes]]


@dataclass(frozen=True)
class ReadProgress:
    """How far the reading is."""

    bytes_read: int
    """Bytes of the log files, as they are on disk."""
    bytes_total: int | None
    """Of all log files; ``None`` where standard input is among them."""
    lines: int
    """Lines read so far."""


@dataclass
class Ingested:
    """All that was read, with the rows in ``runs``."""

    counts: ReadCounts = field(default_factory=ReadCounts)
    rejections: list[Rejection] = field(default_factory=list)
    """The rejected lines, at most a thousand of each chunk and a hundred thousand in all."""
    workloads: dict[str, Workload] = field(default_factory=dict)
    """The workloads that have records, by id."""
    runs: list[Path] = field(default_factory=list)
    target_kinds: set[str] = field(default_factory=set)
    """Kinds of the records' targets: ``cuda``, ``llvm``."""


@dataclass(frozen=True)
class _Task:
    """A log, or a chunk of one, and all that decides what becomes of it."""

    log: LogFile
    chunk: Chunk | None
    """``None`` for the whole file, which the worker reads itself."""
    database: str
    """Digest that tells a MetaSchedule database from others, where ``chunk`` is given."""
    workload_ids: tuple[str | None, ...]
    hardware: str
    provenance: Provenance
    bytes_read: int
    """Bytes of all logs that are read when this task is done."""

    def run_name(self, chunk: Chunk, database: str) -> str:
        """The file name of the run of ``chunk``."""
        facts = (
            RUN_FORMAT,
            chunk.first_line,
            chunk.fault,
            self.log.source,
            str(self.log.kind),
            database,
            self.workload_ids,
            self.hardware,
            self.provenance,
            sorted(_KNOWN_ACTIONS[self.log.kind]),
        )
        digest = hashlib.sha256(orjson.dumps(facts))
        digest.update(chunk.data)
        return digest.hexdigest()[:40] + ".run"


@dataclass(frozen=True)
class _Outcome:
    """What a chunk amounted to, beside its rows; kept in the run."""

    counts: ReadCounts
    rejections: list[Rejection]
    workloads: list[Workload]
    """Workloads that the lines name, without those of a workload file."""
    used: list[str]
    """Ids of the workloads that have records."""
    target_kinds: list[str]
    """Kinds of the targets of the records."""

    @classmethod
    def from_json(cls, text: bytes) -> _Outcome:
        value = orjson.loads(text)
        return cls(
            ReadCounts.from_dict(value["counts"]),
            [Rejection(**item) for item in value["rejections"]],
            [
                Workload(item["id"], Scheduler(item["scheduler"]), item["key"], item["program"])
                for item in value["workloads"]
            ],
            value["used"],
            value["target_kinds"],
        )


def ingest(
    logs: Sequence[tuple[LogFile, Provenance]],
    folder: Path,
    hardware: str,
    *,
    strict: bool = False,
    workers: int = 1,
    progress: Callable[[ReadProgress], None] | None = None,
) -> Ingested:
    """Reads ``logs`` into runs in ``folder``; runs of the same chunks that are there are taken up.

    With ``strict`` the first rejected line raises ``LogFormatError``.
    """
    if workers < 1:
        raise InvalidInputError(f"workers must be at least 1, not {workers}")
    ingested = Ingested()
    listed: dict[str, Workload] = {}
    damaged = _Damaged([])
    used: set[str] = set()
    sizes = [log.path.stat().st_size for log, _ in logs if log.path is not None]
    total = sum(sizes) if len(sizes) == len(logs) else None
    tasks = _tasks(logs, listed, damaged, hardware)
    if total is not None and total < _FEW_BYTES:
        workers = 1
    for task, runs in _finished(tasks, folder, workers):
        for name, note in runs:
            outcome = _Outcome.from_json(note)
            for first in (*damaged.kept, *outcome.rejections) if strict else ():
                raise LogFormatError.at(first.source, first.reason, first.line)
            ingested.runs.append(folder / name)
            ingested.counts.add(outcome.counts)
            kept = _MOST_REJECTIONS - len(ingested.rejections)
            ingested.rejections += outcome.rejections[:kept]
            listed.update((workload.id, workload) for workload in outcome.workloads)
            used.update(outcome.used)
            ingested.target_kinds.update(outcome.target_kinds)
        if progress is not None:
            progress(ReadProgress(task.bytes_read, total, ingested.counts.lines))
    ingested.rejections += damaged.kept
    ingested.counts.add(ReadCounts(lines=damaged.count, rejected=damaged.count))
    ingested.workloads = {id_: listed[id_] for id_ in sorted(used)}
    return ingested


@dataclass
class _Damaged:
    """Lines of workload files that hold no workload."""

    kept: list[Rejection]
    """The first ``_MOST_REJECTIONS``."""
    count: int = 0


def _tasks(
    logs: Sequence[tuple[LogFile, Provenance]],
    listed: dict[str, Workload],
    damaged: _Damaged,
    hardware: str,
) -> Iterator[_Task]:
    """What there is to parse; adds the workloads of MetaSchedule databases to ``listed``, lines of
    their files that hold none to ``damaged``."""
    done = 0
    for log, provenance in logs:
        ids: tuple[str | None, ...] = ()
        if log.workloads is not None:
            found = read_workload_file(log.workloads, log.workloads_source)
            listed.update(found.workloads)
            damaged.count += found.damaged
            damaged.kept += found.rejections[: _MOST_REJECTIONS - len(damaged.kept)]
            ids = tuple(found.ids)
        size = log.path.stat().st_size if log.path is not None else None
        if size is not None and size <= _WHOLE_BYTES:
            done += size
            yield _Task(log, None, "", ids, hardware, provenance, done)
            continue
        with ExitStack() as stack:
            raw = sys.stdin.buffer if log.path is None else stack.enter_context(open_raw(log.path))
            for chunk, database in _chunks(raw):
                log = log if log.kind is not None else _sniffed(log, chunk)
                here = done + (0 if size is None else raw.tell())
                yield _Task(log, chunk, database, ids, hardware, provenance, here)
        done += size or 0


def _chunks(raw: BinaryIO) -> Iterator[tuple[Chunk, str]]:
    """The chunks of a log, with the digest of its first line: it stays while a database grows."""
    database = ""
    for chunk in read_chunks(decompressed(raw)):
        if not database:
            first = chunk.data.partition(b"\n")[0].strip()
            database = hashlib.sha256(first).hexdigest()[:20]
        yield chunk, database


def _sniffed(log: LogFile, chunk: Chunk) -> LogFile:
    if chunk.fault is not None:
        raise LogFormatError(f"{log.source}: {chunk.fault}")
    kind = sniff(chunk.data)
    if kind not in _KNOWN_ACTIONS:
        raise LogFormatError(f"{log.source}: neither an Ansor log nor MetaSchedule tuning records")
    return dataclasses.replace(log, kind=kind)


def _finished(tasks: Iterator[_Task], folder: Path, workers: int) -> Iterator[tuple[_Task, _Runs]]:
    """Does all tasks; yields in their order, so that the result is the same for any ``workers``."""
    return in_order(
        _parse,
        ((dataclasses.replace(task, chunk=None), (task, folder)) for task in tasks),
        workers,
        "a process that parsed logs died, perhaps for want of memory; the same command "
        "goes on where it was, and with --workers 1 takes less",
    )


def _parse(task: _Task, folder: Path) -> _Runs:
    """Parses a chunk, or all chunks of a file, into runs; those that are there are taken up."""
    if task.chunk is not None:
        return [_parse_chunk(task, task.chunk, task.database, folder)]
    assert task.log.path is not None
    with open_raw(task.log.path) as raw:
        return [_parse_chunk(task, chunk, database, folder) for chunk, database in _chunks(raw)]


def _parse_chunk(task: _Task, chunk: Chunk, database: str, folder: Path) -> tuple[str, bytes]:
    name = task.run_name(chunk, database)
    if (folder / name).exists():
        # One that a loss of power has cut short is made again.
        with contextlib.suppress(pa.ArrowException, OSError, KeyError, TypeError):
            return name, read_note(folder / name)
    reader = (
        AnsorReader(task.log.source)
        if task.log.kind is LogKind.AUTO_SCHEDULER
        else MetaScheduleReader(task.log.source, database, task.workload_ids)
    )
    # Parsed JSON has no cycles, and looking for them costs a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        parsed = parse_chunk(chunk, task.log.source, reader, _KNOWN_ACTIONS[task.log.kind])
        used = sorted({row[0] for row in parsed.rows})
        kinds = sorted({target_kind(text) for text in {row[3] for row in parsed.rows}})
        table = rows_to_table(parsed.rows, task.hardware, task.provenance)
    finally:
        if collecting:
            gc.enable()
    note = orjson.dumps(_Outcome(parsed.counts, parsed.rejections, parsed.workloads, used, kinds))
    write_run(folder / name, table, note)
    return name, note
