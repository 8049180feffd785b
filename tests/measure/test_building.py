from __future__ import annotations

from wmhub.measure.building import Patience


def test_a_build_may_take_a_multiple_of_what_is_usual() -> None:
    patience = Patience(timeout_seconds=30.0, ratio=12.0)
    for _ in range(7):
        patience.learn("dense", 0.5)
    # Too few to tell.
    assert patience.seconds("dense") == 30.0
    patience.learn("dense", 9.0)
    assert patience.seconds("dense") == 6.0
    for _ in range(30):
        patience.learn("dense", 0.01)
    assert patience.seconds("dense") == 4.0
    for _ in range(99):
        patience.learn("dense", 10.0)
    assert patience.seconds("dense") == 30.0


def test_without_a_ratio_only_the_time_limit_counts() -> None:
    patience = Patience(timeout_seconds=30.0)
    for _ in range(20):
        patience.learn("dense", 0.01)
    assert patience.seconds("dense") == 30.0


def test_what_is_usual_is_known_of_each_group() -> None:
    patience = Patience(timeout_seconds=30.0, ratio=12.0)
    for _ in range(20):
        patience.learn("softmax", 0.1)
    assert patience.seconds("softmax") == 4.0
    assert patience.seconds("convolution") == 30.0
