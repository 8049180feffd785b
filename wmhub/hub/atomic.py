"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wmhub.errors import HubError, WmhubError
from wmhub.flushing import flush, flush_folder

_INCOMING = ".incoming"
_STAGED = "staged"
#: Age in seconds at which something unfinished counts as abandoned by a writer that was killed.
_ABANDONED_SECONDS = 7 * 24 * 3600


@contextlib.contextmanager
def staging_folder(root: Path) -> Iterator[Path]:
    """A fresh folder on the file system of ``root``; what is left in it afterwards is removed.

    Raises ``HubError`` where the file system refuses, then or while the folder is filled.
    """
    incoming = root / _INCOMING
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        if incoming.is_symlink():
            # What lies there is not ours to remove.
            raise HubError(f"{incoming} is a link: nothing is published through it; remove it")
        _remove_abandoned(incoming)
        own = Path(tempfile.mkdtemp(dir=incoming))
        try:
            staged = own / _STAGED
            staged.mkdir()
            yield staged
        finally:
            shutil.rmtree(own, ignore_errors=True)
    except WmhubError:
        raise
    except OSError as error:
        raise HubError(f"{root}: nothing can be published there: {error}") from error


def require_writable(root: Path) -> None:
    """Raises ``HubError`` where ``root`` cannot be written, or made if it is not there."""
    there = next(path for path in (root, *root.parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise HubError(f"{root}: nothing can be published there: {there} cannot be written to")


def place_folder(staged: Path, target: Path) -> bool:
    """Flushes ``staged`` and renames it to ``target``; ``False`` if that exists already."""
    flush_folder(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Renaming onto a folder that is not empty fails everywhere, and none of ours is empty.
        staged.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    flush(target.parent)
    return True


@contextlib.contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """For whoever reads the file ``path`` to write it again: waits until no other process does.

    Held is a file beside it, since ``path`` itself is replaced; that one goes in the end.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = path.with_name(f".{path.name}.held")
    while True:
        with guard.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink == 0:
                continue  # Whoever held it before has removed it meanwhile.
            try:
                yield
            finally:
                guard.unlink()
            return


def _remove_abandoned(incoming: Path) -> None:
    oldest = time.time() - _ABANDONED_SECONDS
    for path in incoming.iterdir():
        with contextlib.suppress(OSError):
            is_ours = not path.is_symlink() and {item.name for item in path.iterdir()} <= {_STAGED}
            if is_ours and path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
