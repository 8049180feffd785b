"""Writes a dataset folder from sorted runs; the manifest comes last."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wmhub.dataset.card import CARD, PICTURE, draw_picture, render_card
from wmhub.dataset.manifest import (
    Counts,
    FileEntry,
    Manifest,
    Repeatability,
    SplitCounts,
    file_entry,
    licence_of,
    write_manifest,
)
from wmhub.dataset.placing import put
from wmhub.dataset.reader import Dataset
from wmhub.dataset.replacing import WRITING
from wmhub.dataset.schema import DICTIONARY_COLUMNS, TRAJECTORIES, WORKLOADS
from wmhub.dataset.splits import SPLITS
from wmhub.dataset.statistics import statistics
from wmhub.dataset.version import FIRST_VERSION, Change, Version
from wmhub.dataset.working import begin_anew
from wmhub.errors import DatasetError
from wmhub.hardware.profile import HardwareProfile
from wmhub.logs.chunks import ReadCounts
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload

#: Lines that hold no record: source, line and reason, as JSON lines.
REJECTED = "rejected.jsonl"

#: Rows of a Parquet file, and of a row group: what a reader decodes at once.
_FILE_ROWS = 1 << 20
_GROUP_ROWS = 1 << 14


@dataclass(frozen=True)
class Description:
    """What the writer is told about a dataset, and cannot see in its rows."""

    hardware: HardwareKey
    profile: HardwareProfile | None
    collector: str
    """Program and version that writes."""
    version: Version | None = None
    """Content version; ``None`` lets ``older`` decide."""
    older: Manifest | None = None
    """The dataset that this one adds rows to, if any."""
    test_workloads: tuple[str, ...] = ()
    """Ids, where they were chosen by hand."""
    counts: ReadCounts = field(default_factory=ReadCounts)
    """What was read to make it."""
    repeatability: Repeatability | None = None
    """Of the very same rows, where it was measured."""
    limits: tuple[str, ...] = ()
    """What is known to be wrong with rows, beside what ``older`` says of its own."""

    @property
    def all_limits(self) -> tuple[str, ...]:
        """Each once, those of ``older`` first."""
        before = self.older.limits if self.older is not None else ()
        return tuple(dict.fromkeys([*before, *self.limits]))

    def version_with(self, records: int) -> Version:
        """The content version of a dataset of ``records`` rows.

        Raises ``InvalidInputError`` for a ``version`` that may not follow that of ``older``.
        """
        if self.older is None:
            return self.version or FIRST_VERSION
        # Of the same rows only the card, with what was read to make it, is another one.
        change = Change.MINOR if records > self.older.counts.records else Change.PATCH
        if self.version is not None:
            self.version.require_after(change, self.older.version)
        return self.version or self.older.version.after(change)

    def is_unchanged_by(self, records: int) -> bool:
        """Whether ``records`` rows are those of ``older``, which lacks no profile that is here, and
        no other version was asked for."""
        if self.older is None or records != self.older.counts.records:
            return False
        return self.version is None and (self.profile is None or self.older.profile is not None)


class _SplitWriter:
    """The Parquet files of one split."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._pending: list[pa.Table] = []
        #: Name and rows of each file.
        self.files: list[tuple[str, int]] = []
        self.measured = 0

    @property
    def records(self) -> int:
        return sum(rows for _, rows in self.files)

    def write(self, table: pa.Table) -> None:
        if not len(table):
            return
        self.measured += table["failure"].null_count
        self._pending.append(table)
        if sum(map(len, self._pending)) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending = []
        if self._writer is None:
            name = f"trajectories-{self._split}-{len(self.files):05d}.parquet"
            self.files.append((name, 0))
            self._writer = parquet_writer(self._folder / name, TRAJECTORIES)
        self._writer.write_table(table, row_group_size=_GROUP_ROWS)
        name, rows = self.files[-1]
        self.files[-1] = (name, rows + len(table))
        if rows + len(table) >= _FILE_ROWS:
            self.close()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer with the settings of every dataset."""
    columns = [name for name in DICTIONARY_COLUMNS if name in schema.names]
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=3, use_dictionary=columns
    )


def write_dataset(
    output: Path,
    tables: Iterable[pa.Table],
    workloads: Mapping[str, Workload],
    splits: Mapping[str, str],
    description: Description,
    rejections: Iterable[bytes] = (),
    *,
    replace: bool = False,
) -> Manifest:
    """Writes the rows of ``tables``, which come in their order, as a dataset folder.

    ``workloads`` and ``splits`` have each workload that occurs in the rows; ``rejections`` are the
    lines of ``rejected.jsonl``. All is written beside ``output`` and moved there at the end, so
    that ``output`` is never half a dataset; with ``replace`` it takes the place of an older one,
    unless it has nothing that the older one lacks: that stays as it is, and its manifest is
    returned.
    """
    staging = begin_anew(output, WRITING)
    workloads_of = Counter(splits.values())
    # Its import takes as long as writing many rows, and can run beside that.
    threading.Thread(target=import_module, args=("matplotlib.figure",)).start()
    writers = {split: _SplitWriter(staging, split) for split in SPLITS}
    licences: Counter[str] = Counter()
    contributors: Counter[str] = Counter()
    ids, of = pa.array(splits.keys(), pa.string()), pa.array(splits.values(), pa.string())
    for table in _ahead(tables):
        rows = pc.index_in(table["workload_id"], ids)
        if rows.null_count:
            raise DatasetError(f"{output}: a row names a workload that is not in the dataset")
        split_of_row = of.take(rows.combine_chunks())
        for split, writer in writers.items():
            writer.write(table.filter(pc.equal(split_of_row, split)))
        _count(licences, table["licence"])
        _count(contributors, table["contributor"])
    files = [_write_workloads(staging, workloads, splits)]
    for writer in writers.values():
        writer.close()
        files += [file_entry(staging, name, rows) for name, rows in writer.files]
    files += _write_rejections(staging, rejections)
    records = sum(writer.records for writer in writers.values())
    if replace and description.older is not None and description.is_unchanged_by(records):
        shutil.rmtree(staging)
        return description.older
    manifest = Manifest(
        name=str(description.hardware),
        hardware=description.hardware,
        profile=description.profile,
        version=description.version_with(records),
        counts=_counts(description.counts, workloads, records),
        splits={
            split: SplitCounts(workloads_of[split], writer.records, writer.measured)
            for split, writer in writers.items()
        },
        files=tuple(files),
        licence=licence_of(licences),
        licences=dict(sorted(licences.items())),
        contributors=dict(sorted(contributors.items())),
        collector=description.collector,
        test_workloads=tuple(
            sorted(id_ for id_ in description.test_workloads if splits.get(id_) == "test")
        ),
        repeatability=description.repeatability,
        limits=description.all_limits,
    )
    manifest = add_card(Dataset(staging, manifest), staging)
    write_manifest(staging, manifest)
    put(output, in_place=replace)
    return manifest


def add_card(dataset: Dataset, folder: Path) -> Manifest:
    """Renders the card of ``dataset`` into ``folder``; the manifest that names its picture."""
    manifest = dataset.manifest
    numbers = statistics(dataset)
    schedulers = Counter(workload.scheduler for workload in dataset.workloads().values())
    card = render_card(manifest, numbers, schedulers.most_common(1)[0][0])
    (folder / CARD).write_text(card, encoding="utf-8")
    draw_picture(folder / PICTURE, numbers)
    rest = [entry for entry in manifest.files if entry.name != PICTURE]
    return replaced(manifest, files=(*rest, file_entry(folder, PICTURE, 0)))


def _ahead(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """``tables``, each read and sorted by another thread while the one before is written."""
    iterator = iter(tables)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, iterator, None)
        while (table := coming.result()) is not None:
            coming = reader.submit(next, iterator, None)
            yield table


def _counts(read: ReadCounts, workloads: Mapping[str, Workload], records: int) -> Counts:
    return Counts(
        lines=read.lines,
        measured=read.measured,
        failed=read.failed,
        rejected=read.rejected,
        duplicates=read.measured + read.failed - records,
        records=records,
        workloads=len(workloads),
        unresolved_workloads=sum(map(is_unresolved, workloads.values())),
        failures=dict(sorted(read.failures.items())),
        unknown_actions=dict(sorted(read.unknown_actions.items())),
    )


def is_unresolved(workload: Workload) -> bool:
    """Whether the program of a MetaSchedule workload is missing."""
    return workload.scheduler is Scheduler.META_SCHEDULE and workload.program is None


def _write_workloads(
    folder: Path, workloads: Mapping[str, Workload], splits: Mapping[str, str]
) -> FileEntry:
    rows = [workloads[id_] for id_ in sorted(workloads)]
    columns = [
        [row.id for row in rows],
        [row.scheduler.value for row in rows],
        [row.key for row in rows],
        [row.program for row in rows],
        [splits[row.id] for row in rows],
    ]
    name = "workloads-00000.parquet"
    with parquet_writer(folder / name, WORKLOADS) as writer:
        writer.write_table(pa.table(columns, schema=WORKLOADS))
    return file_entry(folder, name, len(rows))


def _write_rejections(folder: Path, rejections: Iterable[bytes]) -> list[FileEntry]:
    count = 0
    path = folder / REJECTED
    with path.open("wb") as file:
        for line in rejections:
            file.write(line + b"\n")
            count += 1
    if not count:
        path.unlink()
        return []
    return [file_entry(folder, REJECTED, count)]


def _count(counter: Counter[str], column: pa.ChunkedArray) -> None:
    for item in column.value_counts().to_pylist():
        counter[item["values"]] += item["counts"]
