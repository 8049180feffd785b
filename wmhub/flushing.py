"""What was written, made safe from a loss of power; files that are replaced at once."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

#: Name of what `write_file` leaves where it is killed.
UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.part")


def flush(path: Path) -> None:
    """Waits until the content of the file or folder ``path`` is on disk; raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """``flush`` of ``folder`` and of all that is in it."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def write_file(path: Path, content: bytes) -> None:
    """Replaces ``path`` by ``content`` at once; its folder is made if it is not there.

    A file that is there keeps its mode; of a link, the file that it leads to is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files no one else may read.
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
