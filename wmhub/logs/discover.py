"""Finds the logs that a user means: files, folders, globs, standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmhub.errors import LogFormatError, MissingInputError, WmhubError
from wmhub.logs.sniff import COMPRESSED, LogKind, sniff_file

#: The name that means standard input.
STDIN = "-"

#: Reasons that the error of a folder without a log gives.
_TOLD = 3


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
    workloads_source: str = ""
    """How the dataset names that."""


@dataclass(frozen=True)
class Unread:
    """A file or folder that may hold a log, or was to be one, and is not read."""

    path: str
    """Where it is, as text that UTF-8 can hold; of a recipe, the repository and the path in it."""
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Discovered:
    """What the inputs stand for."""

    logs: list[LogFile]
    """Each once, in a stable order."""
    ignored: list[Unread]
    """What of folders and globs could not be read, ordered by path."""
    others: int
    """Files in folders and globs that are no logs."""


def discover(inputs: Sequence[str | Path]) -> Discovered:
    """The logs behind ``inputs``, each once, in a stable order.

    A folder stands for all logs below it whose names do not begin with a dot, a glob for what it
    matches, ``-`` for standard input. What cannot be read of a folder or a glob does not stop the
    rest. Raises ``MissingInputError`` for what is not there and ``LogFormatError`` for a file that
    was named and is no log or cannot be read, or a folder without any log.
    """
    if not inputs:
        raise MissingInputError("no log given; name a file, a folder, a glob or - for stdin")
    seen = _Seen()
    for item in inputs:
        if str(item) != STDIN:
            seen.add(_expand(str(item)))
    kinds = _each_once(seen.kinds)
    files = [
        (path, kind, _workloads_beside(path, seen) if kind is LogKind.META_SCHEDULE else None)
        for path, kind in kinds.items()
        if kind is not LogKind.META_SCHEDULE_WORKLOADS
    ]
    paths = [path for path, _, _ in files]
    root = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()

    def source(path: Path) -> str:
        return _readable(path.relative_to(root))

    logs = [
        LogFile(path, source(path), kind, workloads, source(workloads) if workloads else "")
        for path, kind, workloads in sorted(files, key=lambda file: file[0])
    ]
    if any(str(item) == STDIN for item in inputs):
        logs.append(LogFile(None, "stdin", None))
    return Discovered(logs, seen.not_read(), len(seen.others))


@dataclass
class _Seen:
    """What has been found in the inputs so far."""

    kinds: dict[Path, LogKind] = field(default_factory=dict)
    """Logs and files of workloads."""
    ignored: dict[Path, str] = field(default_factory=dict)
    """What could not be read, and why."""
    others: set[Path] = field(default_factory=set)
    """Files that are no logs."""
    folders: set[Path] = field(default_factory=set)
    """What was looked through with all below it."""
    links: set[Path] = field(default_factory=set)
    """Links to folders that were met there."""

    def add(self, other: _Seen) -> None:
        """Adds ``other`` to what has been found."""
        self.kinds |= other.kinds
        self.ignored |= other.ignored
        self.others |= other.others
        self.folders |= other.folders
        self.links |= other.links

    def not_read(self) -> list[Unread]:
        """What may hold a log and is not read, ordered by path."""
        unseen = (
            link
            for link in self.links
            if not any(link.resolve().is_relative_to(folder) for folder in self.folders)
        )
        reason = "a link to a folder, which is not followed; name it as well to have its logs"
        found = {**dict.fromkeys(unseen, reason), **self.ignored}
        return [Unread(_readable(path), found[path]) for path in sorted(found)]

    def has_records(self) -> bool:
        """Whether there is a log among it."""
        return any(kind is not LogKind.META_SCHEDULE_WORKLOADS for kind in self.kinds.values())

    def why_none(self) -> str:
        """What there is to say of an input without a log, as the end of a sentence."""
        return "".join(f"\n  not read: {item}" for item in self.not_read()[:_TOLD])

    def look(self, path: Path) -> LogKind | None:
        """Notes what ``path``, one of many, holds."""
        if path in self.kinds or path in self.ignored or path in self.others:
            return self.kinds.get(path)
        try:
            if path.is_file():
                kind = sniff_file(path)
                if kind is not None:
                    self.kinds[path] = kind
                    return kind
                self.others.add(path)
            elif path.is_symlink():
                self.ignored[path] = "a link that leads to no file"
            else:
                self.others.add(path)
        except (LogFormatError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            self.ignored[path] = reason or str(error).removeprefix(f"{path}: ")
        return None

    def look_below(self, folder: Path) -> None:
        """Notes what all files below ``folder`` hold."""

        def unreadable(error: OSError) -> None:
            self.ignored[Path(error.filename)] = f"this folder cannot be read: {error.strerror}"

        root = folder.resolve()
        self.folders.add(root)
        for parent, folders, names in os.walk(root, onerror=unreadable):
            self.links.update(path for name in folders if (path := Path(parent, name)).is_symlink())
            folders.sort()
            for path in (Path(parent, name) for name in sorted(names)):
                if path.name.startswith("."):
                    self.others.add(path)
                else:
                    self.look(path)


def _readable(path: Path) -> str:
    """``path`` as text that UTF-8 can hold, which a file name need not be."""
    return os.fsencode(path.as_posix()).decode(errors="replace")


def _named(path: Path) -> Path:
    """``path`` with its own name below where its folder really is: a link's target, as caches keep
    it, may be named by a digest, which says neither what it is nor what belongs to it."""
    return path.parent.resolve() / path.name


def _each_once(kinds: dict[Path, LogKind]) -> dict[Path, LogKind]:
    """``kinds`` without further links to the same file.

    Of its names that stays which has the other file of its database beside it, else a link's: what
    a cache's links lead to is named by digests.
    """
    by_file: dict[Path, Path] = {}
    for path in sorted(kinds, key=_says_less):
        by_file.setdefault(path.resolve(), path)
    kept = set(by_file.values())
    return {path: kind for path, kind in kinds.items() if path in kept}


def _says_less(path: Path) -> tuple[bool, bool]:
    words = ("workload", "tuning_record")
    has_partner = any(_partners(path, *pair) for pair in (words, words[::-1]))
    return not has_partner, not path.is_symlink()


def _expand(item: str) -> _Seen:
    """What one input stands for."""
    try:
        return _expanded(item)
    except WmhubError:
        raise
    except OSError as error:
        # A folder that may not be entered, or a name that no disk can have.
        raise LogFormatError(f"{item}: cannot be read: {error.strerror or error}") from None


def _expanded(item: str) -> _Seen:
    path, seen = Path(item), _Seen()
    if path.is_dir():
        seen.look_below(path)
        if not seen.has_records():
            none = f"{path}: no measurement log in this folder or below it"
            raise LogFormatError(none + seen.why_none())
        return seen
    if not path.exists() and glob.has_magic(item):
        for match in map(Path, sorted(glob.glob(item, recursive=True))):  # noqa: PTH207
            if match.is_dir():
                seen.look_below(match)
            else:
                seen.look(_named(match))
        if not seen.has_records():
            none = f"{item}: this pattern matches no measurement log"
            raise MissingInputError(none + seen.why_none())
        return seen
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
    seen.kinds[_named(path)] = kind
    if kind is LogKind.META_SCHEDULE_WORKLOADS:
        seen.kinds[_records_beside(path)] = LogKind.META_SCHEDULE
    return seen


def _records_beside(workloads: Path) -> Path:
    """The records of a workload file that was named itself."""
    partners, beside = _partners(_named(workloads), "workload", "tuning_record"), _Seen()
    for path in partners:
        if beside.look(path) is LogKind.META_SCHEDULE:
            return path
    wanted = workloads.name.replace("workload", "tuning_record")
    lack = f"{partners[0].name} beside it is empty" if partners else f"no {wanted} is beside it"
    raise MissingInputError(
        f"{workloads}: these are MetaSchedule workloads without records: "
        + (str(beside.not_read()[0]) if beside.ignored else lack)
    )


def _workloads_beside(records: Path, seen: _Seen) -> Path | None:
    """The workload file of ``records``: by its name; else, where the folder has one file of each
    kind whose name has no partner, the one goes with the other. Another database's programs would
    be worse than none."""
    beside = _Seen()
    for path in _partners(records, "tuning_record", "workload"):
        if beside.look(path) is LogKind.META_SCHEDULE_WORKLOADS:
            return path
    seen.ignored |= beside.ignored

    def alone(kind: LogKind, part: str, other: str) -> list[Path]:
        here = (p for p, k in seen.kinds.items() if k is kind and p.parent == records.parent)
        return [path for path in here if not _partners(path, part, other)]

    workloads = alone(LogKind.META_SCHEDULE_WORKLOADS, "workload", "tuning_record")
    others = alone(LogKind.META_SCHEDULE, "tuning_record", "workload")
    if not len(workloads) == len(others) == 1:
        return None
    # Names that both say what they are, and do not go together, are those of two databases.
    are_named = "workload" in workloads[0].name and "tuning_record" in others[0].name
    return None if are_named else workloads[0]


def _partners(path: Path, part: str, other: str) -> list[Path]:
    """Files beside ``path`` whose name says ``other`` where ``path``'s says ``part``."""
    candidates = (path.with_name(name) for name in partner_names(path.name, part, other))
    return [candidate for candidate in candidates if candidate.is_file()]


def partner_names(name: str, part: str, other: str) -> list[str]:
    """``name`` with ``other`` in place of ``part``, whatever either file is compressed with."""
    if part not in name:
        return []
    stem = name.replace(part, other)
    for suffix in COMPRESSED:
        stem = stem.removesuffix(suffix)
    return [stem + suffix for suffix in ("", *COMPRESSED)]
