"""External sort: records go to disk as sorted runs and come back in one order, in flat memory.

The order is that of ``key``: workload, candidate, measurement. It depends on the records alone, so
the same records make the same dataset however they were split, ordered or interrupted, and equal
rows meet as neighbours. A run file also holds what its chunk of log amounted to, so that an
interrupted collection takes it up instead of parsing the chunk again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from wmhub.dataset.schema import TRAJECTORIES, Provenance
from wmhub.records import MeasureRecord, candidate_ids

if TYPE_CHECKING:
    from wmhub.records import Row

#: Raised whenever runs of before cannot be taken up any more.
RUN_FORMAT = 5
#: Keys of a batch that are known without reading it.
_KEYS = 9
#: Rows and bytes of a batch within a run, at most; small, so that few rows outside a wanted range
#: are read.
_BATCH_ROWS, _BATCH_BYTES = 256, 64 << 10
#: The buffers of so small a batch are not worth a thread each.
_READ = pa.ipc.IpcReadOptions(use_threads=False)
#: Bytes of rows that are sorted at once.
RANGE_BYTES = 16 << 20

#: The candidate within a key, which has a workload before it and a measurement after it.
_CANDIDATE = slice(21, 42)

#: A row with its place in the order.
KEYED = TRAJECTORIES.insert(0, pa.field("key", pa.string(), nullable=False))


#: What distinguishes two measurements of one candidate.
MEASUREMENT = (
    "target",
    "run_seconds",
    "failure",
    "measure_seconds",
    "timestamp",
    "log_version",
    "context",
)
_FIELDS = [item.name for item in dataclasses.fields(MeasureRecord)]
# Where ``rows_to_table`` takes it from.
assert tuple(_FIELDS[3:10]) == MEASUREMENT


def measurement_digests(table: pa.Table) -> list[str]:
    """The digest of each row's measurement: the last part of its key. Needs ``MEASUREMENT``."""
    return list(map(_digest, zip(*(table[name].to_pylist() for name in MEASUREMENT), strict=True)))


def _digest(measurement: tuple[object, ...]) -> str:
    return hashlib.blake2b(orjson.dumps(measurement), digest_size=10).hexdigest()


def to_table(records: Sequence[MeasureRecord], hardware: str, provenance: Provenance) -> pa.Table:
    """The rows of ``records`` with their keys, sorted; exact repeats are left out."""
    return rows_to_table([record.row for record in records], hardware, provenance)


def rows_to_table(rows: Sequence[Row], hardware: str, provenance: Provenance) -> pa.Table:
    """``to_table`` of records that are rows already."""
    seen: dict[str, Row] = {}
    ids: dict[str, Callable[[str], str]] = {}
    for row in rows:
        workload, trace = row[0], row[2]
        candidate_id = ids.get(workload)
        if candidate_id is None:
            candidate_id = ids[workload] = candidate_ids(workload)
        key = workload + candidate_id(trace) + _digest(row[3:10])
        if key not in seen:
            seen[key] = row
    keys = sorted(seen)
    count = len(keys)
    by_field = list(zip(*map(seen.__getitem__, keys), strict=True)) or [()] * len(_FIELDS)
    workload_ids, schedulers, traces, targets, seconds, failures, *rest = by_field
    columns: list[Any] = [
        keys,
        workload_ids,
        [key[_CANDIDATE] for key in keys],
        pa.repeat(hardware, count),
        schedulers,
        traces,
        targets,
        seconds,
        failures,
        *rest,
        pa.repeat(provenance.contributor, count),
        pa.repeat(provenance.licence, count),
        pa.repeat(provenance.collector, count),
    ]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, KEYED, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=KEYED)


def write_run(path: Path, table: pa.Table, note: bytes) -> None:
    """Writes a sorted run with ``note``; it appears whole or not at all.

    Some keys and the length of each batch stand beside the note, so that merging runs begins
    without reading their rows.
    """
    # One file of a recipe may be listed twice, and parsed by two processes.
    partial = path.with_suffix(f".{os.getpid()}.partial")
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    fitting = _BATCH_BYTES * len(table) // max(table.nbytes, 1)
    rows = max(1, min(_BATCH_ROWS, fitting))
    pieces = (table.slice(at, rows) for at in range(0, len(table), rows))
    index = [(_some_keys(piece["key"]), piece.nbytes) for piece in pieces]
    schema = table.schema.with_metadata({"note": note, "index": orjson.dumps(index)})
    with (
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema, options=options) as run,
    ):
        run.write_table(table.combine_chunks().cast(schema), max_chunksize=rows)
    partial.replace(path)


