"""Every error that wmhub raises on purpose, in one tree.

::

    WmhubError                        something that wmhub can explain; exit code 1
    ├── MeasureError (RuntimeError)   a build, run or search could not be carried out
    ├── HubError (OSError)            a hub could not be reached or refused the request
    └── UserError                     the caller can mend it; exit code 2
        ├── InvalidNameError (ValueError)         a name that does not parse
        ├── UnknownNameError (LookupError)        a name that parses but that no one knows
        ├── InvalidInputError (ValueError)        an option, a file or a line that makes no sense
        │   ├── LogFormatError                    a measurement log
        │   ├── DatasetError                      a dataset folder
        │   ├── CheckpointError                   a checkpoint folder
        │   └── SchemaVersionError                either of them, of a newer wmhub
        ├── MissingInputError (FileNotFoundError) a path that is not there
        ├── OutputExistsError (FileExistsError)   a result that would be overwritten
        ├── HardwareMismatchError (ValueError)    a checkpoint or dataset of other hardware
        └── MissingDependencyError (ImportError)  an optional package that is not installed

Each class is also the built-in exception that fits, so that code which knows nothing of wmhub can
catch it. A message says what, where and what to do, in that order.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class WmhubError(Exception):
    """Base of all errors that wmhub raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        # OSError and LookupError print their arguments in their own ways (KeyError quotes them).
        return str(self.args[0]) if self.args else ""


class MeasureError(WmhubError, RuntimeError):
    """A build, a run or a search could not be carried out."""


class HubError(WmhubError, OSError):
    """A hub could not be reached or refused the request."""


class UserError(WmhubError):
    """The caller can mend it: wrong arguments, wrong files, a missing package."""

    exit_code = 2


class InvalidNameError(UserError, ValueError):
    """A hardware key, model id or dataset id that does not parse."""


class UnknownNameError(UserError, LookupError):
    """A well-formed name that nothing answers to; the message lists the nearest."""


class InvalidInputError(UserError, ValueError):
    """An option, a file or a line that makes no sense."""

    @classmethod
    def at(cls, path: str | Path, reason: str, line: int | None = None) -> InvalidInputError:
        """The error for ``path`` (and its 1-based ``line``), as ``path:line: reason``."""
        where = f"{path}:{line}" if line is not None else f"{path}"
        return cls(f"{where}: {reason}")


class LogFormatError(InvalidInputError):
    """A measurement log that cannot be read."""


class DatasetError(InvalidInputError):
    """A folder that is no dataset, or whose files do not fit its manifest."""


class CheckpointError(InvalidInputError):
    """A folder that is no checkpoint, or whose files do not fit its manifest."""


class SchemaVersionError(InvalidInputError):
    """A dataset or a checkpoint that a newer wmhub wrote."""


class MissingInputError(UserError, FileNotFoundError):
    """A path that is not there."""


class OutputExistsError(UserError, FileExistsError):
    """A result that would be overwritten."""


class HardwareMismatchError(UserError, ValueError):
    """A checkpoint or a dataset that belongs to other hardware."""


class MissingDependencyError(UserError, ImportError):
    """An optional package that is not installed."""

    @classmethod
    def named(cls, package: str, purpose: str, extra: str) -> MissingDependencyError:
        """The error for ``package``, which ``purpose`` needs and ``wmhub[extra]`` brings."""
        return cls(f'{purpose} needs {package}: pip install "wmhub[{extra}]"')


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names in ``known`` closest to ``name``, best first, at most ``most``."""
    import difflib

    return difflib.get_close_matches(name, sorted(known), n=most, cutoff=0.4)
