"""``collect``: measurement logs to a dataset folder.

Chunks of lines are parsed by worker processes into sorted runs beside the output (``OUTPUT.runs``),
which are then merged into the dataset. A run is named by the digest of the chunk and of all that
decides what it becomes, so a collection that was interrupted finds its runs and goes on where it
was, and one whose log has grown parses only what is new.
"""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import shutil
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson

import wmhub
from wmhub.actions import ANSOR_STEPS, META_SCHEDULE_INSTRUCTIONS
from wmhub.dataset.manifest import Manifest
from wmhub.dataset.schema import Provenance
from wmhub.dataset.spool import read_note, read_sorted, to_table, write_run
from wmhub.dataset.version import Version
from wmhub.dataset.writer import ReadTotals, refuse_existing, write_dataset
from wmhub.errors import InvalidInputError, LogFormatError
from wmhub.hardware.profile import HardwareProfile
from wmhub.logs.ansor import AnsorReader
from wmhub.logs.chunks import ReadCounts, Rejection, parse_chunk
from wmhub.logs.discover import LogFile, LogKind, discover, sniff
from wmhub.logs.lines import Chunk, decompressed, open_raw, read_chunks
from wmhub.logs.meta_schedule import MetaScheduleReader, parse_workload
from wmhub.logs.text import RejectedLineError
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload

REJECTED = "rejected.jsonl"


@dataclass(frozen=True)
class Progress:
    """How far a collection is."""

    bytes_read: int
    """Bytes of the log files, as they are on disk."""
    bytes_total: int
    """Of all log files; 0 where standard input is among them."""
    lines: int
    """Lines read so far."""


@dataclass
class CollectReport:
    """What a collection read and wrote."""

    output: Path
    manifest: Manifest
    logs: int
    """Files read."""
    skipped: int
    """Blank lines and comments."""
    rejections: list[Rejection]
    """The rejected lines, as far as they were kept; ``rejected.jsonl`` in the dataset has them."""


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
        """The run's file name."""
        rest = dataclasses.astuple(dataclasses.replace(self, chunk=Chunk(0, b"")))
        facts = (rest, self.chunk.first_line, self.chunk.fault, sorted(_known_actions(self.log)))
        digest = hashlib.blake2b(orjson.dumps(facts, default=str), digest_size=16)
        digest.update(self.chunk.data)
        return digest.hexdigest() + ".run"


@dataclass(frozen=True)
class _Outcome:
    """What a chunk amounted to, beside its rows."""

    counts: ReadCounts
    rejections: list[Rejection]
    workloads: list[Workload]
    """Workloads that the lines name, without those of a workload file."""
    used: list[str]
    """Ids of the workloads that have records."""

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, text: bytes) -> _Outcome:
        value = orjson.loads(text)
        return cls(
            ReadCounts.from_dict(value["counts"]),
            [Rejection(**item) for item in value["rejections"]],
            [
                Workload(**{**item, "scheduler": Scheduler(item["scheduler"])})
                for item in value["workloads"]
            ],
            value["used"],
        )


@dataclass
class _Collected:
    """The sum of all chunks."""

    counts: ReadCounts = field(default_factory=ReadCounts)
    rejections: list[Rejection] = field(default_factory=list)
    workloads: dict[str, Workload] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    runs: list[Path] = field(default_factory=list)

    def add(self, run: Path, outcome: _Outcome) -> None:
        self.runs.append(run)
        self.counts.add(outcome.counts)
        self.rejections += outcome.rejections
        self.workloads.update((workload.id, workload) for workload in outcome.workloads)
        self.used.update(outcome.used)


