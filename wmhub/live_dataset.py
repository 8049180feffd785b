"""What the journal of a live collection holds, as a dataset or added to one."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from wmhub.dataset.assemble import COLLECTOR, Part, assemble, part_of
from wmhub.dataset.growing import settled_elsewhere
from wmhub.dataset.manifest import Manifest
from wmhub.dataset.reader import Dataset
from wmhub.dataset.schema import Provenance
from wmhub.dataset.spool import to_table, write_run
from wmhub.dataset.version import Version
from wmhub.dataset.working import begin_anew, working_folder
from wmhub.dataset.writer import Description
from wmhub.errors import MeasureError
from wmhub.logs.chunks import ReadCounts, Rejection
from wmhub.measure.journal import Journal, read_measured
from wmhub.measure.zoo import HELD_OUT
from wmhub.records import MeasureRecord, Workload

#: Records of a run file, that is of what is sorted in memory at once.
_RUN_RECORDS = 20_000


class HeldOutWarning(UserWarning):
    """Workloads that no model may train on are not in the test split."""


@dataclass(frozen=True)
class Finished:
    """What became of a journal."""

    manifest: Manifest
    """Of the dataset, with what was there before."""
    rejections: list[Rejection]
    """Lines of the journal that hold no record, or one of a workload that is not there."""


def dataset_of(
    journal: Journal,
    output: Path,
    older: Dataset | None,
    provenance: Provenance,
    version: Version | None,
) -> Finished:
    """Writes the records of ``journal``, and what there was before, as the dataset ``output``.

    Raises ``MeasureError`` where there is neither, or nothing for the ``version`` that is wanted.
    """
    runs = begin_anew(output, "live/runs")
    there = older.workloads() if older is not None else {}
    spooled = _spool(journal, runs, provenance, there)
    rejections, part = spooled.rejections, spooled.part
    if not part.workloads:
        if older is not None and version is None:
            return Finished(older.manifest, rejections)
        wanted = "dataset" if older is None else f"version {version}"
        raise MeasureError(
            f"{output}: nothing was measured, so there is no {wanted} to write"
            + "".join(f"\n  {journal.path}:{item.line}: {item.reason}" for item in rejections[:3])
        )
    description = Description(
        journal.head.hardware,
        journal.head.profile,
        COLLECTOR,
        version=version,
        test_workloads=tuple(sorted(spooled.held_out)),
        limits=journal.head.limits,
    )
    settled = None
    parts = [part]
    if older is not None:
        parts.insert(0, part_of(older, runs, "older"))
        settled = older.split_of
        held_out = _still_held_out(spooled.held_out, {**there, **part.workloads}, settled)
        description = dataclasses.replace(
            description,
            # Another probe of the same hardware gives other numbers, and with them other features.
            profile=older.manifest.profile or description.profile,
            older=older.manifest,
            test_workloads=tuple(sorted({*older.manifest.test_workloads, *held_out})),
        )
    manifest = assemble(parts, output, description, settled=settled, replace=older is not None)
    return Finished(manifest, rejections)


def _still_held_out(
    held_out: Collection[str], workloads: Mapping[str, Workload], settled: Mapping[str, str]
) -> set[str]:
    """``held_out`` without those that a dataset which grows has in another split already."""
    elsewhere = settled_elsewhere(held_out, workloads, settled)
    if elsewhere:
        warnings.warn(
            f"{len(elsewhere)} held-out workloads of the zoo are in another split of this dataset "
            f"already, and stay there: {next(iter(elsewhere))} in {next(iter(elsewhere.values()))}",
            HeldOutWarning,
            stacklevel=3,
        )
    return set(held_out) - set(elsewhere)


def put_aside(journal: Path, output: Path) -> Path:
    """Moves a ``journal`` with damaged lines, which someone may want to mend, to where it stays."""
    folder = working_folder(output) / "damaged"
    folder.mkdir(exist_ok=True)
    paths = (folder / f"journal-{number}.jsonl" for number in itertools.count(1))
    return journal.replace(next(path for path in paths if not path.exists()))


@dataclass(frozen=True)
class _Spooled:
    """A journal as sorted runs on disk."""

    part: Part
    rejections: list[Rejection]
    held_out: set[str]
    """Ids of workloads of the zoo's held-out part: they must be in the test split."""


def _spool(
    journal: Journal, folder: Path, provenance: Provenance, there: Mapping[str, Workload]
) -> _Spooled:
    """The records of ``journal`` as runs in ``folder``; ``there`` are workloads of the dataset."""
    counts = ReadCounts()
    workloads: dict[str, Workload] = {}
    rejections: list[Rejection] = []
    held_out: set[str] = set()
    runs: list[Path] = []
    waiting: list[MeasureRecord] = []

    def flush() -> None:
        if waiting:
            runs.append(folder / f"live-{len(runs):06d}.run")
            table = to_table(waiting, str(journal.head.hardware), provenance)
            write_run(runs[-1], table, b"")
            waiting.clear()

    for entry in read_measured(journal.path, there):
        if isinstance(entry, Rejection):
            rejections.append(entry)
            continue
        workload, record = entry
        workloads[workload.id] = workload
        if record.source.removeprefix("live/") in HELD_OUT:
            held_out.add(workload.id)
        if record.failure is not None:
            counts.failures[str(record.failure)] += 1
        waiting.append(record)
        counts.lines += 1
        if len(waiting) >= _RUN_RECORDS:
            flush()
    flush()
    counts.failed, counts.rejected = counts.failures.total(), len(rejections)
    counts.measured = counts.lines - counts.failed
    counts.lines += counts.rejected
    part = Part(runs, workloads, counts, [orjson.dumps(item) for item in rejections])
    return _Spooled(part, rejections, held_out)
