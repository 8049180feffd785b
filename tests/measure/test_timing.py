from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import InvalidInputError
from wmhub.measure.timing import TimingPlan, spread_of, time_program


class Clock:
    """A program of a constant duration, and what was asked of it."""

    def __init__(self, seconds: float, noise: Sequence[float] = ()) -> None:
        self.seconds = seconds
        self.noise = list(noise)
        self.singles = 0
        self.many: list[tuple[int, int]] = []

    def once(self) -> float:
        self.singles += 1
        return self.seconds

    def repeated(self, number: int, repeats: int) -> list[float]:
        self.many.append((number, repeats))
        factors = [self.noise.pop(0) if self.noise else 1.0 for _ in range(repeats)]
        return [self.seconds * factor for factor in factors]


def test_a_short_program_runs_often_enough_to_fill_a_repeat() -> None:
    clock = Clock(1e-5)
    plan = TimingPlan(repeats=3, repeat_seconds=0.02)
    assert time_program(clock.once, clock.repeated, plan, None) == [1e-5] * 3
    assert clock.many[-1] == (2000, 3)


def test_a_slow_candidate_is_timed_only_once_more() -> None:
    clock = Clock(0.05)
    assert time_program(clock.once, clock.repeated, TimingPlan(), 0.01) == [0.05]
    assert clock.singles == 2
    assert clock.many == []


def test_a_very_slow_candidate_is_not_run_again() -> None:
    clock = Clock(2.0)
    assert time_program(clock.once, clock.repeated, TimingPlan(), 0.01) == [2.0]
    assert clock.singles == 1


def test_a_short_first_run_never_counts_as_slow() -> None:
    clock = Clock(2e-3)
    assert len(time_program(clock.once, clock.repeated, TimingPlan(), 1e-6)) == 3


def test_outliers_are_measured_again_and_everything_is_kept() -> None:
    # The first call of run_many only finds the number of runs.
    clock = Clock(1e-3, noise=[1.0, 1.0, 2.0, 1.0])
    seconds = time_program(clock.once, clock.repeated, TimingPlan(extra_rounds=2), None)
    assert len(seconds) == 6
    assert max(seconds) == 2e-3


def test_noise_that_does_not_end_is_given_up() -> None:
    clock = Clock(1e-3, noise=[1.0, *([1.0, 2.0, 3.0] * 5)])
    assert len(time_program(clock.once, clock.repeated, TimingPlan(extra_rounds=2), None)) == 9


def test_with_flushed_caches_each_timing_is_one_run() -> None:
    clock = Clock(1e-5)
    time_program(clock.once, clock.repeated, TimingPlan(flush_cache=True), None)
    assert clock.many == [(1, 10)]


@given(st.floats(1e-8, 20.0), st.none() | st.floats(1e-8, 20.0))
def test_any_program_gets_positive_timings(seconds: float, best: float | None) -> None:
    clock = Clock(seconds)
    timings = time_program(clock.once, clock.repeated, TimingPlan(), best)
    assert timings
    assert min(timings) > 0
    assert all(number * seconds < 1.0 or number == 1 for number, _ in clock.many)


@given(st.lists(st.floats(1e-6, 10.0), min_size=1))
def test_spread_is_a_share(seconds: list[float]) -> None:
    assert spread_of(seconds) >= 0
    assert spread_of([seconds[0]] * 5) == 0


@pytest.mark.parametrize(
    "options", [{"repeats": 0}, {"repeat_seconds": 0.0}, {"slow_ratio": 1.0}, {"spread": 0.0}]
)
def test_nonsense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        TimingPlan(**options)  # type: ignore[arg-type]