def collect(
    logs: Sequence[str | Path],
    output: str | Path,
    *,
    hardware: HardwareKey | str | None = None,
    contributor: str = "",
    licence: str = "",
    version: Version | str = "1.0.0",
    test_workloads: Collection[str] = (),
    strict: bool = False,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> CollectReport:
    """Reads measurement logs into a new dataset folder ``output``.

    ``logs`` are files, folders, globs or ``-``; see ``wmhub.logs.discover``. ``hardware`` is what
    they were measured on; without it, this machine, probed. Every line is measured, failed or
    rejected, and counted; with ``strict`` the first rejected one raises ``LogFormatError``.
    ``workers`` above 1 parse in as many processes; a script that asks for them needs the usual
    ``if __name__ == "__main__"``.

    Raises ``MissingInputError``, ``LogFormatError``, ``OutputExistsError`` and
    ``InvalidNameError``. An interrupted call leaves no dataset; the same call goes on with it.
    """
    output = Path(output)
    refuse_existing(output)
    key, profile = _hardware(hardware)
    files = discover(logs)
    provenance = Provenance(contributor, licence, f"wmhub {wmhub.__version__}")
    folder = output.with_name(output.name + ".runs")
    folder.mkdir(parents=True, exist_ok=True)
    collected = _Collected()
    tasks = _tasks(files, collected, str(key), provenance, progress)
    for run, outcome in _run_all(tasks, folder, workers):
        if strict and outcome.rejections:
            first = outcome.rejections[0]
            raise LogFormatError.at(first.source, first.reason, first.line)
        collected.add(run, outcome)
    if not collected.used:
        shutil.rmtree(folder)
        raise LogFormatError(_nothing_found(files, collected))
    manifest = write_dataset(
        output,
        read_sorted(collected.runs),
        {id_: collected.workloads[id_] for id_ in collected.used},
        key,
        profile=profile,
        totals=_totals(collected.counts),
        collector=provenance.collector,
        version=Version.parse(str(version)),
        test_workloads=_chosen(test_workloads, collected),
        extra_files=_rejected_file(folder, collected.rejections),
    )
    shutil.rmtree(folder)
    return CollectReport(
        output, manifest, len(files), collected.counts.skipped, collected.rejections
    )


def _hardware(hardware: HardwareKey | str | None) -> tuple[HardwareKey, HardwareProfile | None]:
    from wmhub.hardware.table import lookup

    if hardware is None:
        from wmhub.hardware.probe import probe

        profile = probe()
        return profile.key, profile
    key = hardware if isinstance(hardware, HardwareKey) else HardwareKey.parse(hardware)
    return key, lookup(key)


def _known_actions(log: LogFile) -> Collection[str]:
    ansor = log.kind is LogKind.AUTO_SCHEDULER
    return (ANSOR_STEPS if ansor else META_SCHEDULE_INSTRUCTIONS).keys()


def _tasks(
    files: Sequence[LogFile],
    collected: _Collected,
    hardware: str,
    provenance: Provenance,
    progress: Callable[[Progress], None] | None,
) -> Iterator[_Task]:
    """The chunks of all files; adds the workloads of MetaSchedule databases to ``collected``."""
    sizes = [file.path.stat().st_size if file.path is not None else 0 for file in files]
    total = sum(sizes) if all(file.path is not None for file in files) else 0
    done = 0
    for log, size in zip(files, sizes, strict=True):
        ids = tuple(_read_workloads(log.workloads, collected)) if log.workloads else ()
        with ExitStack() as stack:
            raw = sys.stdin.buffer if log.path is None else open_raw(log.path)
            if log.path is not None:
                stack.enter_context(raw)
            database = ""
            for chunk in read_chunks(decompressed(raw)):
                if log.kind is None:
                    log = _sniffed(log, chunk)
                database = database or _database_digest(chunk)
                yield _Task(chunk, log, database, ids, hardware, provenance)
                if progress is not None:
                    here = raw.tell() if log.path is not None else 0
                    progress(Progress(done + here, total, collected.counts.lines))
        done += size
    if progress is not None:
        progress(Progress(done, total, collected.counts.lines))


def _sniffed(log: LogFile, chunk: Chunk) -> LogFile:
    kind = sniff(chunk.data)
    if kind not in (LogKind.AUTO_SCHEDULER, LogKind.META_SCHEDULE):
        raise LogFormatError("stdin: neither an Ansor log nor MetaSchedule tuning records")
    return dataclasses.replace(log, kind=kind)


def _database_digest(chunk: Chunk) -> str:
    lines = chunk.data[: 1 << 20].split(b"\n", 1)
    return hashlib.blake2b(lines[0].strip(), digest_size=10).hexdigest()


def _read_workloads(path: Path, collected: _Collected) -> Iterator[str | None]:
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
                collected.workloads[workload.id] = workload
                yield workload.id


def _run_all(tasks: Iterator[_Task], folder: Path, workers: int) -> Iterator[tuple[Path, _Outcome]]:
    """Parses all tasks, in their order; those that have a run already are taken up."""
    if workers < 1:
        raise InvalidInputError(f"workers must be at least 1, not {workers}")
    with ExitStack() as stack:
        pool: ProcessPoolExecutor | None = None
        pending: deque[tuple[Path, Future[bytes]]] = deque()
        for task in tasks:
            run = folder / task.name
            if run.exists():
                outcome: Callable[[], bytes] = partial(read_note, run)
            elif workers == 1:
                outcome = partial(_parse, task, run)
            else:
                if pool is None:
                    pool = stack.enter_context(_pool(workers))
                pending.append((run, pool.submit(_parse, task, run)))
                if len(pending) > workers + 1:
                    first, future = pending.popleft()
                    yield first, _Outcome.from_json(future.result())
                continue
            while pending:
                first, future = pending.popleft()
                yield first, _Outcome.from_json(future.result())
            yield run, _Outcome.from_json(outcome())
        while pending:
            first, future = pending.popleft()
            yield first, _Outcome.from_json(future.result())


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))


