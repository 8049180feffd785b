"""Keeps Python's garbage collector from what torch and TVM bring along: half a million objects.

It would go through all of them again and again, while they are imported and in a search, of which
it took a tenth.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
    was_frozen = gc.get_freeze_count() > 0
    gc.freeze()
    try:
        yield
    finally:
        # Whoever set something aside before wants it to stay there.
        if not was_frozen:
            gc.unfreeze()
