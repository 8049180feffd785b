"""Where a dataset's folder is put: beside what is there, in its place, or nowhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from wmhub.dataset.card import CARD
from wmhub.dataset.manifest import MANIFEST, read_manifest
from wmhub.dataset.working import working_folder
from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.flushing import flush, flush_folder

#: Part of the working folder that an older dataset is put aside in.
_OLDER = "older"


def put(staging: Path, output: Path, replace: bool) -> None:
    """Moves the finished dataset ``staging`` to ``output``; with ``replace`` in an older one's
    place. A kill or a loss of power at any moment leaves one of the two whole."""
    flush_folder(staging)
    if replace:
        finish_replacement(output)
        output.replace(working_folder(output) / _OLDER)
    else:
        refuse_existing(output)
    staging.replace(output)
    # Before what it was made of, and what it replaces, are removed.
    flush(output.parent)
    finish_replacement(output)


def finish_replacement(output: Path) -> None:
    """Does what is left of a replacement of ``output``, of this run or of one that was killed."""
    _carry_over(working_folder(output) / _OLDER, output)


def _carry_over(older: Path, output: Path) -> None:
    """Removes the dataset ``older``; what else lay in its folder (a repository's history, notes, a
    recipe) goes to ``output``, which has taken its place."""
    if not older.is_dir():
        return
    # Without a manifest, a removal was interrupted, and what else lay there had gone before.
    if (older / MANIFEST).exists():
        named = {entry.name for entry in read_manifest(older).files}
        for path in older.iterdir():
            is_ours = path.name in {MANIFEST, CARD, *named}
            if not is_ours and not (output / path.name).exists():
                path.replace(output / path.name)
    shutil.rmtree(older)


def destination(output: str | Path) -> Path:
    """Where a dataset ``output`` is to be: what a link leads to, and a folder with a name.

    What is written first beside it and then moved is on the same disk so. Raises
    ``InvalidInputError`` for a mount point, which nothing can be moved to.
    """
    path = Path(output)
    path = path.resolve() if path.is_symlink() or not path.name else path
    if path.is_mount():
        raise InvalidInputError(f"{path}: a disk is mounted here; name a folder in it")
    return path


def refuse_existing(output: Path) -> None:
    """Raises ``OutputExistsError`` where ``output`` holds anything already, or where wmhub could
    not work beside it.

    A dataset that an interrupted replacement had put aside is put back first.
    """
    older = working_folder(output) / _OLDER
    if older.exists() and not output.exists():
        older.replace(output)
        raise OutputExistsError(
            f"{output}: replacing it was interrupted; the dataset is back as it was, so run again"
        )
    if (output / MANIFEST).exists():
        raise OutputExistsError(
            f"{output}: a dataset is here already; choose another folder, or write the new one "
            "elsewhere and join them with wmhub dataset merge"
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputExistsError(f"{output}: exists and is no dataset; choose another folder")
