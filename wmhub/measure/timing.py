"""How long programs are run, in what order, and what is kept of it.

On a machine that is shared, even below the operating system, a core is slower by half for
milliseconds to seconds at a time, unseen by any counter. Timings right after each other share such
a disturbance, and neither their mean nor their median shows it; what a program needs at best
repeats within 2 %. So the fastest of several short blocks is one timing, a program's timings are
taken in rounds over all programs at hand, and more rounds follow while they disagree.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from wmhub.errors import InvalidInputError

Key = TypeVar("Key")

#: Below this a first run is so short that cold caches and thread start-up rule it, in seconds.
_COLD_SECONDS = 5e-3
#: A ratio of latencies that none exceeds; infinity would not survive JSON.
ANY_RATIO = 1e9
#: Above this a run is not repeated where that can be helped, in seconds.
_LONG_SECONDS = 0.5


@dataclass(frozen=True)
class TimingPlan:
    """How much measuring a candidate gets."""

    rounds: int = 3
    """Timings of a good candidate."""
    extra_rounds: int = 6
    """How many more it gets while they disagree, at most."""
    round_seconds: float = 0.2
    """Least time from the beginning of one round to that of the next, in seconds."""
    blocks: int = 3
    """Blocks of runs in one timing, which is the mean of the fastest block."""
    block_seconds: float = 2e-3
    """Least duration of one block, in seconds. Where a run takes longer, fewer blocks do."""
    slow_ratio: float = 3.0
    """A candidate this many times slower than the best of its workload is run only twice."""
    close_ratio: float = 3.0
    """A candidate this many times slower than the best of its workload gets no extra rounds."""
    once_ratio: float = ANY_RATIO
    """A candidate this many times slower than the best of its workload, at the first look and in
    the first timing, gets no second."""
    spread: float = 0.05
    """Timings disagree while their median is above the least by more than this share."""
    flush_cache: bool = False
    """Whether caches are emptied before each run; every block is then a single run."""

    def __post_init__(self) -> None:
        if min(self.rounds, self.blocks) < 1 or self.extra_rounds < 0:
            raise InvalidInputError("rounds and blocks must be at least 1, extra_rounds at least 0")
        ratios = (self.slow_ratio, self.close_ratio, self.once_ratio)
        if self.round_seconds < 0 or not (
            self.block_seconds > 0
            and 1 < min(ratios) <= max(ratios) <= ANY_RATIO
            and self.spread > 0
        ):
            raise InvalidInputError(
                "block_seconds and spread must be positive, slow_ratio, close_ratio and once_ratio "
                f"above 1 and at most {ANY_RATIO:g}, and round_seconds not negative"
            )


class ProgramTimer:
    """The timings of one program."""

    def __init__(
        self,
        run_once: Callable[[], float],
        run_many: Callable[[int, int], Sequence[float]],
        plan: TimingPlan,
    ) -> None:
        """``run_once()`` gives the duration of a single run; ``run_many(number, repeats)`` gives
        ``repeats`` means over ``number`` runs each, after one run that does not count. Seconds."""
        self._run_once, self._run_many, self._plan = run_once, run_many, plan
        self._number = 1
        self._blocks = plan.blocks
        self._is_slow = False
        self._best = math.inf
        self.estimate = math.inf
        """What a first look says of one run's duration, in seconds."""
        self.seconds: list[float] = []
        """Every timing that counts, in seconds."""

    def begin(self) -> None:
        """Takes the first look."""
        self.estimate = self._once()
        if self.estimate > _LONG_SECONDS or self._plan.flush_cache:
            return
        # The first run also paid for cold caches.
        self.estimate = min(self.estimate, self._once())
        if self.estimate < _COLD_SECONDS:
            probe = max(1, int(_COLD_SECONDS / 2 / self.estimate))
            self.estimate = max(min(self._run_many(probe, 1)), 1e-9)
        self._number = math.ceil(self._plan.block_seconds / self.estimate)
        enough = self._plan.blocks * self._plan.block_seconds / (self._number * self.estimate)
        self._blocks = min(self._plan.blocks, max(1, round(enough)))

    def _once(self) -> float:
        """The duration of a single run; where caches are to be emptied, after that."""
        return min(self._run_many(1, 1)) if self._plan.flush_cache else self._run_once()

    @property
    def least(self) -> float:
        """The shortest duration that was seen, in seconds."""
        return min(self.seconds, default=self.estimate)

    def compare(self, best_seconds: float) -> None:
        """Takes note of the best latency of the workload so far.

        A program that is far slower at the first look is left at that.
        """
        self._best = best_seconds
        if not self.seconds and self.estimate > max(
            self._plan.slow_ratio * best_seconds, _COLD_SECONDS
        ):
            self._is_slow = True
            self.seconds = [self.estimate]

    def round(self) -> None:
        """Takes one timing."""
        if self.estimate > _LONG_SECONDS:
            self.seconds.append(self._once())
        else:
            self.seconds.append(min(self._run_many(self._number, self._blocks)))

    @property
    def is_settled(self) -> bool:
        """Whether no more timings are wanted."""
        if self._is_slow:
            return True
        if self.seconds and min(self.estimate, self.least) > self._plan.once_ratio * self._best:
            return True
        if len(self.seconds) < self._plan.rounds:
            return False
        if self.least > self._plan.close_ratio * self._best:
            return True
        most = self._plan.rounds + self._plan.extra_rounds
        return len(self.seconds) >= most or excess_of(self.seconds) <= self._plan.spread


def excess_of(seconds: Sequence[float]) -> float:
    """By what share the median of ``seconds`` is above the least."""
    return statistics.median(seconds) / min(seconds) - 1


def rounds(
    timers: Mapping[Key, ProgramTimer],
    plan: TimingPlan,
    best_seconds: float | None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[list[tuple[Key, Callable[[], None]]]]:
    """What is to be called, round after round, until all ``timers`` are settled.

    Each call comes with the key of its program. The first round are first looks. ``best_seconds``
    is the best latency of the workload so far. ``pause`` sleeps for a number of seconds.
    """
    # Where two sights decide, they must not share a disturbance.
    began = time.monotonic() if plan.once_ratio < ANY_RATIO else -math.inf
    yield [(key, timer.begin) for key, timer in timers.items()]
    best = math.inf if best_seconds is None else best_seconds
    while True:
        best = min([best, *(timer.least for timer in timers.values())])
        for timer in timers.values():
            timer.compare(best)
        waiting = [key for key, timer in timers.items() if not timer.is_settled]
        if not waiting:
            return
        pause(max(0.0, began + plan.round_seconds - time.monotonic()))
        began = time.monotonic()
        yield [(key, timers[key].round) for key in waiting]
