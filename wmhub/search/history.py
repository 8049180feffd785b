"""What a tuning run has measured so far, and when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from wmhub.search.cost_model import latency_of
from wmhub.search.result import Trial

#: Fastest candidates of each task that are kept, to be measured again at the end.
FINALISTS = 4


@dataclass
class Budget:
    """When a run ends; asked before each batch."""

    seconds: float | None = None
    """Wall time since ``started`` after which no batch begins; ``None`` for no limit."""
    trials: float = math.inf
    """Candidates of all tasks together that may still be measured."""
    started: float = field(default_factory=time.monotonic)
    interrupted: bool = False
    """Set by Ctrl-C: the batch at work is finished and kept, and no other begins."""

    def interrupt(self) -> None:
        """Lets no further batch begin."""
        self.interrupted = True

    @property
    def elapsed(self) -> float:
        """Seconds since ``started``."""
        return time.monotonic() - self.started

    @property
    def spent(self) -> bool:
        """Whether no further batch may begin."""
        is_late = self.seconds is not None and self.elapsed >= self.seconds
        return self.interrupted or is_late or self.trials < 1

    def allotted(self, batch: Sequence[Any]) -> Sequence[Any]:
        """As much of ``batch`` as may be measured now, which counts as measured."""
        if self.spent:
            return ()
        if len(batch) > self.trials:
            batch = batch[: int(self.trials)]
        self.trials -= len(batch)
        return batch


@dataclass(frozen=True)
class TuneProgress:
    """The state of a run after a batch."""

    task: str
    """NamedWorkload of the batch."""
    history: Sequence[Trial]
    """All trials so far."""
    elapsed_s: float
    """Seconds since the run began."""


OnProgress = Callable[[TuneProgress], None]


class History:
    """Every trial of a run, and the best schedule of each task."""

    def __init__(self, budget: Budget, on_progress: OnProgress | None) -> None:
        self.trials: list[Trial] = []
        self.finalists: dict[str, list[tuple[float, Any]]] = {}
        """Task -> latency in seconds and schedule of its fastest candidates, best first."""
        self.notes: list[str] = []
        """Sentences for people: what did not go as it should."""
        self._budget = budget
        self._on_progress = on_progress

    def add(
        self,
        task: str,
        candidates: Sequence[Any],
        errors: Sequence[str | None],
        results: Sequence[Any],
    ) -> None:
        """Takes in a measured batch of ``task``."""
        elapsed = self._budget.elapsed
        for candidate, error, result in zip(candidates, errors, results, strict=True):
            seconds = latency_of(result)
            ran = not math.isnan(seconds)
            self.trials.append(Trial(task, seconds if ran else None, elapsed, error))
            if ran:
                best = [*self.finalists.get(task, ()), (seconds, candidate.sch)]
                self.finalists[task] = sorted(best, key=itemgetter(0))[:FINALISTS]
        if self._on_progress is not None:
            self._on_progress(TuneProgress(task, self.trials, elapsed))