def _some_keys(keys: pa.ChunkedArray) -> list[str]:
    """The first of sorted ``keys``, some between, and the last."""
    places = np.unique(np.linspace(0, len(keys) - 1, _KEYS).astype(np.int64))
    found: list[str] = keys.take(pa.array(places)).to_pylist()
    return found


def read_note(path: Path) -> bytes:
    """The note of a run."""
    return _metadata(path, b"note")


def _metadata(path: Path, name: bytes) -> bytes:
    with pa.OSFile(str(path)) as file:
        text: bytes = pa.ipc.open_file(file).schema.metadata[name]
        return text


@dataclass(frozen=True)
class _Batch:
    run: Path
    rank: int
    """Number of the part that it belongs to."""
    index: int
    keys: list[str]
    """The first, some between, and the last."""
    bytes: int

    @property
    def first(self) -> str:
        return self.keys[0]

    @property
    def last(self) -> str:
        return self.keys[-1]


def read_sorted(
    parts: Sequence[Sequence[Path]], range_bytes: int = RANGE_BYTES
) -> Iterator[pa.Table]:
    """All rows of the runs of all ``parts`` in the order of their keys, each key once.

    Rows with one key say the same but for their provenance: that of the first part stays, and
    within a part the first by source and line.
    """
    batches = [
        batch for rank, runs in enumerate(parts) for run in runs for batch in _index(run, rank)
    ]
    pivots = _pivots(batches, range_bytes)
    for low, high in zip(["", *pivots], [*pivots, None], strict=True):
        wanted = [
            batch for batch in batches if batch.last >= low and (high is None or batch.first < high)
        ]
        table = _read_range(wanted, low, high)
        if table is not None:
            yield _distinct(table)


def _index(run: Path, rank: int) -> Iterator[_Batch]:
    for number, (keys, length) in enumerate(orjson.loads(_metadata(run, b"index"))):
        yield _Batch(run, rank, number, keys, length)


def _pivots(batches: Sequence[_Batch], range_bytes: int) -> list[str]:
    """Keys that cut all rows into ranges of about ``range_bytes``."""
    pivots: list[str] = []
    held = 0.0
    # A batch of a small log is spread over all keys: its first alone would say nothing of the rest.
    for key, length in sorted(
        (key, batch.bytes / len(batch.keys)) for batch in batches for key in batch.keys
    ):
        if held >= range_bytes:
            if not pivots or pivots[-1] < key:
                pivots.append(key)
            held = 0.0
        held += length
    return pivots


def _read_range(batches: Sequence[_Batch], low: str, high: str | None) -> pa.Table | None:
    """The rows from the key ``low`` to before ``high``; ``None`` where there is none."""
    pieces, ranks = [], []
    by_run: dict[Path, list[_Batch]] = {}
    for batch in batches:
        by_run.setdefault(batch.run, []).append(batch)
    for run, wanted in by_run.items():
        with pa.OSFile(str(run)) as file:
            reader = pa.ipc.open_file(file, options=_READ)
            for batch in wanted:
                rows = reader.get_batch(batch.index)
                start = _rows_before(rows, low) if batch.first < low else 0
                stop = len(rows)
                if high is not None and batch.last >= high:
                    stop = _rows_before(rows, high)
                if start == stop:
                    continue
                # A slice would hold all of the batch as long as it lives.
                is_part = stop - start < len(rows)
                pieces.append(rows.take(pa.array(range(start, stop))) if is_part else rows)
                ranks.append(batch.rank)
    if not pieces:
        return None
    table = pa.Table.from_batches(pieces, pieces[0].schema).combine_chunks()
    # At the end: adding a column to each batch takes longer than reading it.
    return table.append_column("rank", pa.array(np.repeat(ranks, [len(p) for p in pieces])))


def _rows_before(rows: pa.RecordBatch, key: str) -> int:
    return int(pc.sum(pc.less(rows["key"], key)).as_py() or 0)


def _distinct(table: pa.Table) -> pa.Table:
    """The rows in the order of their keys, and of each key the first."""
    by = [(name, "ascending") for name in ("key", "rank", "source", "line")]
    order = pc.sort_indices(table, by)
    keys = table["key"].combine_chunks().take(order)
    fresh = pc.not_equal(keys.slice(1), keys.slice(0, max(0, len(keys) - 1)))
    if pc.any(pc.invert(fresh)).as_py():
        order = order.filter(pa.concat_arrays([pa.array([True]), fresh]))
    return table.drop_columns(["key", "rank"]).take(order).cast(TRAJECTORIES)
