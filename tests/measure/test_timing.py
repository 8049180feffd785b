from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import InvalidInputError
from wmhub.measure.timing import ProgramTimer, TimingPlan, excess_of, rounds


class Clock:
    """A program of a constant duration, and what was asked of it."""

    def __init__(self, seconds: float, disturbed: Sequence[float] = ()) -> None:
        self.seconds = seconds
        self.disturbed = list(disturbed)
        self.singles = 0
        self.many: list[tuple[int, int]] = []

    def once(self) -> float:
        self.singles += 1
        return self.seconds

    def repeated(self, number: int, repeats: int) -> list[float]:
        self.many.append((number, repeats))
        factor = self.disturbed.pop(0) if self.disturbed else 1.0
        return [self.seconds * factor] * repeats

    def timer(self, plan: TimingPlan | None = None) -> ProgramTimer:
        return ProgramTimer(self.once, self.repeated, plan or TimingPlan())


def timed(clock: Clock, plan: TimingPlan | None = None, best: float | None = None) -> list[float]:
    """The timings of one program alone."""
    timer = clock.timer(plan)
    for ((_, step),) in rounds({0: timer}, plan or TimingPlan(), best, lambda _: None):
        step()
    assert timer.is_settled
    return timer.seconds


def test_a_short_program_runs_often_enough_to_fill_a_block() -> None:
    clock = Clock(1e-5)
    assert timed(clock, TimingPlan(block_seconds=0.02)) == [1e-5] * 3
    assert clock.many[-1] == (2000, 3)


def test_a_run_longer_than_a_block_is_a_timing_by_itself() -> None:
    clock = Clock(0.05)
    assert timed(clock) == [0.05] * 3
    assert clock.many == [(1, 1)] * 3


def test_a_slow_candidate_is_run_twice() -> None:
    clock = Clock(0.05)
    assert timed(clock, best=0.01) == [0.05]
    assert clock.singles == 2
    assert clock.many == []


def test_a_very_slow_candidate_is_not_run_again() -> None:
    clock = Clock(2.0)
    assert timed(clock, best=0.01) == [2.0]
    assert clock.singles == 1


def test_a_very_slow_first_candidate_has_no_runs_that_do_not_count() -> None:
    clock = Clock(2.0)
    assert timed(clock) == [2.0] * 3
    assert clock.singles == 4
    assert clock.many == []


def test_a_short_first_run_never_counts_as_slow() -> None:
    assert len(timed(Clock(2e-3), best=1e-6)) == 3


def test_candidates_are_compared_with_the_fastest_of_their_batch() -> None:
    clocks = {"slow": Clock(0.1), "fast": Clock(0.01)}
    plan = TimingPlan()
    timers = {name: clock.timer(plan) for name, clock in clocks.items()}
    for steps in rounds(timers, plan, None, lambda _: None):
        for _, step in steps:
            step()
    assert {name: len(timer.seconds) for name, timer in timers.items()} == {"slow": 1, "fast": 3}


def test_timings_are_taken_in_rounds_that_are_spread_over_time() -> None:
    plan = TimingPlan(round_seconds=5.0)
    timers = {name: Clock(0.01).timer(plan) for name in "ab"}
    order: list[str] = []
    pauses: list[float] = []
    for steps in rounds(timers, plan, None, pauses.append):
        order += [name for name, _ in steps]
        for _, step in steps:
            step()
    assert order == list("ab" * 4)
    # The first looks are not timings: nothing waits for them.
    assert pauses == [0.0, pytest.approx(5.0, abs=0.5), pytest.approx(5.0, abs=0.5)]


def test_disturbed_timings_are_outvoted_and_everything_is_kept() -> None:
    # The first call of run_many only finds the number of runs.
    clock = Clock(1e-3, disturbed=[1.0, 1.4, 1.4, 1.0])
    seconds = timed(clock)
    assert [round(second * 1e3, 1) for second in seconds] == [1.4, 1.4, 1.0, 1.0, 1.0]
    assert sorted(seconds)[2] == pytest.approx(1e-3)