def _parse(task: _Task, run: Path) -> bytes:
    """Parses a chunk into its run; returns the outcome as JSON."""
    reader = (
        AnsorReader(task.log.source)
        if task.log.kind is LogKind.AUTO_SCHEDULER
        else MetaScheduleReader(task.log.source, task.database, task.workload_ids)
    )
    parsed = parse_chunk(task.chunk, task.log.source, reader, set(_known_actions(task.log)))
    used = sorted({record.workload_id for record in parsed.records})
    note = _Outcome(parsed.counts, parsed.rejections, parsed.workloads, used).to_json()
    write_run(run, to_table(parsed.records, task.hardware, task.provenance), note)
    return note


def _totals(counts: ReadCounts) -> ReadTotals:
    return ReadTotals(
        counts.lines,
        counts.measured,
        counts.failed,
        counts.rejected,
        counts.failures,
        counts.unknown_actions,
    )


def _chosen(test_workloads: Collection[str], collected: _Collected) -> list[str]:
    """The ids behind a list of workload ids or keys."""
    by_key = {collected.workloads[id_].key: id_ for id_ in collected.used}
    chosen = []
    for name in test_workloads:
        id_ = name if name in collected.used else by_key.get(name)
        if id_ is None:
            raise InvalidInputError(
                f"test workload {name[:100]!r}: neither the id nor the key of a workload in these "
                "logs"
            )
        chosen.append(id_)
    return chosen


def _rejected_file(folder: Path, rejections: Sequence[Rejection]) -> list[tuple[Path, int]]:
    if not rejections:
        return []
    path = folder / REJECTED
    with path.open("wb") as file:
        for rejection in rejections:
            file.write(orjson.dumps(rejection) + b"\n")
    return [(path, len(rejections))]


def _nothing_found(files: Sequence[LogFile], collected: _Collected) -> str:
    where = str(files[0].path or "stdin") if len(files) == 1 else f"{len(files)} files"
    if collected.rejections:
        first = collected.rejections[0]
        return (
            f"{where}: none of {collected.counts.lines} lines holds a record; the first, "
            f"{first.source}:{first.line}: {first.reason}"
        )
    return f"{where}: empty: no line holds a record"
