"""``RowChoice``: rows of a dataset by when they were measured and how fast they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wmhub.dataset.reader import WorkloadRecords
from wmhub.errors import InvalidInputError

#: What ``RowChoice.rows`` looks at.
COLUMNS = ("run_seconds", "failure", "timestamp")


@dataclass(frozen=True)
class RowChoice:
    """Which rows of a dataset: those that ran and that all of this holds for."""

    before: float | None = None
    """Measured before this moment, Unix seconds, or at one that is not known."""
    below_seconds: float | None = None
    """Of a lower latency, in seconds."""
    within: float | None = None
    """At most so many times as slow as the best of their workload."""

    def __post_init__(self) -> None:
        if self.below_seconds is not None and not self.below_seconds > 0:
            raise InvalidInputError("a latency must be positive")
        if self.before is not None and math.isnan(self.before):
            raise InvalidInputError("a moment must be a number")
        if self.within is not None and not self.within >= 1:
            raise InvalidInputError("no row is faster than the best: within must be at least 1")

    def rows(self, records: WorkloadRecords) -> np.ndarray:
        """Which of a workload's N rows those are, bool [N]; needs `COLUMNS`."""
        latency = records.latency_seconds
        chosen = np.isfinite(latency)
        if self.below_seconds is not None:
            chosen &= latency < self.below_seconds
        if self.within is not None and chosen.any():
            chosen &= latency <= self.within * latency.min()
        if self.before is not None:
            moments = records.table["timestamp"].to_pylist()
            chosen &= np.asarray([m is None or m < self.before for m in moments], dtype=bool)
        return chosen
