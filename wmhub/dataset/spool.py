"""External sort: records go to disk as sorted runs and come back in one order, in flat memory.

The order is that of ``key``: workload, candidate, measurement. It depends on the records alone, so
the same records make the same dataset however they were split, ordered or interrupted, and equal
rows meet as neighbours. A run file also holds what its chunk of log amounted to, so that an
interrupted collection takes it up instead of parsing the chunk again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from wmhub.dataset.schema import TRAJECTORIES, Provenance
from wmhub.records import MeasureRecord, candidate_id

#: Rows of a batch within a run; small, so that few rows outside a wanted range are read.
_BATCH_ROWS = 256
#: Bytes of rows that are sorted at once.
RANGE_BYTES = 16 << 20

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
_measurement = attrgetter(*MEASUREMENT)


def measurement_digests(table: pa.Table) -> list[str]:
    """The digest of each row's measurement: the last part of its key. Needs ``MEASUREMENT``."""
    return list(map(_digest, zip(*(table[name].to_pylist() for name in MEASUREMENT), strict=True)))


def _digest(measurement: tuple[object, ...]) -> str:
    return hashlib.blake2b(orjson.dumps(measurement), digest_size=10).hexdigest()


def to_table(records: Sequence[MeasureRecord], hardware: str, provenance: Provenance) -> pa.Table:
    """The rows of ``records`` with their keys, sorted; exact repeats are left out."""
    seen: dict[str, tuple[str, MeasureRecord]] = {}
    for record in records:
        candidate = candidate_id(record.workload_id, record.trace)
        key = record.workload_id + candidate + _digest(_measurement(record))
        seen.setdefault(key, (candidate, record))
    keys = sorted(seen)
    rows = [seen[key] for key in keys]
    count = len(rows)
    columns: list[Any] = [
        keys,
        [record.workload_id for _, record in rows],
        [candidate for candidate, _ in rows],
        pa.repeat(hardware, count),
        [record.scheduler.value for _, record in rows],
        [record.trace for _, record in rows],
        [record.target for _, record in rows],
        [record.run_seconds for _, record in rows],
        [None if record.failure is None else record.failure.value for _, record in rows],
        [record.measure_seconds for _, record in rows],
        [record.timestamp for _, record in rows],
        [record.log_version for _, record in rows],
        [record.context for _, record in rows],
        [record.source for _, record in rows],
        [record.line for _, record in rows],
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
    """Writes a sorted run with ``note``; it appears whole or not at all."""
    partial = path.with_suffix(".partial")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    schema = table.schema.with_metadata({"note": note})
    with (
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema, options=options) as run,
    ):
        run.write_table(table.cast(schema), max_chunksize=_BATCH_ROWS)
    partial.replace(path)


def read_note(path: Path) -> bytes:
    """The note of a run."""
    with pa.OSFile(str(path)) as file:
        note: bytes = pa.ipc.open_file(file).schema.metadata[b"note"]
        return note


@dataclass(frozen=True)
class _Batch:
    run: Path
    rank: int
    """Number of the part that it belongs to."""
    index: int
    first: str
    last: str
    bytes: int


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
        if wanted:
            yield _distinct(_read_range(wanted, low, high))


def _index(run: Path, rank: int) -> Iterator[_Batch]:
    with pa.OSFile(str(run)) as file:
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            keys = batch["key"]
            yield _Batch(run, rank, index, keys[0].as_py(), keys[-1].as_py(), batch.nbytes)


def _pivots(batches: Sequence[_Batch], range_bytes: int) -> list[str]:
    """Keys that cut all rows into ranges of about ``range_bytes``."""
    pivots: list[str] = []
    held = 0
    for batch in sorted(batches, key=lambda batch: batch.first):
        if held >= range_bytes:
            if not pivots or pivots[-1] < batch.first:
                pivots.append(batch.first)
            held = 0
        held += batch.bytes
    return pivots


def _read_range(batches: Sequence[_Batch], low: str, high: str | None) -> pa.Table:
    pieces = []
    by_run: dict[Path, list[_Batch]] = {}
    for batch in batches:
        by_run.setdefault(batch.run, []).append(batch)
    for run, wanted in by_run.items():
        with pa.OSFile(str(run)) as file:
            reader = pa.ipc.open_file(file)
            for batch in wanted:
                rows = reader.get_batch(batch.index)
                if batch.first < low or (high is not None and batch.last >= high):
                    inside = pc.greater_equal(rows["key"], low)
                    if high is not None:
                        inside = pc.and_(inside, pc.less(rows["key"], high))
                    rows = rows.filter(inside)
                rank = pa.array([batch.rank] * len(rows), pa.int32())
                pieces.append(rows.append_column("rank", rank))
    return pa.Table.from_batches(pieces, pieces[0].schema)


def _distinct(table: pa.Table) -> pa.Table:
    order = [(name, "ascending") for name in ("key", "rank", "source", "line")]
    table = table.take(pc.sort_indices(table, order)).combine_chunks()
    keys = table["key"]
    if len(keys) > 1:
        fresh = pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1))
        mask = pa.chunked_array([pa.array([True]), *fresh.chunks])
        table = table.filter(mask)
    return table.drop_columns(["key", "rank"]).cast(TRAJECTORIES)
