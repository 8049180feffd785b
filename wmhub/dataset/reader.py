"""Reads a dataset folder, one workload at a time, in flat memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wmhub.dataset.manifest import Manifest, read_manifest
from wmhub.dataset.schema import (
    SCHEMA_VERSION,
    TRAJECTORIES,
    WORKLOADS,
    records_of,
    upgraded,
    workloads_of,
)
from wmhub.dataset.splits import SPLITS
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.names import HardwareKey
from wmhub.records import MeasureRecord, Workload

#: Rows that are decoded at once.
READ_ROWS = 1 << 13


@dataclass(frozen=True)
class WorkloadRecords:
    """Some columns of all records of one workload: N rows, ordered by candidate."""

    table: pa.Table
    """The columns that were asked for, named as in ``dataset/schema.py``."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> list[str]:
        """A column of text as a list."""
        values: list[str] = self.table[name].to_pylist()
        return values

    @property
    def traces(self) -> list[str]:
        """``MeasureRecord.trace`` of each row."""
        return self.column("trace")

    @property
    def latency_seconds(self) -> np.ndarray:
        """float64 [N]: median of the run times in seconds; ``inf`` for a candidate without any.

        Needs the columns ``run_seconds`` and ``failure``. Raises ``DatasetError`` where a time is
        missing amid others.
        """
        seconds = self.table["run_seconds"].combine_chunks()
        lengths = seconds.value_lengths().to_numpy(zero_copy_only=False)
        ran = self.table["failure"].is_null().to_numpy()
        if seconds.flatten().null_count:
            raise DatasetError("a run time is missing amid others; wmhub dataset verify says where")
        values = seconds.flatten().to_numpy()
        starts = np.cumsum(lengths) - lengths
        medians = np.full(len(lengths), np.inf)
        for length in np.unique(lengths[ran & (lengths > 0)]):
            rows = np.flatnonzero(ran & (lengths == length))
            medians[rows] = np.median(values[starts[rows, None] + np.arange(length)], axis=1)
        return medians

    def records(self) -> Iterator[MeasureRecord]:
        """The rows as records; needs all columns."""
        return iter(records_of(self.table))


