"""The two small files of a folder hub: what a commit is, and which one a name points at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from wmhub.errors import InvalidInputError
from wmhub.hub.integrity import (
    FileDigest,
    check_commit,
    check_paths,
    read_bounded,
    tree_digest,
)

RECORD = "commit.json"
POINTER = "points.json"


@dataclass(frozen=True)
class Record:
    """``commit.json``."""

    parent: str | None
    """Commit that it follows; of a pull request, the one that it was made from."""
    message: str
    """What it does, for people."""
    files: Mapping[str, FileDigest]
    """Everything in its tree."""

    @property
    def id(self) -> str:
        """Digest of all three: 64 hexadecimal digits."""
        text = f"{self.parent}\0{self.message}\0{tree_digest(self.files)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def dump(self) -> bytes:
        """The file's content."""
        files = {name: vars(digest) for name, digest in self.files.items()}
        record = {"parent": self.parent, "message": self.message, "files": files}
        return orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads ``commit.json`` strictly: it must have the id that its folder is named by."""
        try:
            data = orjson.loads(read_bounded(path))
            check_paths(data["files"])
            files = {name: FileDigest(**digest) for name, digest in data["files"].items()}
            parent = None if data["parent"] is None else check_commit(data["parent"])
            record = cls(parent, str(data["message"]), files)
        except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
            raise InvalidInputError.at(path, f"is no commit of a folder hub: {error!r}") from error
        if record.id != path.parent.name:
            raise InvalidInputError.at(path, "is not what its commit says: it was changed")
        return record


def highest(folder: Path) -> int:
    """The highest number among the names in ``folder``; 0 for none."""
    return max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)


def pointed(folder: Path) -> str:
    """The commit that a pointer names."""
    path = folder / POINTER
    try:
        commit = orjson.loads(read_bounded(path))["commit"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError.at(path, f"is no pointer of a folder hub: {error!r}") from error
    return check_commit(commit)
