"""Python processes that this one starts: they import what it imports, and nothing else.

Python itself looks first in the current directory, which is the user's, and may hold anything: a
file ``torch.py`` there would run in place of torch.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where this package is imported from.
_ROOT = str(Path(__file__).resolve().parents[1])
#: Held while the environment is another one: threads that undo it in turn would leave it so.
_CHANGED = threading.RLock()


def code_command(code: str) -> list[str]:
    """The command line that runs ``code``."""
    # `sys` is built in: nothing is looked for before the path is right.
    return [sys.executable, "-c", f"import sys; sys.path[:] = {_path()!a}\n{code}"]


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs ``module`` as ``python -m`` would."""
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [*code_command(run), *arguments]


@contextmanager
def safely_started() -> Iterator[None]:
    """For processes that others start meanwhile, such as Python's own pools.

    Python 3.10 cannot be told so: there they still look in the current directory.
    """
    told = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(_path())}
    with _CHANGED:
        before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _path() -> list[str]:
    """Where this process imports from, but for the current directory as such."""
    path = [entry for entry in sys.path if entry]
    return path if _ROOT in path else [*path, _ROOT]
