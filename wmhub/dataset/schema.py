"""The columns of a dataset, and the integer version that they have.

The version is the schema's own, never the package's. A reader meets an older one with ``UPGRADES``,
one function a step, and refuses a newer one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from wmhub.errors import DatasetError, InvalidInputError, SchemaVersionError
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload

SCHEMA_VERSION = 1

#: ``UPGRADES[n]`` turns a table of trajectories of version n into one of version n + 1.
UPGRADES: dict[int, Callable[[pa.Table], pa.Table]] = {}

WORKLOADS = pa.schema(
    [
        pa.field("workload_id", pa.string(), nullable=False),
        pa.field("scheduler", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("program", pa.string()),
        pa.field("split", pa.string(), nullable=False),
    ]
)

TRAJECTORIES = pa.schema(
    [
        pa.field("workload_id", pa.string(), nullable=False),
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("hardware", pa.string(), nullable=False),
        pa.field("scheduler", pa.string(), nullable=False),
        pa.field("trace", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        # The child is named as Parquet names it, so that rows come back with this very schema.
        pa.field("run_seconds", pa.list_(pa.field("element", pa.float64())), nullable=False),
        pa.field("failure", pa.string()),
        pa.field("measure_seconds", pa.float64()),
        pa.field("timestamp", pa.float64()),
        pa.field("log_version", pa.string(), nullable=False),
        pa.field("context", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("contributor", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("collector", pa.string(), nullable=False),
    ]
)

#: Few distinct values each: stored once per row group.
DICTIONARY_COLUMNS = [
    "workload_id",
    "hardware",
    "scheduler",
    "target",
    "failure",
    "log_version",
    "context",
    "source",
    "contributor",
    "licence",
    "collector",
]


#: Columns of a record, in the order of ``MeasureRecord``'s fields.
_RECORD_COLUMNS = [field.name for field in dataclasses.fields(MeasureRecord)]


@dataclass(frozen=True)
class Provenance:
    """Who vouches for records; stored with each. Raises ``InvalidInputError``."""

    contributor: str = ""
    """Person or project that measured, free text."""
    licence: str = ""
    """SPDX identifier of the licence that the records are under, or empty where it is unknown."""
    collector: str = ""
    """Program and version that made the rows, such as ``wmhub 0.1.0``."""

    def __post_init__(self) -> None:
        for name in ("contributor", "licence"):
            # What the system gives for an argument that is no UTF-8, no column can hold.
            if not is_utf8(value := getattr(self, name)):
                raise InvalidInputError(f"{name} {value!r} is no UTF-8; write it in UTF-8")


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold ``text``, which names and arguments of the system need not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def upgraded(table: pa.Table, version: int) -> pa.Table:
    """``table``, of schema ``version``, as the present schema has it."""
    check_version(version)
    for step in range(version, SCHEMA_VERSION):
        table = UPGRADES[step](table)
    return table


def check_version(version: int) -> None:
    """Raises ``SchemaVersionError`` unless this wmhub reads schema ``version``."""
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the dataset has schema version {version}, and this wmhub reads up to "
            f"{SCHEMA_VERSION}: pip install --upgrade wmhub"
        )
    if any(step not in UPGRADES for step in range(version, SCHEMA_VERSION)):
        raise SchemaVersionError(f"no upgrade leads from schema version {version}")


def records_of(table: pa.Table) -> Iterable[MeasureRecord]:
    """The rows of a table of trajectories as records; raises ``DatasetError``."""
    for batch in table.select(_RECORD_COLUMNS).to_batches(max_chunksize=4096):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            workload, scheduler, trace, target, seconds, failure, *rest = row
            try:
                known = Scheduler(scheduler), None if failure is None else FailureKind(failure)
            except ValueError as error:
                raise DatasetError(
                    f"a record of no scheduler or failure that is known: {error}"
                ) from error
            yield MeasureRecord(workload, known[0], trace, target, tuple(seconds), known[1], *rest)


def workloads_of(table: pa.Table) -> dict[str, Workload]:
    """The rows of a table of workloads, by id."""
    columns = (table[name].to_pylist() for name in ("workload_id", "scheduler", "key", "program"))
    try:
        return {
            id_: Workload(id_, Scheduler(scheduler), key, program)
            for id_, scheduler, key, program in zip(*columns, strict=True)
        }
    except ValueError as error:
        raise DatasetError(f"a workload of no scheduler that is known: {error}") from error
