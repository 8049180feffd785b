"""Writes a dataset folder from sorted runs; the manifest comes last."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wmhub.dataset.manifest import (
    MANIFEST,
    Counts,
    FileEntry,
    Manifest,
    SplitCounts,
    file_entry,
    write_manifest,
)
from wmhub.dataset.schema import DICTIONARY_COLUMNS, TRAJECTORIES, WORKLOADS
from wmhub.dataset.splits import SPLITS, assign_splits
from wmhub.dataset.version import Version
from wmhub.errors import DatasetError, OutputExistsError
from wmhub.hardware.profile import HardwareProfile
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload

#: Rows of a Parquet file, and of a row group: what a reader decodes at once.
_FILE_ROWS = 1 << 20
_GROUP_ROWS = 1 << 14


@dataclass(frozen=True)
class ReadTotals:
    """What a collection read, for the manifest."""

    lines: int
    measured: int
    failed: int
    rejected: int
    failures: Mapping[str, int]
    unknown_actions: Mapping[str, int]


class _SplitWriter:
    """The Parquet files of one split."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._pending: list[pa.Table] = []
        self.names: list[tuple[str, int]] = []
        self.measured = 0

    @property
    def records(self) -> int:
        return sum(rows for _, rows in self.names)

    def write(self, table: pa.Table) -> None:
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
            name = f"trajectories-{self._split}-{len(self.names):05d}.parquet"
            self.names.append((name, 0))
            self._writer = parquet_writer(self._folder / name, TRAJECTORIES)
        self._writer.write_table(table, row_group_size=_GROUP_ROWS)
        name, rows = self.names[-1]
        self.names[-1] = (name, rows + len(table))
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
    hardware: HardwareKey,
    *,
    profile: HardwareProfile | None,
    totals: ReadTotals,
    collector: str,
    version: Version,
    test_workloads: Collection[str] = (),
    extra_files: Collection[tuple[Path, int]] = (),
) -> Manifest:
    """Writes the rows of ``tables``, which come in their order, into the folder ``output``.

    Only workloads that occur in ``workloads`` may occur in the rows. ``extra_files`` are copied
    in (path, lines). Everything is written beside ``output`` and moved there at the end.
    """
    refuse_existing(output)
    staging = output.with_name(output.name + ".writing")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    splits = assign_splits(workloads, test_workloads)
    writers = {split: _SplitWriter(staging, split) for split in SPLITS}
    licences: Counter[str] = Counter()
    contributors: Counter[str] = Counter()
    of_row = pa.array(splits.keys(), pa.string()), pa.array(splits.values(), pa.string())
    for table in tables:
        rows = pc.index_in(table["workload_id"], of_row[0])
        if rows.null_count:
            raise DatasetError(f"{output}: a row names a workload that is not in the dataset")
        split_of_row = of_row[1].take(rows.combine_chunks())
        for split, writer in writers.items():
            writer.write(table.filter(pc.equal(split_of_row, split)))
        _count(licences, table["licence"])
        _count(contributors, table["contributor"])
    files = _workload_files(staging, workloads, splits)
    for path, lines in extra_files:
        shutil.copyfile(path, staging / path.name)
        files.append(file_entry(staging, path.name, lines))
    for writer in writers.values():
        writer.close()
        files += [file_entry(staging, name, rows) for name, rows in writer.names]
    records = sum(writer.records for writer in writers.values())
    manifest = Manifest(
        hardware=hardware,
        profile=profile,
        version=version,
        counts=Counts(
            lines=totals.lines,
            measured=totals.measured,
            failed=totals.failed,
            rejected=totals.rejected,
            duplicates=totals.measured + totals.failed - records,
            records=records,
            workloads=len(workloads),
            unresolved_workloads=sum(map(is_unresolved, workloads.values())),
            failures=dict(sorted(totals.failures.items())),
            unknown_actions=dict(sorted(totals.unknown_actions.items())),
        ),
        splits={
            split: SplitCounts(
                sum(1 for of in splits.values() if of == split), writer.records, writer.measured
            )
            for split, writer in writers.items()
        },
        files=tuple(files),
        licences=dict(sorted(licences.items())),
        contributors=dict(sorted(contributors.items())),
        collector=collector,
        test_workloads=tuple(sorted(test_workloads)),
    )
    write_manifest(staging, manifest)
    staging.replace(output)
    return manifest


def refuse_existing(output: Path) -> None:
    """Raises ``OutputExistsError`` where ``output`` holds anything already."""
    if (output / MANIFEST).exists():
        raise OutputExistsError(
            f"{output}: a dataset is here already; choose another folder, or write the new one "
            "elsewhere and join them with wmhub dataset merge"
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputExistsError(f"{output}: exists and is no dataset; choose another folder")


def is_unresolved(workload: Workload) -> bool:
    """Whether the program of a MetaSchedule workload is missing."""
    return workload.scheduler is Scheduler.META_SCHEDULE and workload.program is None


def _workload_files(
    folder: Path, workloads: Mapping[str, Workload], splits: Mapping[str, str]
) -> list[FileEntry]:
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
    return [file_entry(folder, name, len(rows))]


def _count(counter: Counter[str], column: pa.ChunkedArray) -> None:
    for item in column.value_counts().to_pylist():
        counter[item["values"]] += item["counts"]
