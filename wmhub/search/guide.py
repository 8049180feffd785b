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
from wmhub.search.latent_config import LatentSearchConfig
from wmhub.search.learner import Learner
from wmhub.search.task_search import task_search

#: Smaller evolutions than those of a search, for many workloads and batches, and more exploration:
#: what is wanted is not the best candidate but what there is to know about the good ones.
COLLECTING = LatentSearchConfig(
    evolution=Evolution(population=768, generations=5, structures=64),
    later=Evolution(population=512, generations=4, structures=64),
    exploration=0.3,
    greedy=0.4,
)


class ModelGuide:
    """`wmhub.measure.sampling.Guide` of one workload: two searches of a checkpoint.

    One learns from what is measured, as a search does: it finds the good candidates. The other
    never does, and finds what the checkpoint itself wrongly takes for fast, which the first learns
    to keep away from: without a trial, that is what it would choose.
    """

    def __init__(self, learner: Learner, context: Any, spaces: Sequence[Any], seed: int) -> None:
        """``context``: a ``TuneContext`` whose design spaces are ``spaces``."""
        self._learning = task_search(context, learner, COLLECTING, spaces, seed)
        firm = Learner(learner.evaluator, adapt=False)
        self._firm = task_search(context, firm, COLLECTING, spaces, seed)
        self._measured: list[tuple[Any, float]] = []

    def propose(self, count: int) -> Sequence[Any]:
        """See `Guide.propose`."""
        # All at once: how uncertain a candidate is shows beside others only.
        self._learning.resume(self._measured)
        self._firm.pass_over(trace for trace, _ in self._measured)
        self._measured.clear()
        firm = self._firm.batch(count // 2)
        self._learning.leave_out(firm)
        learned = self._learning.batch(count - len(firm))
        self._firm.leave_out(learned)
        return [schedule for _, schedule in (*firm, *learned)]

    def learn(self, trace: Any, seconds: float | None) -> None:
        """See `Guide.learn`."""
        self._measured.append((trace, math.nan if seconds is None else seconds))
