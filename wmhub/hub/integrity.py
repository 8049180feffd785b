"""What may be believed of files that came from elsewhere: paths, sizes and digests.

A manifest names every file of an artifact with its length and SHA-256. Nothing outside the
manifest is read, and nothing in it is opened before its path and its length are known to be good.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wmhub.errors import InvalidInputError, MissingInputError

#: Longest JSON manifest that is read, in bytes.
MOST_MANIFEST_BYTES = 16 * 2**20
#: Most files in one artifact.
MOST_FILES = 100_000
_MOST_PATH_CHARACTERS = 240
_MOST_PATH_PARTS = 8
_BLOCK_BYTES = 2**20

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._=+-]*[A-Za-z0-9_=+-])?\Z")
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
#: Names that Windows gives to devices, with any extension.
_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class FileDigest:
    """What a file must be."""

    sha256: str
    """SHA-256 of its content, 64 lower-case hexadecimal digits."""
    bytes: int
    """Its length in bytes."""

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or not _SHA256.match(self.sha256):
            raise InvalidInputError(f"sha256 {str(self.sha256)[:80]!r} is not 64 hex digits")
        if not isinstance(self.bytes, int) or isinstance(self.bytes, bool) or self.bytes < 0:
            raise InvalidInputError(f"length {str(self.bytes)[:40]!r} is not a number of bytes")


def check_path(name: str) -> str:
    """Returns ``name`` if it is a plain relative path that means the same on every system.

    Refuses absolute and drive paths, ``..``, backslashes, empty and hidden parts, Windows' device
    names and trailing dots, and characters beyond ``[A-Za-z0-9._=+-]``; raises
    ``InvalidInputError`` with the reason.
    """
    reason = None
    parts = name.split("/") if isinstance(name, str) else []
    if not isinstance(name, str) or not name:
        reason = "is no path"
    elif len(name) > _MOST_PATH_CHARACTERS or len(parts) > _MOST_PATH_PARTS:
        reason = f"is longer than {_MOST_PATH_CHARACTERS} characters or {_MOST_PATH_PARTS} parts"
    elif name.startswith(("/", "\\")) or ":" in name:
        reason = "is absolute"
    elif ".." in parts:
        reason = "leaves its folder"
    elif not all(_PART.match(part) for part in parts):
        reason = "has a part that is empty, hidden or holds other than letters, digits and ._=+-"
    elif any(_WINDOWS_DEVICE.match(part) for part in parts):
        reason = "is a device on Windows"
    if reason:
        raise InvalidInputError(f"file name {str(name)[:120]!r} {reason}")
    return name


def check_commit(text: str) -> str:
    """Returns ``text`` if it is a commit: 40 or 64 lower-case hexadecimal digits, so no path."""
    if not isinstance(text, str) or not _COMMIT.match(text):
        raise InvalidInputError(f"{str(text)[:120]!r} is no commit")
    return text


def check_paths(names: Iterable[str]) -> None:
    """Checks each name, and that no two are the same file where letters' case is ignored."""
    seen: dict[str, str] = {}
    for count, name in enumerate(names, 1):
        if count > MOST_FILES:
            raise InvalidInputError(f"more than {MOST_FILES} files")
        check_path(name)
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise InvalidInputError(f"files {other!r} and {name!r} differ only in case")


def open_inside(folder: Path, name: str, within: Path | None = None) -> Path:
    """The regular file ``name`` of ``folder``, links followed, if it lies inside ``within``.

    ``within`` is ``folder`` unless a cache keeps the content elsewhere. Raises
    ``MissingInputError`` or ``InvalidInputError``; never opens pipes or devices.
    """
    path = folder / check_path(name)
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise MissingInputError(
            f"{path}: the file is not there or its link leads nowhere"
        ) from error
    if not real.is_relative_to((within or folder).resolve()):
        raise InvalidInputError.at(path, "is a link that leads out of its folder")
    if not stat.S_ISREG(real.stat().st_mode):
        raise InvalidInputError.at(path, "is not a regular file")
    return real


def _without_waiting(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInputError.at(path, "is no file")
    return descriptor


def read_bounded(path: Path, most_bytes: int = MOST_MANIFEST_BYTES) -> bytes:
    """The content of ``path`` if it is at most ``most_bytes`` long, whatever its length claims.

    Raises ``InvalidInputError`` for a longer one, and for what is no file: a pipe could be waited
    for without end.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise InvalidInputError.at(path, f"is longer than {most_bytes} bytes")
    return content


def digest_file(path: Path) -> FileDigest:
    """Length and SHA-256 of ``path``, in constant memory."""
    digest, length = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            length += len(block)
    return FileDigest(digest.hexdigest(), length)


def copy_file(source: Path, target: Path) -> FileDigest:
    """Copies ``source`` and returns the digest of what was written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, length = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while block := reader.read(_BLOCK_BYTES):
            digest.update(block)
            length += len(block)
            writer.write(block)
    return FileDigest(digest.hexdigest(), length)


def verify_files(folder: Path, files: Mapping[str, FileDigest], within: Path | None = None) -> None:
    """Compares every file with its digest; raises ``InvalidInputError`` at the first that differs.

    Lengths are compared for all files before the first is read.
    """
    paths = {name: open_inside(folder, name, within) for name in files}
    for name, expected in files.items():
        length = paths[name].stat().st_size
        if length != expected.bytes:
            raise InvalidInputError.at(
                folder / name, f"has {length} bytes, but its manifest says {expected.bytes}"
            )
    for name, expected in files.items():
        found = digest_file(paths[name])
        if found != expected:
            raise InvalidInputError.at(
                folder / name,
                f"has SHA-256 {found.sha256[:12]}…, but its manifest says "
                f"{expected.sha256[:12]}…: the file was changed",
            )


def tree_digest(files: Mapping[str, FileDigest]) -> str:
    """One SHA-256 over names, lengths and digests, independent of order."""
    lines = (f"{files[name].sha256} {files[name].bytes} {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
