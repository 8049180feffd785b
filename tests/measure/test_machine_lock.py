from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from wmhub.errors import MeasureError
from wmhub.measure.lock import MachineLock, Turn


def test_many_build_at_once_but_none_beside_a_timing(tmp_path: Path) -> None:
    first, second = (MachineLock(tmp_path / "lock", timeout_seconds=0.05) for _ in range(2))
    with first.building(), second.building():
        pass
    with first.timing():
        with (
            pytest.raises(MeasureError, match="others have been building or measuring"),
            second.timing(),
        ):
            pass
        with pytest.raises(MeasureError), second.building():
            pass
    with first.building(), pytest.raises(MeasureError), second.timing():
        pass
    with second.timing():
        pass


def test_builders_that_come_and_go_let_a_timing_have_its_turn(tmp_path: Path) -> None:
    inside, done = threading.Event(), threading.Event()

    def build_on_and_on() -> None:
        mine = MachineLock(tmp_path / "lock")
        while not done.is_set():
            with mine.building():
                inside.set()
                time.sleep(0.05)

    # Two whose builds overlap: never is there a moment without one.
    builders = [threading.Thread(target=build_on_and_on) for _ in range(2)]
    for number, builder in enumerate(builders):
        builder.start()
        time.sleep(0.025 * (1 - number))
    assert inside.wait(10)
    try:
        with MachineLock(tmp_path / "lock", timeout_seconds=20.0).timing():
            pass
    finally:
        done.set()
        for builder in builders:
            builder.join(10)


def test_the_lock_follows_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), MachineLock(tmp_path / "lock").timing():
        pass
    assert victim.read_text() == "mine"


def test_a_turn_is_waited_for_and_given_on(tmp_path: Path) -> None:
    lock = MachineLock(tmp_path / "lock")
    path = lock.turn()
    assert len({path, lock.turn("cuda-0"), lock.turn("cuda-1")}) == 3
    order: list[str] = []
    waiting = threading.Event()

    def other() -> None:
        waiting.set()
        with Turn(path).held():
            order.append("other")

    with Turn(path).held():
        thread = threading.Thread(target=other)
        thread.start()
        assert waiting.wait(10)
        thread.join(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]
