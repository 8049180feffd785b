"""Keeps Python's garbage collector from what torch and TVM bring along: half a million objects.

It would go through all of them again and again, while they are imported and in a search, of which
it took a tenth.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: How many are in `set_aside`, one within the other, and how often it was done.
_depth = _times = 0


@contextmanager
def uncollected() -> Iterator[None]:
    """Meanwhile nothing is collected: for imports, which leave no garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Meanwhile what there is already is no garbage; what comes is collected as ever."""
    global _depth, _times
    if not _depth:
        if _times:
            # Of what the last time left behind; the first time there is none to speak of.
            gc.collect()
        gc.freeze()
        _times += 1
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            gc.unfreeze()
