"""``Journal``: what a collection has measured so far, on disk before the next batch begins.

JSON lines: a head that says what is measured, then workloads and records as they come. A process
that dies amid a line leaves half of it, which the next one cuts off. A line that is damaged later
costs nothing but itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from typing_extensions import Self

from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    LogFormatError,
    MeasureError,
)
from wmhub.flushing import flush
from wmhub.hardware.profile import HardwareProfile
from wmhub.holding import take
from wmhub.logs.chunks import Rejection
from wmhub.names import HardwareKey
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload

_VERSION = 2
#: The fields of a record that are text.
_TEXTS = ("workload_id", "trace", "target", "log_version", "context", "source")


@dataclass(frozen=True)
class JournalHead:
    """What a journal's records were measured on and with."""

    hardware: HardwareKey
    target: str
    """Compact JSON text of the target."""
    profile: HardwareProfile | None
    """Numbers of the hardware, where they are known."""
    limits: tuple[str, ...] = ()
    """Sentences that the dataset will say of the records."""

    def to_json(self) -> bytes:
        """The first line of the journal."""
        return orjson.dumps(
            {
                "wmhub_journal": _VERSION,
                "hardware": str(self.hardware),
                "target": self.target,
                "profile": None if self.profile is None else self.profile.to_json(),
                "limits": self.limits,
            }
        )

    @classmethod
    def from_json(cls, value: Any) -> JournalHead:
        """Inverse of ``to_json``, after parsing; raises ``ValueError`` or ``KeyError``."""
        if not isinstance(value, dict) or value.get("wmhub_journal") != _VERSION:
            raise ValueError("it is no journal of this version of wmhub")
        profile = value["profile"]
        return cls(
            HardwareKey.parse(value["hardware"]),
            value["target"],
            None if profile is None else HardwareProfile.from_json(profile),
            tuple(map(str, value["limits"])),
        )


