"""How long a program is run, and what is kept of it: decisions only, no TVM and no clock."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wmhub.errors import InvalidInputError

#: Below this a first run is so short that cold caches and thread start-up rule it, in seconds.
_COLD_SECONDS = 5e-3


@dataclass(frozen=True)
class TimingPlan:
    """How much measuring a candidate gets."""

    repeats: int = 3
    """Timings of a good candidate; each is the mean over enough runs to fill ``repeat_seconds``."""
    repeat_seconds: float = 0.02
    """Least duration of one timing, in seconds."""
    slow_ratio: float = 3.0
    """A candidate this many times slower than the best of its workload is timed only once more."""
    spread: float = 0.08
    """Timings that differ by more than this share of their median are outliers: measured again."""
    extra_rounds: int = 2
    """How often such a candidate is measured again, at most."""
    flush_cache: bool = False
    """Whether caches are emptied before each run; every timing is then a single run."""

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.extra_rounds < 0:
            raise InvalidInputError("repeats must be at least 1 and extra_rounds at least 0")
        if not (self.repeat_seconds > 0 and self.slow_ratio > 1 and self.spread > 0):
            raise InvalidInputError(
                "repeat_seconds and spread must be positive and slow_ratio above 1"
            )


def spread_of(seconds: Sequence[float]) -> float:
    """Distance between the quartiles as a share of the median; for few timings, of the extremes."""
    if len(seconds) < 4:
        return (max(seconds) - min(seconds)) / statistics.median(seconds)
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (high - low) / middle


def time_program(
    run_once: Callable[[], float],
    run_many: Callable[[int, int], Sequence[float]],
    plan: TimingPlan,
    best_seconds: float | None,
) -> list[float]:
    """Timings of one program in seconds, every one that counts.

    ``run_once()`` gives the duration of a single run; ``run_many(number, repeats)`` gives
    ``repeats`` means over ``number`` runs each, after one run that does not count.
    ``best_seconds`` is the best latency of the workload so far.
    """
    first = run_once()
    if best_seconds is not None and first > max(plan.slow_ratio * best_seconds, _COLD_SECONDS):
        # The first run also paid for cold caches, unless it is so long that this cannot show.
        return [first if first > 100 * _COLD_SECONDS else run_once()]
    number = 1
    if not plan.flush_cache and first < plan.repeat_seconds:
        probe = max(1, int(_COLD_SECONDS / 2 / first))
        estimate = max(run_many(probe, 1)[0], 1e-9)
        number = max(1, math.ceil(plan.repeat_seconds / estimate))
    repeats = max(plan.repeats, 10) if plan.flush_cache else plan.repeats
    seconds = list(run_many(number, repeats))
    for _ in range(plan.extra_rounds):
        if len(seconds) < 2 or spread_of(seconds) <= plan.spread:
            break
        seconds += run_many(number, repeats)
    return seconds
