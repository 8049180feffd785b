"""Where a dataset's folder is put: beside what is there, in its place, or nowhere."""

from __future__ import annotations

from pathlib import Path

from wmhub.dataset.manifest import MANIFEST
from wmhub.dataset.replacing import WRITING, is_occupied, refuse_from_inside, replace
from wmhub.dataset.schema import is_utf8
from wmhub.dataset.working import working_folder
from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.flushing import flush, flush_folder


def put(output: Path, *, in_place: bool) -> None:
    """Moves the finished dataset from the working folder to ``output``; ``in_place`` of an older
    one. A kill or a loss of power at any moment leaves one of the two whole."""
    folder = working_folder(output)
    flush_folder(folder / WRITING)
    if in_place:
        replace(output, folder)
        return
    refuse_existing(output)
    (folder / WRITING).replace(output)
    # Before what it was made of is removed.
    flush(output.parent)


def destination(output: str | Path) -> Path:
    """Where a dataset ``output`` is to be: what a link leads to, and a folder with a name.

    What is written first beside it and then moved is on the same disk so. Raises
    ``InvalidInputError`` for a mount point, which nothing can be moved to, and for a name that is
    no UTF-8, in which pyarrow writes nothing.
    """
    path = Path(output)
    path = path.resolve() if path.is_symlink() or path.name in ("", "..") else path
    if not is_utf8(str(path)):
        raise InvalidInputError(f"{str(path)!r}: the name is no UTF-8; choose another folder")
    if path.is_mount():
        raise InvalidInputError(f"{path}: a disk is mounted here; name a folder in it")
    return path


def refuse_existing(output: Path) -> None:
    """Raises ``OutputExistsError`` where ``output`` holds anything already, and else what
    `refuse_occupied` raises."""
    if (output / MANIFEST).exists():
        raise OutputExistsError(
            f"{output}: a dataset is here already; choose another folder, or write the new one "
            "elsewhere and join them with wmhub dataset merge"
        )
    refuse_occupied(output, "exists and is no dataset")


def refuse_occupied(output: Path, said: str) -> None:
    """Raises ``OutputExistsError`` where ``output`` is no empty folder, and ``InvalidInputError``
    for an empty one from inside of it."""
    if is_occupied(output):
        raise OutputExistsError(f"{output}: {said}; choose another folder")
    if output.exists():
        refuse_from_inside(output)
