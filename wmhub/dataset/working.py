"""The working folder of an output, ``OUTPUT.wmhub``: sorted runs, the journal of a live collection,
a dataset half written, an older one put aside.

It lies beside the output, so that what is made in it can be renamed into place, and carries a mark.
Only a folder with the mark is written into, taken up or removed: what else lies beside an output is
the user's.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from wmhub.dataset.manifest import working_path
from wmhub.dataset.replacing import settle
from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.holding import take

_MARK = "made-by-wmhub"


def working_folder(output: Path) -> Path:
    """The working folder of ``output``, whether it is there or not.

    Raises ``OutputExistsError`` where something that wmhub did not make has its name.
    """
    folder = working_path(output)
    is_folder = folder.is_dir() and not folder.is_symlink()
    # An empty one is what a kill between making it and marking it leaves.
    is_ours = is_folder and ((folder / _MARK).is_file() or not any(folder.iterdir()))
    if not is_ours and (folder.exists() or folder.is_symlink()):
        raise OutputExistsError(
            f"{folder}: wmhub would work in a folder of this name, and did not make this one; "
            "move it, or choose another output"
        )
    return folder


@contextlib.contextmanager
def working(output: Path) -> Iterator[None]:
    """Makes and marks the working folder, and holds it alone; what is empty at the end goes.

    A replacement of ``output`` that was killed is brought to an end first, so that the dataset is
    where it belongs. Whoever reads a dataset to write it again holds it from before the one until
    after the other: else what another process adds meanwhile is lost. Raises ``OutputExistsError``
    as ``working_folder`` and ``settle`` do, and where another process holds it.
    """
    folder = working_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _MARK).open("ab") as mark:
        if not take(mark):
            raise OutputExistsError(
                f"{folder}: another process is at work on {output} there; wait until it has "
                "finished, or choose another output"
            )
        try:
            settle(output, folder)
            yield
        finally:
            if [path.name for path in folder.iterdir()] == [_MARK]:
                # The mark goes last: without it, what is left would be nobody's.
                (folder / _MARK).unlink()
                # Another process may have begun to work in it at that very moment.
                with contextlib.suppress(OSError):
                    folder.rmdir()


def begin_anew(output: Path, part: str) -> Path:
    """The ``part`` of the working folder as an empty folder, whatever a killed run left there."""
    folder = working_folder(output) / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@contextlib.contextmanager
def anew(output: Path, part: str) -> Iterator[Path]:
    """``begin_anew`` of what can be made again: it goes at the end, whatever that is."""
    folder = begin_anew(output, part)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish_work(output: Path, part: str) -> None:
    """Removes ``part`` of the working folder, where it is there."""
    folder = working_folder(output) / part
    if folder.exists():
        shutil.rmtree(folder)


def refuse_inside(output: Path, inputs: Iterable[Path]) -> None:
    """Raises ``InvalidInputError`` for an input in the working folder: it would be removed."""
    folder = working_folder(output).resolve()
    for path in inputs:
        if path.resolve().is_relative_to(folder):
            raise InvalidInputError(
                f"{path}: lies where wmhub works on {output}, and would be removed; move it "
                "elsewhere first, or choose another output"
            )


def refuse_mixed(output: Path, datasets: Iterable[Path]) -> None:
    """`refuse_inside` of ``datasets``, and the other way round: nobody would take a folder with
    files of another dataset for that dataset any more. Raises ``InvalidInputError``."""
    folders = list(datasets)
    refuse_inside(output, folders)
    for folder in folders:
        if folder.resolve() in output.resolve().parents:
            raise InvalidInputError(
                f"{output}: lies in the dataset {folder}; choose another output"
            )
