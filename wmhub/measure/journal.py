"""``Journal``: what a collection has measured so far, on disk before the next batch begins.

JSON lines: a head that says what is measured, then workloads and records as they come. A process
that dies amid a line leaves half of it, which the next one cuts off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from typing_extensions import Self

from wmhub.errors import HardwareMismatchError, LogFormatError, MeasureError
from wmhub.hardware.profile import HardwareProfile
from wmhub.names import HardwareKey
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload

_VERSION = 1


@dataclass(frozen=True)
class JournalHead:
    """What a journal's records were measured on and with."""

    hardware: HardwareKey
    target: str
    """Compact JSON text of the target."""
    profile: HardwareProfile | None
    """Numbers of the hardware, where they are known."""

    def to_json(self) -> bytes:
        """The first line of the journal."""
        return orjson.dumps(
            {
                "wmhub_journal": _VERSION,
                "hardware": str(self.hardware),
                "target": self.target,
                "profile": None if self.profile is None else self.profile.to_json(),
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
        )


class Journal:
    """An append-only journal; a context manager that holds it against a second writer."""

    def __init__(self, path: Path, head: JournalHead) -> None:
        """Opens ``path``, or begins it. Raises ``HardwareMismatchError`` for another's journal."""
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise MeasureError(f"{path}: another process is collecting into it") from None
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
            self.workloads[workload.id] = workload
            lines.append(orjson.dumps({"workload": workload}))
        lines += [orjson.dumps({"record": record}) for record in records]
        self._write(lines)

    def _begin(self, head: JournalHead) -> JournalHead:
        whole = _whole_lines(self.path)
        # Half a line at the end is what a killed writer left.
        self._file.truncate(whole)
        if whole == 0:
            self._write([head.to_json()])
            return head
        there = read_head(self.path)
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
        return there

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
        raise LogFormatError.at(path, f"no head of a journal: {error}", 1) from None


def read_journal(path: Path) -> Iterator[Workload | MeasureRecord]:
    """Workloads and records in their order; raises ``LogFormatError`` for a damaged line."""
    read_head(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 or not line.endswith(b"\n"):
                continue
            try:
                yield _entry(orjson.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise LogFormatError.at(path, f"damaged: {error}", number) from None


def _entry(value: Any) -> Workload | MeasureRecord:
    if "workload" in value:
        fields = value["workload"]
        return Workload(**{**fields, "scheduler": Scheduler(fields["scheduler"])})
    fields = value["record"]
    failure = fields["failure"]
    typed = {
        "scheduler": Scheduler(fields["scheduler"]),
        "run_seconds": tuple(map(float, fields["run_seconds"])),
        "failure": None if failure is None else FailureKind(failure),
    }
    return MeasureRecord(**{**fields, **typed})


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
