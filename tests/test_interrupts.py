from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from wmhub.interrupts import interruptible, sparing_children


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_asks_and_the_second_interrupts(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    asked: list[str] = []
    with interruptible(lambda: asked.append("end")) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert asked == ["end"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert asked == ["end"]
    told = capsys.readouterr()
    assert told.err == "\rfinishing the work at hand; once more ends at once\n"
    assert not told.out


def test_where_no_one_can_be_told_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as cannot_be_written:
        for stream in (None, cannot_be_written):
            monkeypatch.setattr("sys.stderr", stream)
            with interruptible() as stop:
                os.kill(os.getpid(), signal.SIGINT)
                assert stop()


def test_in_another_thread_it_is_left_to_whoever_started_that() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[bool] = []

    def work() -> None:
        with interruptible() as stop:
            seen.append(signal.getsignal(signal.SIGINT) is before and not stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_children_are_spared() -> None:
    with sparing_children():
        sleeping = subprocess.Popen(["sleep", "0.3"])
    for number in (signal.SIGINT, signal.SIGTERM):
        sleeping.send_signal(number)
    assert sleeping.wait() == 0
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}
