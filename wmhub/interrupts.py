"""Ctrl-C that asks for an end after the work at hand, and does not break it off."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible(asked: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Meanwhile the first Ctrl-C calls ``asked``, and a second one raises ``KeyboardInterrupt``.

    Gives what tells whether there was one.
    """
    was_asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal was_asked
        if was_asked:
            raise KeyboardInterrupt
        was_asked = True
        asked()

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # Not the main thread: whoever started it decides what Ctrl-C means.
        yield lambda: False
        return
    try:
        yield lambda: was_asked
    finally:
        signal.signal(signal.SIGINT, before)