class Journal:
    """An append-only journal; a context manager that holds it against a second writer."""

    def __init__(self, path: Path, head: JournalHead) -> None:
        """Opens ``path``, or begins it. Raises ``HardwareMismatchError`` for another's journal."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab")
        if not take(self._file):
            self._file.close()
            raise MeasureError(f"{path}: another process is collecting into it")
        try:
            self.head = self._begin(head)
        except BaseException:
            self._file.close()
            raise
        #: Workloads that the journal has, by id.
        self.workloads: dict[str, Workload] = {}
        for entry in read_journal(path):
            if isinstance(entry, Workload):
                self.workloads[entry.id] = entry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def records(self) -> Iterator[MeasureRecord]:
        """All records so far."""
        return (entry for entry in read_journal(self.path) if isinstance(entry, MeasureRecord))

    def append(self, workload: Workload, records: Iterable[MeasureRecord]) -> None:
        """Adds ``records`` of ``workload``; they are on the disk when this returns."""
        lines = []
        if workload.id not in self.workloads:
            lines.append(orjson.dumps({"workload": workload}))
        lines += [orjson.dumps({"record": record}) for record in records]
        self._write(lines)
        self.workloads[workload.id] = workload

    def _begin(self, head: JournalHead) -> JournalHead:
        whole = _whole_lines(self.path)
        if whole == 0:
            self._file.truncate(0)
            self._write([head.to_json()])
            flush(self.path.parent)
            return head
        there = read_head(self.path)
        self._end_line(whole)
        if there != head and next(read_journal(self.path), None) is None:
            # Nothing was measured for what it was begun for.
            self._file.truncate(0)
            self._write([head.to_json()])
            return head
        if (there.hardware, there.target) != (head.hardware, head.target):
            raise HardwareMismatchError(
                f"{self.path}: begun on {there.hardware} for {there.target}, so records of "
                f"{head.hardware} for {head.target} cannot follow; collect into another folder"
            )
        if there.limits != head.limits:
            raise InvalidInputError(
                f"{self.path}: begun {'without' if head.limits else 'with'} emptied caches; go on "
                "as it was begun, or collect into another folder"
            )
        return there

    def _end_line(self, whole: int) -> None:
        """Has the next line begin as one, after ``whole`` bytes of whole lines."""
        with self.path.open("rb") as file:
            file.seek(whole)
            rest = file.read()
        if rest and not isinstance(_entry(rest, self.path.name, 0), Rejection):
            self._write([b""])
        else:
            # Half a line is what a killed writer left.
            self._file.truncate(whole)

    def _write(self, lines: Iterable[bytes]) -> None:
        self._file.write(b"".join(line + b"\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())


def read_head(path: Path) -> JournalHead:
    """The head of the journal at ``path``; raises ``LogFormatError``."""
    with path.open("rb") as file:
        line = file.readline()
    try:
        return JournalHead.from_json(orjson.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        reason = f"no head of a journal: {error}; mend it, or move the file away to begin anew"
        raise LogFormatError.at(path, reason, 1) from None


def read_journal(path: Path) -> Iterator[Workload | MeasureRecord | Rejection]:
    """Workloads, records and damaged lines in their order; raises ``LogFormatError`` for a damaged
    head."""
    return (entry for _, entry in _numbered(path))


def read_measured(
    path: Path, known: Mapping[str, Workload]
) -> Iterator[tuple[Workload, MeasureRecord] | Rejection]:
    """Each record with its workload, and each line that gives none.

    A workload may come after its records, or be among those ``known`` from elsewhere, by id: its
    line may have been damaged once and written again. Raises as ``read_journal``.
    """
    there = {entry.id: entry for entry in read_journal(path) if isinstance(entry, Workload)}
    for number, entry in _numbered(path):
        if isinstance(entry, Rejection):
            yield entry
        elif isinstance(entry, MeasureRecord):
            workload = there.get(entry.workload_id) or known.get(entry.workload_id)
            if workload is None:
                lack = f"the line of its workload, {entry.workload_id[:60]}, is damaged"
                yield Rejection(path.name, number, lack)
            else:
                yield workload, entry


def _numbered(path: Path) -> Iterator[tuple[int, Workload | MeasureRecord | Rejection]]:
    if not _whole_lines(path):
        return  # A kill or a full disk left no more than a part of its head.
    read_head(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number > 1 and line.endswith(b"\n"):
                yield number, _entry(line, path.name, number)


def _entry(line: bytes, source: str, number: int) -> Workload | MeasureRecord | Rejection:
    try:
        value = orjson.loads(line)
        if "workload" in value:
            return _workload(value["workload"])
        return _record(value["record"])
    except KeyError as error:
        return Rejection(source, number, f"damaged: {error} is missing")
    except (ValueError, TypeError) as error:
        return Rejection(source, number, f"damaged: {str(error).partition(': line 1')[0]}")


def _workload(fields: dict[str, Any]) -> Workload:
    program = fields["program"]
    _require_text(fields["id"], fields["key"], "" if program is None else program)
    return Workload(**{**fields, "scheduler": Scheduler(fields["scheduler"])})


def _record(fields: dict[str, Any]) -> MeasureRecord:
    _require_text(*(fields[name] for name in _TEXTS))
    failure = None if fields["failure"] is None else FailureKind(fields["failure"])
    seconds = tuple(map(float, fields["run_seconds"]))
    if failure is None and not (seconds and all(0 < s < math.inf for s in seconds)):
        raise ValueError(f"run times of {list(seconds)} seconds are not positive and finite")
    numbers = {name: fields[name] for name in ("measure_seconds", "timestamp")}
    typed = {
        "scheduler": Scheduler(fields["scheduler"]),
        "run_seconds": seconds,
        "failure": failure,
        "line": int(fields["line"]),
        **{name: None if value is None else float(value) for name, value in numbers.items()},
    }
    return MeasureRecord(**{**fields, **typed})


def _require_text(*values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{value!r:.60} is no text")


def _whole_lines(path: Path) -> int:
    """Bytes of ``path`` up to its last line feed."""
    size = path.stat().st_size
    with path.open("rb") as file:
        step = 1 << 20
        for start in range(max(0, size - step), -step, -step):
            file.seek(max(0, start))
            end = file.read(min(step, size)).rfind(b"\n")
            if end >= 0:
                return max(0, start) + end + 1
            if start <= 0:
                return 0
    return 0
