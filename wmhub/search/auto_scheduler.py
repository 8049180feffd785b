"""A checkpoint as the cost model of the classic AutoScheduler (Ansor) of TVM 0.8 to 0.19.

``SketchPolicy(task, program_cost_model=from_pretrained(name).auto_scheduler_model())``

Importable without any TVM, and in the grammar of Python 3.8, the oldest that such a TVM runs on.
Candidates are known by their transform steps, which are taken from the text of a measure record:
the state objects show no fields to Python, and serialising is a hundred times faster than TVM's
features.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from wmhub.errors import InvalidInputError, MissingDependencyError
from wmhub.evaluator import LatentSpace, Scores
from wmhub.names import HardwareKey
from wmhub.search.learner import Posteriors, SpeedRatios
from wmhub.tvm_compat import is_tvm_here, tvm_versions

#: Score of a state that cannot be expressed: at or below -1e10 Ansor drops it.
_DISCARD = float("-inf")


class StepsEvaluator(Protocol):
    """The part of ``wmhub.evaluator.Evaluator`` that the classic AutoScheduler needs."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def hardware(self) -> HardwareKey:
        """What it was trained on."""
        ...

    @property
    def latents(self) -> LatentSpace:
        """Where its candidates lie."""
        ...

    def score_steps(self, workload_key: str, steps: Sequence[Sequence[Any]]) -> Scores:
        """Scores candidates of one workload, each its list of transform steps."""
        ...


def auto_scheduler_model(evaluator: StepsEvaluator, adapt: bool = True) -> Any:
    """The ``PythonBasedModel`` of ``evaluator``; with ``adapt``, it learns from measurements.

    Raises ``MissingDependencyError`` where the installed TVM has no ``auto_scheduler``.
    """
    return _model_class(_auto_scheduler())(evaluator, adapt)


def _auto_scheduler() -> Any:
    try:
        return importlib.import_module("tvm.auto_scheduler")
    except ImportError as error:
        version = tvm_versions()["apache-tvm"]
        if version is not None:
            there = f"apache-tvm {version} is installed, which has none: "
        elif is_tvm_here():
            there = f"the TVM that is here cannot import it ({error}): "
        else:
            there = "no TVM is installed here: "
        raise MissingDependencyError(
            "auto_scheduler_model needs a TVM of 0.8 to 0.19 with tvm.auto_scheduler (removed from "
            f"TVM in 2025; no registry carries it). {there}build such a version from source, or "
            "use cost_model() with the MetaSchedule of TVM 0.25 to 0.27"
        ) from error


def _model_class(auto_scheduler: Any) -> type:
    """The class, made only here: its base exists only where such a TVM is installed."""
    base = importlib.import_module("tvm.auto_scheduler.cost_model.cost_model").PythonBasedModel

    class AutoSchedulerModel(base):  # type: ignore[misc, valid-type]
        """Scores states by a checkpoint, and by what was measured so far."""

        def __init__(self, evaluator: StepsEvaluator, adapt: bool) -> None:
            super().__init__()
            self._ranker = StepsRanker(evaluator, adapt)
            self._steps_of = StepsReader(auto_scheduler)
            self._name, self._hardware = evaluator.name, evaluator.hardware
            self._warned = False

        def predict(self, task: Any, states: Sequence[Any]) -> list[float]:
            """One score for each state, higher is better, positive and about 1 for the best. With a
            warning, once, for a target of another backend."""
            said = self._hardware.misfit(_target_kind(task))
            if said and not self._warned:
                self._warned = True
                warnings.warn(f"{self._name}: {said}", RuntimeWarning, stacklevel=2)
            steps = [self._steps_of.state(task, state) for state in states]
            predicted = self._ranker.predict(str(task.workload_key), steps)
            return [float(score) for score in predicted]

        def update(self, inputs: Sequence[Any], results: Sequence[Any]) -> None:
            """Learns from measurements; the pretrained weights stay as they are."""
            by_key: dict[str, list[tuple[list[Any], float]]] = {}
            for measured, result in zip(inputs, results):  # noqa: B905 (Python 3.8)
                steps = self._steps_of.measured(measured)
                if steps is not None:
                    key = str(measured.task.workload_key)
                    by_key.setdefault(key, []).append((steps, _latency(result)))
            for key, rows in by_key.items():
                self._ranker.update(key, [row[0] for row in rows], [row[1] for row in rows])

        def update_from_file(self, file_name: str, n_lines: int | None = None) -> None:
            """Learns from the first ``n_lines`` of a log, as TVM's ``XGBModel`` does."""
            inputs, results = auto_scheduler.RecordReader(file_name).read_lines(n_lines)
            self.update(inputs, results)

        def predict_stages(self, task: Any, states: Sequence[Any]) -> np.ndarray:
            """The scores, then for each state that it has no scores of stages. float64 [2 N].

            The model judges whole programs. So answers TVM's ``XGBModel`` before it has learned:
            any other number of stages TVM would compare with its own.
            """
            return np.concatenate([self.predict(task, states), np.zeros(len(states))])

        def save(self, file_name: str) -> None:
            """Writes what was learned; ``load`` takes it up."""
            self._ranker.posteriors.save(file_name)

        def load(self, file_name: str) -> None:
            """Takes up what ``save`` wrote."""
            self._ranker.load(file_name)

    return AutoSchedulerModel