class Dataset:
    """A dataset folder whose manifest has been read."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def hardware(self) -> HardwareKey:
        """What all records were measured on."""
        return self.manifest.hardware

    @cached_property
    def _workload_table(self) -> pa.Table:
        files = self.manifest.names("workloads-")
        if not files:
            raise DatasetError(f"{self.path}: its manifest names no file of workloads")
        return pa.concat_tables([_read_whole(self.path / name, WORKLOADS) for name in files])

    def workloads(self) -> dict[str, Workload]:
        """All workloads by id."""
        return workloads_of(self._workload_table)

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Ids of the workloads in each split, in the order of their records."""
        ids = self._workload_table["workload_id"].to_pylist()
        of = self._workload_table["split"].to_pylist()
        pairs = sorted(zip(ids, of, strict=True))
        return {split: [id_ for id_, name in pairs if name == split] for split in SPLITS}

    @cached_property
    def split_of(self) -> dict[str, str]:
        """The split of each workload id."""
        return {id_: name for name, ids in self.splits.items() for id_ in ids}

    def __contains__(self, workload: str) -> bool:
        """Whether the dataset has the workload id."""
        return workload in self.split_of

    def iter_tables(
        self, split: str | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """The rows of ``split``, or of all splits in turn, in pieces of bounded size."""
        if split is not None and split not in SPLITS:
            raise InvalidInputError(f"split {split!r} is none of {', '.join(SPLITS)}")
        wanted = list(columns) if columns is not None else TRAJECTORIES.names
        for one in SPLITS if split is None else (split,):
            for name in self.manifest.names(f"trajectories-{one}-"):
                yield from self._iter_file(self.path / name, wanted)

    def _iter_file(self, path: Path, columns: list[str]) -> Iterator[pa.Table]:
        present = self.manifest.schema_version == SCHEMA_VERSION
        with open_parquet(path) as file:
            read = columns if present else None
            for batch in file.iter_batches(batch_size=READ_ROWS, columns=read):
                table = upgraded(pa.Table.from_batches([batch]), self.manifest.schema_version)
                yield table.select(columns)

    def iter_workload_records(
        self, split: str | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[Workload, WorkloadRecords]]:
        """Each workload of ``split`` (or of all) with all its records, in the order of their ids.

        Memory is that of one workload's ``columns`` (all by default). Workloads without records
        are left out.
        """
        wanted = list(columns) if columns is not None else TRAJECTORIES.names
        workloads = self.workloads()
        current: str | None = None
        pieces: list[pa.Table] = []
        for table in self.iter_tables(split, list({"workload_id": 0} | dict.fromkeys(wanted))):
            for id_, rows in _runs(table):
                if id_ not in workloads:
                    raise DatasetError(
                        f"{self.path}: rows of workload {str(id_)[:60]!r}, which is not among its "
                        "workloads"
                    )
                if id_ != current and current is not None:
                    yield workloads[current], WorkloadRecords(pa.concat_tables(pieces))
                    pieces = []
                current = id_
                pieces.append(rows.select(wanted))
        if current is not None:
            yield workloads[current], WorkloadRecords(pa.concat_tables(pieces))

    def workload_records(
        self, workload: str, columns: Sequence[str] | None = None
    ) -> WorkloadRecords:
        """The records of one workload id, by the row groups that may hold it."""
        wanted = list(columns) if columns is not None else TRAJECTORIES.names
        split = self.split_of.get(workload)
        if split is None:
            raise InvalidInputError(f"{self.path}: no workload {workload[:60]!r} in this dataset")
        pieces = [TRAJECTORIES.empty_table().select(wanted)]
        for name in self.manifest.names(f"trajectories-{split}-"):
            with open_parquet(self.path / name) as file:
                for group in _groups_with(file, workload):
                    table = upgraded(file.read_row_group(group), self.manifest.schema_version)
                    pieces.append(table.filter(pc.field("workload_id") == workload).select(wanted))
        return WorkloadRecords(pa.concat_tables(pieces))


def open_dataset(path: str | Path) -> Dataset:
    """Opens the dataset in the folder ``path``.

    Raises ``MissingInputError``, ``DatasetError`` or ``SchemaVersionError``. Digests are checked by
    ``wmhub.dataset.verify``, not here.
    """
    folder = Path(path)
    return Dataset(folder, read_manifest(folder))


def _runs(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Consecutive rows of one workload."""
    ids = table["workload_id"].combine_chunks()
    if not len(ids):
        return
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    starts = [0, *(np.flatnonzero(changes.to_numpy(zero_copy_only=False)) + 1).tolist(), len(ids)]
    for start, end in itertools.pairwise(starts):
        yield ids[start].as_py(), table.slice(start, end - start)


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file of a dataset; raises ``DatasetError`` naming it, also for damage found while
    it is read."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise DatasetError(f"{path}: the manifest names this file, and it is missing") from None
    except UnicodeEncodeError:
        raise DatasetError(f"{str(path)!r}: the name is no UTF-8; rename the folder") from None
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DatasetError(f"{path}: no readable Parquet file: {error}") from None


def _groups_with(file: pq.ParquetFile, workload: str) -> Iterator[int]:
    """Row groups whose range of workload ids holds ``workload``."""
    column = file.schema_arrow.get_field_index("workload_id")
    for group in range(file.num_row_groups):
        range_ = file.metadata.row_group(group).column(column).statistics
        if range_ is None or not range_.has_min_max or range_.min <= workload <= range_.max:
            yield group


def _read_whole(path: Path, schema: pa.Schema) -> pa.Table:
    with open_parquet(path) as file:
        return file.read(columns=schema.names)
