"""Logs to sorted runs: in parallel, in flat memory, and without parsing a chunk twice.

A run is named by the digest of its chunk and of all that decides what the chunk becomes. So a
collection that was interrupted finds its runs and goes on where it was, and one whose log has grown
parses only what is new.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from wmhub.actions import ANSOR_STEPS, META_SCHEDULE_INSTRUCTIONS
from wmhub.dataset.schema import Provenance
from wmhub.dataset.spool import read_note, to_table, write_run
from wmhub.errors import InvalidInputError, LogFormatError
from wmhub.logs.ansor import AnsorReader
from wmhub.logs.chunks import ReadCounts, Rejection, parse_chunk
from wmhub.logs.discover import LogFile, LogKind, sniff
from wmhub.logs.lines import Chunk, decompressed, open_raw, read_chunks
from wmhub.logs.meta_schedule import MetaScheduleReader, parse_workload
from wmhub.logs.text import RejectedLineError
from wmhub.records import Scheduler, Workload

_KNOWN_ACTIONS: Mapping[LogKind | None, frozenset[str]] = {
    LogKind.AUTO_SCHEDULER: frozenset(ANSOR_STEPS),
    LogKind.META_SCHEDULE: frozenset(META_SCHEDULE_INSTRUCTIONS),
}
#: Logs below this size, compressed, are parsed before a pool of workers has started.
_FEW_BYTES = 1 << 20


@dataclass(frozen=True)
class Progress:
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
    """The rejected lines, at most a thousand of each chunk."""
    workloads: dict[str, Workload] = field(default_factory=dict)
    """The workloads that have records, by id."""
    runs: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    """A chunk and all that decides what becomes of it."""

    chunk: Chunk
    log: LogFile
    database: str
    """Digest that tells a MetaSchedule database from others."""
    workload_ids: tuple[str | None, ...]
    hardware: str
    provenance: Provenance

    @property
    def name(self) -> str:
        """The file name of its run."""
        facts = (
            self.chunk.first_line,
            self.chunk.fault,
            self.log.source,
            str(self.log.kind),
            self.database,
            self.workload_ids,
            self.hardware,
            self.provenance,
            sorted(_KNOWN_ACTIONS[self.log.kind]),
        )
        digest = hashlib.blake2b(orjson.dumps(facts), digest_size=16)
        digest.update(self.chunk.data)
        return digest.hexdigest() + ".run"


@dataclass(frozen=True)
class _Outcome:
    """What a chunk amounted to, beside its rows; kept in the run."""

    counts: ReadCounts
    rejections: list[Rejection]
    workloads: list[Workload]
    """Workloads that the lines name, without those of a workload file."""
    used: list[str]
    """Ids of the workloads that have records."""

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
        )


def ingest(
    logs: Sequence[tuple[LogFile, Provenance]],
    folder: Path,
    hardware: str,
    *,
    strict: bool = False,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> Ingested:
    """Reads ``logs`` into runs in ``folder``; runs of the same chunks that are there are taken up.

    With ``strict`` the first rejected line raises ``LogFormatError``.
    """
    if workers < 1:
        raise InvalidInputError(f"workers must be at least 1, not {workers}")
    if sum(log.path.stat().st_size for log, _ in logs if log.path is not None) < _FEW_BYTES:
        workers = 1
    ingested = Ingested()
    listed: dict[str, Workload] = {}
    used: set[str] = set()
    for run, outcome in _outcomes(
        _tasks(logs, listed, hardware, ingested.counts, progress), folder, workers
    ):
        if strict and outcome.rejections:
            first = outcome.rejections[0]
            raise LogFormatError.at(first.source, first.reason, first.line)
        ingested.runs.append(run)
        ingested.counts.add(outcome.counts)
        ingested.rejections += outcome.rejections
        listed.update((workload.id, workload) for workload in outcome.workloads)
        used.update(outcome.used)
    ingested.workloads = {id_: listed[id_] for id_ in sorted(used)}
    return ingested


def _tasks(
    logs: Sequence[tuple[LogFile, Provenance]],
    listed: dict[str, Workload],
    hardware: str,
    counts: ReadCounts,
    progress: Callable[[Progress], None] | None,
) -> Iterator[_Task]:
    """The chunks of all logs; adds the workloads of MetaSchedule databases to ``listed``."""
    sizes = [log.path.stat().st_size if log.path is not None else 0 for log, _ in logs]
    total = sum(sizes) if all(log.path is not None for log, _ in logs) else None
    done = 0
    for (log, provenance), size in zip(logs, sizes, strict=True):
        ids = tuple(_read_workloads(log.workloads, listed)) if log.workloads else ()
        with ExitStack() as stack:
            raw = sys.stdin.buffer if log.path is None else stack.enter_context(open_raw(log.path))
            database = ""
            for chunk in read_chunks(decompressed(raw)):
                if log.kind is None:
                    log = _sniffed(log, chunk)
                database = database or _database_digest(chunk)
                yield _Task(chunk, log, database, ids, hardware, provenance)
                if progress is not None:
                    here = raw.tell() if log.path is not None else 0
                    progress(Progress(done + here, total, counts.lines))
        done += size
    if progress is not None:
        progress(Progress(done, total, counts.lines))


def _sniffed(log: LogFile, chunk: Chunk) -> LogFile:
    kind = sniff(chunk.data)
    if kind not in _KNOWN_ACTIONS:
        raise LogFormatError(f"{log.source}: neither an Ansor log nor MetaSchedule tuning records")
    return dataclasses.replace(log, kind=kind)


def _database_digest(chunk: Chunk) -> str:
    """Digest of the first line: it stays while the database grows."""
    first = chunk.data.partition(b"\n")[0].strip()
    return hashlib.blake2b(first, digest_size=10).hexdigest()


def _read_workloads(path: Path, listed: dict[str, Workload]) -> Iterator[str | None]:
    """The ids in a MetaSchedule workload file by index; ``None`` for a damaged line."""
    with open_raw(path) as raw:
        for chunk in read_chunks(decompressed(raw)):
            for line in chunk.data.splitlines():
                if not line.strip():
                    continue
                try:
                    workload = parse_workload(line)
                except RejectedLineError:
                    yield None
                    continue
                listed[workload.id] = workload
                yield workload.id


def _outcomes(
    tasks: Iterator[_Task], folder: Path, workers: int
) -> Iterator[tuple[Path, _Outcome]]:
    """Does all tasks; yields in their order, so that the result is the same for any ``workers``."""
    with ExitStack() as stack:
        pool: ProcessPoolExecutor | None = None
        pending: deque[tuple[Path, Future[bytes]]] = deque()
        for task in tasks:
            run = folder / task.name
            future: Future[bytes] = Future()
            if run.exists():
                future.set_result(read_note(run))
            elif workers == 1:
                future.set_result(_parse(task, run))
            else:
                pool = pool or stack.enter_context(_pool(workers))
                future = pool.submit(_parse, task, run)
            pending.append((run, future))
            while len(pending) > (workers + 1 if workers > 1 else 0):
                first, future = pending.popleft()
                yield first, _Outcome.from_json(future.result())
        for last, future in pending:
            yield last, _Outcome.from_json(future.result())


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not fork: the threads of pyarrow and torch do not survive it.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _parse(task: _Task, run: Path) -> bytes:
    """Parses a chunk into its run; returns the outcome as JSON."""
    source = task.log.source
    reader = (
        AnsorReader(source)
        if task.log.kind is LogKind.AUTO_SCHEDULER
        else MetaScheduleReader(source, task.database, task.workload_ids)
    )
    # Parsed JSON has no cycles, and looking for them costs a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        parsed = parse_chunk(task.chunk, source, reader, _KNOWN_ACTIONS[task.log.kind])
        used = sorted({record.workload_id for record in parsed.records})
        table = to_table(parsed.records, task.hardware, task.provenance)
    finally:
        if collecting:
            gc.enable()
    outcome = _Outcome(parsed.counts, parsed.rejections, parsed.workloads, used)
    note = orjson.dumps(outcome)
    write_run(run, table, note)
    return note
