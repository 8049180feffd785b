"""A dataset in the place of an older one, so that a kill at any moment loses neither.

The older one is put aside, the new one is moved to its place from where it was written, and the
older one is removed, its manifest first. All three happen in the working folder of the output, and
whoever works there next brings to an end what a kill has cut: see ``settle``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from wmhub.dataset.card import CARD
from wmhub.dataset.manifest import MANIFEST, read_manifest
from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.flushing import flush

#: Parts of the working folder: a dataset half written, and an older one put aside.
WRITING = "writing"
_OLDER = "older"


def is_occupied(output: Path) -> bool:
    """Whether something is at ``output`` that is no empty folder."""
    return output.exists() and (not output.is_dir() or any(output.iterdir()))


def refuse_from_inside(output: Path) -> None:
    """Raises ``InvalidInputError`` where this process is in the folder that another is put in place
    of: it, and the shell that it came from, would be left in none."""
    if Path.cwd().is_relative_to(output.resolve()):
        raise InvalidInputError(
            f"{output}: the folder is put in place as a whole, so call this from outside of it"
        )


def replace(output: Path, folder: Path) -> None:
    """Puts the finished dataset in ``folder``, the working folder, in the place of ``output``."""
    output.replace(folder / _OLDER)
    (folder / WRITING).replace(output)
    # Before what it was made of, and what it replaces, are removed.
    flush(output.parent)
    settle(output, folder)


def settle(output: Path, folder: Path) -> None:
    """Brings to an end a replacement of ``output`` that was killed: it is undone where the new
    dataset had not come to its place yet, and finished where it had.

    ``folder`` is the working folder. Raises ``OutputExistsError`` where the older dataset cannot go
    back, because something else was put into its place meanwhile.
    """
    older = folder / _OLDER
    if not older.is_dir():
        return
    if not (older / MANIFEST).exists():  # A removal was interrupted.
        shutil.rmtree(older)
    elif (output / MANIFEST).exists() and not (folder / WRITING / MANIFEST).exists():
        _carry_over(older, output)
    elif is_occupied(output):
        raise OutputExistsError(
            f"{output}: replacing the dataset here was interrupted, and {older} holds it; move "
            f"elsewhere what was put into {output} since, then run again"
        )
    else:
        older.replace(output)


def _carry_over(older: Path, output: Path) -> None:
    """Removes the dataset ``older``; what else lay in its folder (a repository's history, notes, a
    recipe) goes to ``output``, which has taken its place."""
    named = {entry.name for entry in read_manifest(older).files}
    for path in older.iterdir():
        is_ours = path.name in {MANIFEST, CARD, *named}
        if not is_ours and not (output / path.name).exists():
            path.replace(output / path.name)
    # First, so that one with a manifest is whole.
    (older / MANIFEST).unlink()
    shutil.rmtree(older)
