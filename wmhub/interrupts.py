"""Ctrl-C and SIGTERM that ask for an end after the work at hand, and do not break it off."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(asked: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Meanwhile the first Ctrl-C calls ``asked``, and a second one raises ``KeyboardInterrupt``; so
    does SIGTERM, by which supervisors end what has had its time. The first says on standard error
    what comes of it.

    Gives what tells whether there was one.
    """
    was_asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal was_asked
        if was_asked:
            raise KeyboardInterrupt
        was_asked = True
        asked()
        _tell()

    try:
        before = {number: signal.signal(number, ask) for number in _SIGNALS}
    except ValueError:  # Not the main thread: whoever started it decides what Ctrl-C means.
        yield lambda: False
        return
    try:
        yield lambda: was_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def sparing_children() -> Iterator[None]:
    """Processes that are started meanwhile never hear of Ctrl-C or SIGTERM: a terminal sends the
    one to all of its group. They inherit what this thread blocks; this process itself hears of them
    where it has other threads."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tell() -> None:
    # A signal may come in the midst of another write, or when there is no one to read any: neither
    # may end the work.
    with suppress(Exception):
        # Over the ^C of a terminal.
        sys.stderr.write("\rfinishing the work at hand; once more ends at once\n")
        sys.stderr.flush()
