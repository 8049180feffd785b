"""Finds the logs that a user means: files, folders, globs, standard input. Formats are sniffed."""

from __future__ import annotations

import enum
import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmhub.errors import LogFormatError, MissingInputError
from wmhub.logs.lines import decompressed, open_raw, read_block

#: The name that means standard input.
STDIN = "-"

_HEAD_BYTES = 1 << 16
_SUFFIXES = ("", ".gz", ".xz", ".zst")


class LogKind(enum.Enum):
    """What a file holds."""

    AUTO_SCHEDULER = "an Ansor log"
    META_SCHEDULE = "MetaSchedule tuning records"
    META_SCHEDULE_WORKLOADS = "MetaSchedule workloads"


_PATTERNS = {
    LogKind.AUTO_SCHEDULER: re.compile(rb'\s*\{\s*"[irv]"\s*:'),
    LogKind.META_SCHEDULE: re.compile(rb"\s*\[\s*\d+\s*,\s*\["),
    LogKind.META_SCHEDULE_WORKLOADS: re.compile(rb'\s*\[\s*"\d+"\s*,\s*"'),
}


@dataclass(frozen=True)
class LogFile:
    """One log to be read."""

    path: Path | None
    """``None`` is standard input."""
    source: str
    """How the dataset names it: the path below the folder that all inputs share."""
    kind: LogKind | None
    """``None`` for standard input, which is sniffed when it is read."""
    workloads: Path | None = None
    """MetaSchedule: the file of workloads, where there is one."""


def sniff(head: bytes) -> LogKind | None:
    """What a file that begins with ``head`` holds, by the first line that looks like anything."""
    for line in head.removeprefix(b"\xef\xbb\xbf").splitlines():
        for kind, pattern in _PATTERNS.items():
            if pattern.match(line):
                return kind
    return None


def sniff_file(path: Path) -> LogKind | None:
    """What ``path`` holds, by what can be read of its beginning; ``None`` where it is no log."""
    with open_raw(path) as raw:
        head, _ = read_block(decompressed(raw), _HEAD_BYTES)
        return sniff(head)


def discover(inputs: Sequence[str | Path]) -> list[LogFile]:
    """The logs behind ``inputs``, each once, in a stable order.

    A folder stands for all logs below it, a glob for what it matches, ``-`` for standard input.
    Raises ``MissingInputError`` for what is not there and ``LogFormatError`` for a file that was
    named and is no log, or a folder without any.
    """
    if not inputs:
        raise MissingInputError("no log given; name a file, a folder, a glob or - for stdin")
    kinds: dict[Path, LogKind] = {}
    for item in inputs:
        if str(item) != STDIN:
            kinds.update(_expand(str(item)))
    kinds = _each_once(kinds)
    files = [
        (path, kind, _workloads_beside(path, kinds) if kind is LogKind.META_SCHEDULE else None)
        for path, kind in kinds.items()
        if kind is not LogKind.META_SCHEDULE_WORKLOADS
    ]
    paths = [path for path, _, _ in files]
    root = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    logs = [
        LogFile(path, _readable(path.relative_to(root)), kind, workloads)
        for path, kind, workloads in sorted(files)
    ]
    if any(str(item) == STDIN for item in inputs):
        logs.append(LogFile(None, "stdin", None))
    return logs


def _readable(path: Path) -> str:
    """``path`` as text that UTF-8 can hold, which a file name need not be."""
    return os.fsencode(path.as_posix()).decode(errors="replace")


def _named(path: Path) -> Path:
    """``path`` with its own name below where its folder really is: a link's target, as caches keep
    it, may be named by a digest, which says neither what it is nor what belongs to it."""
    return path.parent.resolve() / path.name


def _each_once(kinds: dict[Path, LogKind]) -> dict[Path, LogKind]:
    """``kinds`` without further links to the same file."""
    by_file: dict[Path, Path] = {}
    for path in kinds:
        by_file.setdefault(path.resolve(), path)
    return {path: kinds[path] for path in by_file.values()}


