"""A checkpoint as the cost model of TVM's own MetaSchedule search.

``tune_tir(..., cost_model=from_pretrained(name).cost_model())`` and the same for ``tune_relax``
and ``tune_tasks``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.errors import InvalidInputError
from wmhub.evaluator import Scores, Settings, WorkloadScorer
from wmhub.names import HardwareKey
from wmhub.search.contexts import workload_in
from wmhub.search.learner import Learner, SpeedRatios, WorkloadEvaluator, WorkloadLearner
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import last_line, plain, raw_trace, same_structure
from wmhub.tvm_compat import meta_schedule as ms

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


def _scored(scorer: WorkloadScorer, traces: Sequence[Any]) -> tuple[list[int], Scores]:
    """Which traces can be read, and their scores; raises ``InvalidInputError`` where none can.

    What cannot be read is a design space, with all of its candidates.
    """
    try:
        return list(range(len(traces))), score_traces(scorer, traces)
    except InvalidInputError:
        spaces: dict[int, list[int]] = {}
        for at, trace in enumerate(traces):
            spaces.setdefault(same_structure(raw_trace(trace)[0]), []).append(at)
        sound = [ats for ats in spaces.values() if _is_sound(scorer, [traces[at] for at in ats])]
        known = sorted(at for ats in sound for at in ats)
        if not known:
            raise
    return known, score_traces(scorer, [traces[at] for at in known])


def _is_sound(scorer: WorkloadScorer, traces: Sequence[Any]) -> bool:
    try:
        score_traces(scorer, traces)
    except InvalidInputError:
        return False
    return True


@derived_object
class WorldModelCost(ms.cost_model.PyCostModel):  # type: ignore[misc]
    """Scores candidates by a checkpoint, and by what was measured so far in this run."""

    def __init__(self, learner: Learner, hardware: HardwareKey | None = None) -> None:
        """``hardware``: what the targets of all searches should be for, if it matters."""
        super().__init__()
        self._learner, self._hardware = learner, hardware
        self._ratios = SpeedRatios()
        self._warned: set[str] = set()

    def predict(self, context: Any, candidates: Sequence[Any]) -> np.ndarray:
        """Expected best latency over latency, float64 [N]: positive, about 1 for the best.

        Candidates that the model cannot read count as middling, with a warning: of a whole network,
        one workload of such is no reason to stop. With a warning as well for a target of another
        backend.
        """
        predicted = np.ones(len(candidates))
        read = self._read(context, [candidate.sch.trace for candidate in candidates])
        if read is None:
            return predicted
        identity, workload, known, scores = read
        mean, _ = workload.predict(scores)
        told = self._ratios.of(identity, mean)
        predicted[:] = np.median(told)
        predicted[known] = told
        return predicted

    def update(self, context: Any, candidates: Sequence[Any], results: Sequence[Any]) -> None:
        """Takes in measurements; the pretrained weights stay as they are.

        TVM leaves out what could not be built, which may be the whole batch.
        """
        measured = zip(candidates, results, strict=True)
        self.recall(context, [(one.sch.trace, latency_of(result)) for one, result in measured])

    def recall(self, context: Any, measured: Sequence[tuple[Any, float]]) -> None:
        """Takes in traces of the context's workload with their seconds (NaN: failed)."""
        read = self._read(context, [trace for trace, _ in measured])
        if read is None:
            return
        identity, workload, known, scores = read
        workload.update(scores, np.asarray([measured[at][1] for at in known]))
        self._ratios.forget(identity)

    def save(self, path: str) -> None:
        """Writes what was learned from measurements; ``Learner.save``."""
        self._learner.save(path)

    def load(self, path: str) -> None:
        """Takes up what ``save`` wrote; ``Learner.load``."""
        self._learner.load(path)
        self._ratios = SpeedRatios()

    def _read(
        self, context: Any, traces: Sequence[Any]
    ) -> tuple[str, WorkloadLearner, list[int], Scores] | None:
        """The context's workload, which of its ``traces`` the model can read, and their scores;
        ``None`` where that is none."""
        if not traces:
            return None
        try:
            identity, workload = self._workload(context)
            known, scores = _scored(workload.scorer, traces)
        except InvalidInputError as error:
            self._warn(f"{context.task_name}: not read, and so not ranked: {last_line(error)}")
            return None
        if len(known) < len(traces):
            self._warn(f"{context.task_name}: some candidates are not read, and so not ranked")
        return identity, workload, known, scores

    def _warn(self, said: str) -> None:
        if said not in self._warned:
            self._warned.add(said)
            name = self._learner.evaluator.name
            warnings.warn(f"{name}: {said}", RuntimeWarning, stacklevel=2)

    def _workload(self, context: Any) -> tuple[str, WorkloadLearner]:
        kind = str(context.target.kind.name) if context.target is not None else ""
        if self._hardware is not None and (said := self._hardware.misfit(kind)):
            self._warn(said)
        workload = workload_in(context)
        return workload.id, self._learner.workload(workload)


def cost_model(evaluator: WorkloadEvaluator, adapt: bool = True) -> Any:
    """The ``CostModel`` for MetaSchedule that ``Evaluator.cost_model`` returns.

    ``adapt=False`` scores by the checkpoint alone, whatever is measured.
    """
    return WorldModelCost(Learner(evaluator, adapt), evaluator.hardware)
