from __future__ import annotations

import threading
import time

import pytest

from wmhub.measure import child


def spinning(seconds: float) -> threading.Thread:
    """A thread that looks for work, and finds none, for so long."""

    def spin() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    return thread


def test_threads_that_look_for_work_are_waited_for() -> None:
    thread = spinning(0.1)
    child.wait_for_threads()
    assert not thread.is_alive()


def test_threads_that_sleep_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # As good as for ever, if it waited.
    monkeypatch.setattr(child, "_SPIN_SECONDS", 1e6)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    child.wait_for_threads()
    assert thread.is_alive()
    end.set()
    thread.join()


def test_a_thread_that_never_sleeps_is_not_waited_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "_SPIN_SECONDS", 0.05)
    thread = spinning(2.0)
    child.wait_for_threads()
    assert thread.is_alive()
    thread.join()
