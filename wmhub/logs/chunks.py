"""One chunk of a log to records, with every line accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from wmhub.logs.ansor import AnsorReader
from wmhub.logs.lines import MOST_LINE_BYTES, Chunk
from wmhub.logs.meta_schedule import MetaScheduleReader
from wmhub.logs.text import RejectedLineError, has_long_number
from wmhub.records import MeasureRecord, Workload

if TYPE_CHECKING:
    from wmhub.records import Row

_FAILURE: Final = 5
assert fields(MeasureRecord)[_FAILURE].name == "failure"

#: Rejections that keep their line and reason, per chunk; the rest are only counted.
MOST_REJECTIONS_KEPT = 1000

#: Unknown actions that are counted each by its name, of which so many characters are kept.
_MOST_ACTIONS = 100
_MOST_NAME_CHARACTERS = 60
#: What all others are counted as.
OTHER_ACTIONS = "(any other)"


@dataclass(frozen=True)
class Rejection:
    """A line that holds no record."""

    source: str
    """The file, as the dataset names it."""
    line: int
    """1-based line in it."""
    reason: str


@dataclass
class ReadCounts:
    """What became of the lines: ``lines == measured + failed + rejected``."""

    lines: int = 0
    """Lines that are neither blank nor a comment."""
    measured: int = 0
    """Candidates that ran."""
    failed: int = 0
    """Candidates that the log calls failed."""
    rejected: int = 0
    """Lines that hold no record."""
    skipped: int = 0
    """Blank lines and comments; not among ``lines``."""
    failures: Counter[str] = field(default_factory=Counter)
    """Failed candidates by ``FailureKind``."""
    unknown_actions: Counter[str] = field(default_factory=Counter)
    """Records by the name of an action in them that the vocabulary does not know: the most
    frequent names, as damage can make up any number, and ``OTHER_ACTIONS``."""

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ReadCounts:
        """Counts from the fields that JSON gave back."""
        named = {name: Counter(value[name]) for name in ("failures", "unknown_actions")}
        return cls(**{**value, **named})

    def add(self, other: ReadCounts) -> None:
        """Adds ``other`` to these counts."""
        self.lines += other.lines
        self.measured += other.measured
        self.failed += other.failed
        self.rejected += other.rejected
        self.skipped += other.skipped
        self.failures += other.failures
        self.unknown_actions = _most_frequent(self.unknown_actions + other.unknown_actions)


def _most_frequent(actions: Counter[str]) -> Counter[str]:
    """``actions`` with those beyond ``_MOST_ACTIONS`` counted together."""
    named = sorted(actions.items(), key=lambda item: (item[0] == OTHER_ACTIONS, -item[1], item[0]))
    others = sum(count for _, count in named[_MOST_ACTIONS:])
    return Counter(dict(named[:_MOST_ACTIONS])) + Counter({OTHER_ACTIONS: others})


@dataclass
class ChunkRecords:
    """What one chunk held."""

    rows: list[Row]
    """The records, as ``MeasureRecord.row``."""
    workloads: list[Workload]
    """Workloads that only the lines themselves name."""
    counts: ReadCounts
    rejections: list[Rejection]
    """The first ``MOST_REJECTIONS_KEPT``."""

    @property
    def records(self) -> list[MeasureRecord]:
        """The rows as records."""
        return [MeasureRecord(*row) for row in self.rows]


def require_short(line: bytes) -> None:
    """Raises ``RejectedLineError`` for a line that is longer than any record."""
    if len(line) > MOST_LINE_BYTES:
        raise RejectedLineError(f"the line is longer than {MOST_LINE_BYTES >> 20} MiB")


def parse_chunk(
    chunk: Chunk,
    source: str,
    reader: AnsorReader | MetaScheduleReader,
    known_actions: Set[str],
) -> ChunkRecords:
    """Parses every line of ``chunk``; no line's damage touches another.

    Actions that are not among ``known_actions`` are kept and counted.
    """
    counts = ReadCounts()
    rejections: list[Rejection] = []
    rows: list[Row] = []
    read = reader.read_row
    exact = has_long_number(chunk.data)
    for number, line in chunk.lines():
        body = line.strip()
        if not body or body.startswith(b"#"):
            counts.skipped += 1
            continue
        try:
            require_short(body)
            row, actions = read(body, number, exact and has_long_number(body))
        except RejectedLineError as error:
            counts.rejected += 1
            if len(rejections) < MOST_REJECTIONS_KEPT:
                rejections.append(Rejection(source, number, str(error)))
            continue
        rows.append(row)
        if not known_actions >= actions:
            unknown = actions - known_actions
            counts.unknown_actions.update({name[:_MOST_NAME_CHARACTERS] for name in unknown})
    if chunk.fault is not None:
        counts.rejected += 1
        rejections.append(Rejection(source, chunk.first_line, chunk.fault))
    counts.unknown_actions = _most_frequent(counts.unknown_actions)
    failures = (row[_FAILURE] for row in rows)
    counts.failures.update(failure.value for failure in failures if failure is not None)
    counts.failed = counts.failures.total()
    counts.measured = len(rows) - counts.failed
    counts.lines = counts.measured + counts.failed + counts.rejected
    return ChunkRecords(rows, list(reader.workloads.values()), counts, rejections)