class StepsRanker:
    """Scores of steps as Ansor wants them; knows nothing of TVM."""

    def __init__(self, evaluator: StepsEvaluator, adapt: bool) -> None:
        self.posteriors = Posteriors(evaluator.latents)
        self._evaluator = evaluator
        self._adapt = adapt
        self._ratios = SpeedRatios()

    def predict(self, key: str, steps: Sequence[list[Any] | None]) -> np.ndarray:
        """Expected best latency over latency, float64 [N]; minus infinity where steps are ``None``
        or no schedule. Raises ``InvalidInputError`` where those of no candidate are one, or all are
        ``None``: without a single score Ansor would search for ever.
        """
        predicted = np.full(len(steps), _DISCARD)
        known, scores = self._scored(key, steps)
        if scores is None:
            return predicted
        mean = np.asarray(scores.score, np.float64)
        if self._adapt:
            mean, _ = self.posteriors.of(key).predict(scores)
        predicted[known] = self._ratios.of(key, mean)
        return predicted

    def update(self, key: str, steps: Sequence[list[Any] | None], latency: Sequence[float]) -> None:
        """Takes in measured candidates: seconds, NaN for a failed one. Those that are no schedule
        teach nothing."""
        try:
            known, scores = self._scored(key, steps)
        except InvalidInputError:
            return
        if scores is not None:
            self.posteriors.of(key).update(scores, np.asarray(latency)[known])
            self._ratios.forget(key)

    def load(self, path: str) -> None:
        """Takes up what the posteriors saved."""
        self.posteriors.load(path)
        self._ratios = SpeedRatios()

    def _scored(
        self, key: str, steps: Sequence[list[Any] | None]
    ) -> tuple[list[int], Scores | None]:
        """Positions of the candidates that can be replayed, and their scores, if there are any."""
        known = [index for index, candidate in enumerate(steps) if candidate is not None]
        if not known and steps:
            raise InvalidInputError(f"this TVM tells the steps of none of {len(steps)} candidates")
        if not known:
            return [], None
        try:
            return known, self._evaluator.score_steps(key, [steps[at] or [] for at in known])
        except InvalidInputError:
            known = [at for at in known if self._is_sound(key, steps[at] or [])]
            if not known:
                raise
        return known, self._evaluator.score_steps(key, [steps[at] or [] for at in known])

    def _is_sound(self, key: str, steps: list[Any]) -> bool:
        try:
            self._evaluator.score_steps(key, [steps])
        except InvalidInputError:
            return False
        return True


class StepsReader:
    """The transform steps of a state, as they stand in the text of a measure record."""

    def __init__(self, auto_scheduler: Any) -> None:
        self._input = auto_scheduler.MeasureInput
        self._record = importlib.import_module("tvm.auto_scheduler.measure_record")
        api = importlib.import_module("tvm.auto_scheduler._ffi_api")
        self._serialize = getattr(api, "SerializeMeasureInput", None)
        # Any result will do: only the input's half of the record is read.
        self._result = auto_scheduler.MeasureResult([0.0], 0, "", 0.0, 0.0)

    def state(self, task: Any, state: Any) -> list[Any] | None:
        """Steps of ``state``; ``None`` where TVM cannot express it."""
        return self.measured(self._input(task, state))

    def measured(self, measured: Any) -> list[Any] | None:
        """Steps of a ``MeasureInput``; ``None`` where TVM cannot express it."""
        try:
            if self._serialize is not None:
                steps = json.loads(self._serialize(measured))[1][1]
            else:
                text = self._record.dump_record_to_string(measured, self._result)
                steps = json.loads(text)["i"][1][1]
        except (ValueError, KeyError, IndexError, TypeError, RuntimeError):
            return None
        return steps if isinstance(steps, list) else None


def _target_kind(task: Any) -> str:
    """``cuda`` or the like; empty where the task tells none."""
    target = getattr(task, "target", None)
    return str(getattr(getattr(target, "kind", None), "name", ""))


def _latency(result: Any) -> float:
    """Median seconds of a ``MeasureResult``; NaN where the candidate failed."""
    costs = [float(getattr(cost, "value", cost)) for cost in result.costs]
    if int(result.error_no) != 0 or not costs:
        return float("nan")
    return float(np.median(costs))
