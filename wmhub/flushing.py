"""What was written, made safe from a loss of power."""

from __future__ import annotations

import os
from pathlib import Path


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
