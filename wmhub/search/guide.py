"""``ModelGuide``: what a checkpoint would measure next, for live collection.

A dataset of random candidates says little of the corner where a search ends, and nothing of what a
model wrongly takes for fast. Measured and learned from, its own choices mend it (as in DAgger, Ross
et al., AISTATS 2011).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wmhub.search.evolve import Evolution
from wmhub.search.learner import Learner
from wmhub.search.task_search import LatentSearchConfig, task_search

#: Smaller evolutions than those of a search, for many workloads and batches, and more exploration:
#: what is wanted is not the best candidate but what there is to know about the good ones.
COLLECTING = LatentSearchConfig(
    evolution=Evolution(population=768, generations=5, structures=64),
    later=Evolution(population=512, generations=4, structures=64),
    exploration=0.3,
    greedy=0.4,
)


class ModelGuide:
    """`wmhub.measure.sampling.Guide` of one workload: the search of ``learner``'s checkpoint, that
    learns from all that is measured."""

    def __init__(self, learner: Learner, context: Any, spaces: Sequence[Any], seed: int) -> None:
        """``context``: a ``TuneContext`` whose design spaces are ``spaces``."""
        self._search = task_search(context, learner, COLLECTING, spaces, seed)
        self._measured: list[tuple[Any, float]] = []

    def propose(self, count: int) -> Sequence[Any]:
        """See `Guide.propose`."""
        # All at once: how uncertain a candidate is shows beside others only.
        self._search.resume(self._measured)
        self._measured.clear()
        return [schedule for _, schedule in self._search.batch(count)]

    def learn(self, trace: Any, seconds: float | None) -> None:
        """See `Guide.learn`."""
        self._measured.append((trace, math.nan if seconds is None else seconds))