def _expand(item: str) -> dict[Path, LogKind]:
    path = Path(item)
    if path.is_dir():
        found = _logs_in(path)
        if not _has_records(found):
            raise LogFormatError(f"{path}: no measurement log in this folder or below it")
        return found
    if not path.exists() and glob.has_magic(item):
        matches = [Path(match) for match in sorted(glob.glob(item, recursive=True))]  # noqa: PTH207
        found = _sniffed(_named(match) for match in matches if match.is_file())
        for match in matches:
            if match.is_dir():
                found.update(_logs_in(match))
        if not _has_records(found):
            raise MissingInputError(f"{item}: this pattern matches no measurement log")
        return found
    if path.exists() and not path.is_file():
        # To look at its beginning would take that away from whoever reads it.
        raise LogFormatError(f"{path}: no file but a pipe or device; read it as -, from stdin")
    kind = sniff_file(path)
    if kind is None:
        empty = "it is empty" if not path.stat().st_size else "no line looks like a record"
        raise LogFormatError(
            f"{path}: neither an Ansor log nor a MetaSchedule database ({empty}); Ansor lines "
            'begin {"i": ..., MetaSchedule records begin [0, [...'
        )
    if kind is LogKind.META_SCHEDULE_WORKLOADS:
        return {_named(path): kind, _records_beside(path): LogKind.META_SCHEDULE}
    return {_named(path): kind}


def _has_records(kinds: dict[Path, LogKind]) -> bool:
    return any(kind is not LogKind.META_SCHEDULE_WORKLOADS for kind in kinds.values())


def _logs_in(folder: Path) -> dict[Path, LogKind]:
    paths = (
        Path(parent, name)
        for parent, folders, names in os.walk(folder.resolve())
        for name in names
        if not name.startswith(".") and (folders.sort() or True)
    )
    return _sniffed(path for path in paths if path.is_file())


def _sniffed(paths: Iterable[Path]) -> dict[Path, LogKind]:
    kinds = ((path, sniff_file(path)) for path in paths)
    return {path: kind for path, kind in kinds if kind is not None}


def _records_beside(workloads: Path) -> Path:
    """The records of a workload file that was named itself."""
    partners = _partners(_named(workloads), "workload", "tuning_record")
    for path in partners:
        if sniff_file(path) is LogKind.META_SCHEDULE:
            return path
    wanted = workloads.name.replace("workload", "tuning_record")
    lack = f"{partners[0].name} beside it is empty" if partners else f"no {wanted} is beside it"
    raise MissingInputError(
        f"{workloads}: these are MetaSchedule workloads without records: {lack}"
    )


def _workloads_beside(records: Path, kinds: dict[Path, LogKind]) -> Path | None:
    """The workload file of ``records``: by its name; else, where the folder has one file of each
    kind whose name has no partner, the one goes with the other. Another database's programs would
    be worse than none."""
    for path in _partners(records, "tuning_record", "workload"):
        if sniff_file(path) is LogKind.META_SCHEDULE_WORKLOADS:
            return path

    def alone(kind: LogKind, part: str, other: str) -> list[Path]:
        here = (path for path, k in kinds.items() if k is kind and path.parent == records.parent)
        return [path for path in here if not _partners(path, part, other)]

    workloads = alone(LogKind.META_SCHEDULE_WORKLOADS, "workload", "tuning_record")
    others = alone(LogKind.META_SCHEDULE, "tuning_record", "workload")
    return workloads[0] if len(workloads) == len(others) == 1 else None


def _partners(path: Path, part: str, other: str) -> list[Path]:
    """Files beside ``path`` whose name says ``other`` where ``path``'s says ``part``."""
    candidates = (path.with_name(name) for name in partner_names(path.name, part, other))
    return [candidate for candidate in candidates if candidate.is_file()]


def partner_names(name: str, part: str, other: str) -> list[str]:
    """``name`` with ``other`` in place of ``part``, whatever either file is compressed with."""
    if part not in name:
        return []
    stem = name.replace(part, other)
    for suffix in _SUFFIXES[1:]:
        stem = stem.removesuffix(suffix)
    return [stem + suffix for suffix in _SUFFIXES]
