"""One process at a time works in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from wmhub.errors import InvalidInputError, OutputExistsError

#: Name of the file that is held while a folder is.
LOCK = ".wmhub.lock"


#: What file systems say that know no `flock`.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)


def take(file: IO[bytes]) -> bool:
    """Locks ``file`` until it is closed; whether that was possible, as no other process holds it.

    Whoever holds such a file may remove it in the end.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise InvalidInputError(
                f"{file.name}: this file system has no locks ({error.strerror}): choose a folder "
                "on another"
            ) from error
        raise
    return os.fstat(file.fileno()).st_nlink > 0  # Another may just have removed it.


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Makes the folder ``output`` and holds it alone; one that was made for nothing goes.

    Raises ``OutputExistsError`` where another process holds it: two would mix their records.
    """
    if output.exists() and not output.is_dir():
        raise InvalidInputError(f"{output} is a file; --output takes a folder")
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    lock = output / LOCK
    is_others = False
    with lock.open("ab") as file:
        try:
            is_others = not take(file)
            if is_others:
                raise OutputExistsError(
                    f"{output}: another process is at work in it; wait until it has finished, or "
                    "give another folder"
                )
            yield
        finally:
            if not is_others:
                lock.unlink(missing_ok=True)
                if is_new and not any(output.iterdir()):
                    output.rmdir()
