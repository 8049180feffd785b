"""The working folder of an output, ``OUTPUT.wmhub``: sorted runs, the journal of a live collection,
a dataset half written, an older one put aside.

It lies beside the output, so that what is made in it can be renamed into place, and carries a mark.
Only a folder with the mark is written into, taken up or removed: what else lies beside an output is
the user's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from wmhub.errors import InvalidInputError, OutputExistsError

_SUFFIX = ".wmhub"
_MARK = "made-by-wmhub"


def working_folder(output: Path) -> Path:
    """The working folder of ``output``, whether it is there or not.

    Raises ``OutputExistsError`` where something that wmhub did not make has its name.
    """
    folder = output.with_name(output.name + _SUFFIX)
    is_folder = folder.is_dir() and not folder.is_symlink()
    # An empty one is what a kill between making it and marking it leaves.
    is_ours = is_folder and ((folder / _MARK).is_file() or not any(folder.iterdir()))
    if not is_ours and (folder.exists() or folder.is_symlink()):
        raise OutputExistsError(
            f"{folder}: wmhub would work in a folder of this name, and did not make this one; "
            "move it, or choose another output"
        )
    return folder


def begin_work(output: Path, part: str) -> Path:
    """Makes and marks the working folder; where its ``part`` is or is to be.

    Raises ``OutputExistsError`` as ``working_folder`` does.
    """
    folder = working_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    return folder / part


def begin_anew(output: Path, part: str) -> Path:
    """``begin_work`` with an empty folder ``part``, whatever a run that was killed left there."""
    folder = begin_work(output, part)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def finish_work(output: Path, part: str) -> None:
    """Removes ``part``, and the working folder when nothing else is in it."""
    folder = working_folder(output)
    if (folder / part).exists():
        shutil.rmtree(folder / part)
    if [path.name for path in folder.iterdir()] == [_MARK]:
        # The mark goes last: without it, what is left would be nobody's.
        (folder / _MARK).unlink()
        folder.rmdir()


def refuse_inside(output: Path, inputs: Iterable[Path]) -> None:
    """Raises ``InvalidInputError`` for an input in the working folder: it would be removed."""
    folder = working_folder(output).resolve()
    for path in inputs:
        if path.resolve().is_relative_to(folder):
            raise InvalidInputError(
                f"{path}: lies where wmhub works on {output}, and would be removed; move it "
                "elsewhere first, or choose another output"
            )
