"""``wmhub.lock``: what each name was, so that it is the same on another machine and another day."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from wmhub.errors import InvalidInputError, MissingInputError, UnknownNameError, WmhubError
from wmhub.flushing import write_file
from wmhub.hub.integrity import FileDigest, check_commit, check_path, check_paths, read_bounded
from wmhub.hub.place import Repository

LOCK_NAME = "wmhub.lock"
_LOCK_VERSION = 1


@dataclass(frozen=True)
class LockEntry:
    """What one name was when it was locked."""

    place: str
    """``embedded``, ``folder`` or ``hf-hub``."""
    repository: Repository
    """Where it was published."""
    folder: str
    """Folder of the repository that holds it; empty for the whole."""
    revision: str
    """Tag, or the revision that was asked for."""
    commit: str
    """What the revision was."""
    digest: str
    """``ArtifactManifest.digest``: what it must be, wherever it comes from."""
    files: Mapping[str, FileDigest]
    """Every file that the manifest names."""


@dataclass(frozen=True)
class Lockfile:
    """All locked names."""

    models: Mapping[str, LockEntry] = field(default_factory=dict)
    datasets: Mapping[str, LockEntry] = field(default_factory=dict)

    def entries(self, label: str) -> Mapping[str, LockEntry]:
        """The names of one kind, ``model`` or ``dataset``."""
        return self.models if label == "model" else self.datasets

    def entry(self, label: str, name: str, where: Path) -> LockEntry:
        """The entry of ``name``; raises ``UnknownNameError`` with what is locked."""
        entries = self.entries(label)
        if name not in entries:
            locked = ", ".join(sorted(entries)) or f"no {label}"
            raise UnknownNameError(
                f"{label} {name!r} is not in {where}, which locks {locked}; add it with "
                f"`wmhub lock {'--dataset ' if label == 'dataset' else ''}{name}`"
            )
        return entries[name]


def lock_path(locked: bool | str | os.PathLike[str]) -> Path:
    """The file that ``locked`` means: ``True`` is ``wmhub.lock`` in the working directory."""
    return Path(LOCK_NAME) if isinstance(locked, bool) else Path(locked)


def read_lock(path: Path) -> Lockfile:
    """Reads a lock strictly; raises ``MissingInputError`` or ``InvalidInputError``."""
    if not path.is_file():
        raise MissingInputError(f"{path}: there is no such lock; write it with `wmhub lock NAME`")
    try:
        data = orjson.loads(read_bounded(path))
        if data["lock_version"] != _LOCK_VERSION:
            raise InvalidInputError(f"lock_version {data['lock_version']!r} is not {_LOCK_VERSION}")
        return Lockfile(_entries(data["models"]), _entries(data["datasets"]))
    except WmhubError as error:
        raise InvalidInputError.at(path, str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError.at(path, f"is no lock: {error!r}") from error


def write_lock(path: Path, lock: Lockfile) -> None:
    """Replaces ``path`` at once."""
    data = {
        "lock_version": _LOCK_VERSION,
        "models": {name: _dump(entry) for name, entry in lock.models.items()},
        "datasets": {name: _dump(entry) for name, entry in lock.datasets.items()},
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    write_file(path, orjson.dumps(data, option=options))


def _dump(entry: LockEntry) -> dict[str, object]:
    return {**asdict(entry), "repository": str(entry.repository)}


def _entries(table: Mapping[str, Mapping[str, object]]) -> dict[str, LockEntry]:
    return {name: _entry(row) for name, row in table.items()}


def _entry(row: Mapping[str, object]) -> LockEntry:
    files = row["files"]
    texts = {key: str(row[key]) for key in ("place", "folder", "revision", "commit", "digest")}
    org, name = str(row["repository"]).split("/")
    if not isinstance(files, dict):
        raise TypeError("files")
    check_paths(files)
    check_commit(texts["commit"])
    if texts["folder"]:
        check_path(texts["folder"])
    return LockEntry(
        repository=Repository(check_path(org), check_path(name)),
        files={name: FileDigest(**digest) for name, digest in files.items()},
        **texts,
    )
