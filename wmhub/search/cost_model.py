"""A checkpoint as the cost model of TVM's own MetaSchedule search.

``tune_tir(..., cost_model=from_pretrained(name).cost_model())`` and the same for ``tune_relax``
and ``tune_tasks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.evaluator import Scores, Settings, WorkloadScorer
from wmhub.measure.programs import workload_of
from wmhub.search.learner import Learner, SpeedRatios, WorkloadEvaluator, WorkloadLearner
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms
from wmhub.tvm_compat import plain, raw_trace, same_structure

#: Seconds from which on TVM means "failed" by a run time.
_FAILED_SECONDS = 1e9


def latency_of(result: Any) -> float:
    """Median seconds of a ``RunnerResult``; NaN where the candidate failed."""
    if result.error_msg is not None or not result.run_secs:
        return float("nan")
    seconds = float(np.median([float(second) for second in result.run_secs]))
    return seconds if 0 < seconds < _FAILED_SECONDS else float("nan")


def score_traces(scorer: WorkloadScorer, traces: Sequence[Any]) -> Scores:
    """Scores of TVM traces, in their order, uncertain beside each other.

    Candidates of one design space differ in their decisions alone, so the instructions are
    converted once for each space: that conversion costs more than the score.
    """
    spaces: dict[int, Any] = {}
    members: dict[int, list[int]] = {}
    decisions = []
    for index, trace in enumerate(traces):
        instructions, chosen = raw_trace(trace)
        key = same_structure(instructions)
        spaces.setdefault(key, instructions)
        members.setdefault(key, []).append(index)
        decisions.append(plain(chosen))
    scores = scorer.score_spaces(
        [
            Settings(plain(spaces[key]), [decisions[index] for index in indices])
            for key, indices in members.items()
        ]
    )
    return scores.at(np.argsort(np.concatenate(list(members.values()))))


@derived_object
class WorldModelCost(ms.cost_model.PyCostModel):  # type: ignore[misc]
    """Scores candidates by a checkpoint, and by what was measured so far in this run."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self._learner = learner
        self._ratios = SpeedRatios()

    def predict(self, context: Any, candidates: Sequence[Any]) -> np.ndarray:
        """Expected best latency over latency, float64 [N]: positive, about 1 for the best."""
        if not candidates:
            return np.zeros(0)
        identity, workload = self._workload(context)
        scores = score_traces(workload.scorer, [candidate.sch.trace for candidate in candidates])
        mean, _ = workload.predict(scores)
        return self._ratios.of(identity, mean)

    def update(self, context: Any, candidates: Sequence[Any], results: Sequence[Any]) -> None:
        """Takes in measurements; the pretrained weights stay as they are.

        TVM leaves out what could not be built, which may be the whole batch.
        """
        measured = zip(candidates, results, strict=True)
        self.recall(context, [(one.sch.trace, latency_of(result)) for one, result in measured])

    def recall(self, context: Any, measured: Sequence[tuple[Any, float]]) -> None:
        """Takes in traces of the context's workload with their seconds (NaN: failed)."""
        if not measured:
            return
        identity, workload = self._workload(context)
        scores = score_traces(workload.scorer, [trace for trace, _ in measured])
        workload.update(scores, np.asarray([seconds for _, seconds in measured]))
        self._ratios.forget(identity)

    def save(self, path: str) -> None:
        """Writes what was learned from measurements; ``Learner.save``."""
        self._learner.save(path)

    def load(self, path: str) -> None:
        """Takes up what ``save`` wrote; ``Learner.load``."""
        self._learner.load(path)
        self._ratios = SpeedRatios()

    def _workload(self, context: Any) -> tuple[str, WorkloadLearner]:
        workload = workload_of(context.mod)
        return workload.id, self._learner.workload(workload)


def cost_model(evaluator: WorkloadEvaluator, adapt: bool = True) -> Any:
    """The ``CostModel`` for MetaSchedule that ``Evaluator.cost_model`` returns.

    ``adapt=False`` scores by the checkpoint alone, whatever is measured.
    """
    return WorldModelCost(Learner(evaluator, adapt))
