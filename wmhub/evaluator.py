"""A loaded checkpoint that scores candidates: what `from_pretrained` returns.

This file defines only the border between the model and the search so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Sequence

import numpy as np


@dataclass(frozen=True)
class Scores:
    """What the model thinks of N candidates of one workload."""

    score: np.ndarray
    """float32 [N], higher is better; the difference of two scores approximates the natural
    logarithm of the ratio of their latencies."""
    uncertainty: np.ndarray
    """float32 [N], standard deviation of ``score``, same unit."""
    embedding: np.ndarray
    """float32 [N, E]: terminal latent of each candidate, on which an online head adapts."""


class WorkloadScorer(Protocol):
    """Scores candidates of one MetaSchedule workload."""

    def score_traces(self, traces: Sequence[Any]) -> Scores:
        """Scores parsed traces, each ``[instructions, decisions]`` as ``Trace.as_json()`` gives.

        Everything from ``EnterPostproc`` on is ignored.
        """
        ...

    def score_decisions(
        self, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
    ) -> Scores:
        """Scores many settings of one design-space trace.

        ``instructions`` are those of ``Trace.as_json()``; each item of ``decisions`` is a full list
        of ``[instruction index, value]``, in the same order for all.
        """
        ...