def test_noise_that_does_not_end_is_given_up() -> None:
    clock = Clock(1e-3, disturbed=[1.0, *([1.0, 2.0, 3.0] * 5)])
    assert len(timed(clock)) == 9


def test_first_sights_that_decide_are_apart() -> None:
    plan = TimingPlan(rounds=1, round_seconds=5.0, once_ratio=1.1)
    pauses: list[float] = []
    for ((_, step),) in rounds({0: Clock(0.01).timer(plan)}, plan, None, pauses.append):
        step()
    assert pauses == [pytest.approx(5.0, abs=0.5)]


def test_who_is_behind_at_both_first_sights_is_timed_once() -> None:
    plan = TimingPlan(rounds=2, once_ratio=1.1)
    assert timed(Clock(1.2e-3), plan, best=1e-3) == [1.2e-3]
    assert len(timed(Clock(1.05e-3), plan, best=1e-3)) == 2
    # One of the two may be the machine's fault.
    assert len(timed(Clock(1e-3, disturbed=[1.0, 1.5]), plan, best=1e-3)) > 1
    assert len(timed(Clock(1e-3, disturbed=[1.5, 1.0]), plan, best=1e-3)) > 1


def test_only_who_may_be_the_best_is_timed_until_it_agrees() -> None:
    plan = TimingPlan(rounds=2, extra_rounds=4, close_ratio=1.3)
    noise = [1.0, *([1.0, 2.0, 3.0] * 5)]
    assert len(timed(Clock(2e-3, disturbed=noise), plan, best=1e-3)) == 2
    assert len(timed(Clock(1.2e-3, disturbed=noise), plan, best=1e-3)) == 6
    # What the first looks make of the best is corrected by the rounds.
    clocks = {"luckless": Clock(1e-3, [2.0, 1.0, 1.0]), "other": Clock(1.8e-3, noise)}
    timers = {name: clock.timer(plan) for name, clock in clocks.items()}
    for steps in rounds(timers, plan, None, lambda _: None):
        for _, step in steps:
            step()
    assert {name: len(timer.seconds) for name, timer in timers.items()} == {
        "luckless": 2,
        "other": 2,
    }


def test_with_flushed_caches_each_block_is_one_run() -> None:
    clock = Clock(1e-5)
    timed(clock, TimingPlan(flush_cache=True))
    # After a first look, which is of empty caches as well.
    assert clock.many == [(1, 1), *[(1, 3)] * 3]


@given(st.floats(1e-8, 20.0), st.none() | st.floats(1e-8, 20.0))
def test_any_program_gets_positive_timings(seconds: float, best: float | None) -> None:
    clock = Clock(seconds)
    timings = timed(clock, best=best)
    assert timings
    assert min(timings) > 0
    assert all(number * seconds < 1.0 or number == 1 for number, _ in clock.many)


@given(st.lists(st.floats(1e-6, 10.0), min_size=1))
def test_excess_is_a_share(seconds: list[float]) -> None:
    assert excess_of(seconds) >= 0
    assert excess_of([seconds[0]] * 5) == 0


@pytest.mark.parametrize(
    "options",
    [{"rounds": 0}, {"blocks": 0}, {"block_seconds": 0.0}, {"slow_ratio": 1.0},
     {"close_ratio": 1.0}, {"spread": 0.0}, {"round_seconds": -1.0}, {"extra_rounds": -1}],
)  # fmt: skip
def test_nonsense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        TimingPlan(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.05, 2.0])
def test_with_emptied_caches_no_timing_is_of_warm_ones(seconds: float) -> None:
    clock = Clock(seconds)
    plan = TimingPlan(flush_cache=True)
    assert timed(clock, plan, best=0.01) == [seconds]
    assert timed(clock, plan) == [seconds] * 3
    assert clock.singles == 0
    assert {repeats for _, repeats in clock.many} <= {1, plan.blocks}
