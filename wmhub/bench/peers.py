"""What takes the world model's place in the ablations of ``wmhub bench search``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.evaluator import LatentSpace, Scores, Settings, WorkloadScorer
from wmhub.names import HardwareKey
from wmhub.records import Workload
from wmhub.search.learner import Learner, WorkloadLearner
from wmhub.search.posterior import Posterior

_WIDTH = 96


class RandomScorer:
    """Scores that say nothing, different for each candidate."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def score_traces(self, traces: Sequence[Any]) -> Scores:
        """As ``WorkloadScorer``."""
        return self._scores(len(traces))

    def score_decisions(
        self, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
    ) -> Scores:
        """As ``WorkloadScorer``."""
        return self._scores(len(decisions))

    def score_spaces(self, spaces: Sequence[Settings]) -> Scores:
        """As ``WorkloadScorer``."""
        return self._scores(sum(len(decisions) for _, decisions in spaces))

    def _scores(self, count: int) -> Scores:
        score = self._random.normal(size=count).astype(np.float32)
        return _without_trees(score, np.zeros((count, 1), np.float32))


class FeatureScorer:
    """No opinion; the latent holds the decisions themselves, as logarithms, and the sketch."""

    def __init__(self) -> None:
        self._sketches: dict[str, int] = {}

    def score_traces(self, traces: Sequence[Any]) -> Scores:
        """As ``WorkloadScorer``."""
        return self.score_spaces(
            [Settings(instructions, [chosen]) for instructions, chosen in traces]
        )

    def score_decisions(
        self, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
    ) -> Scores:
        """As ``WorkloadScorer``."""
        return self.score_spaces([Settings(instructions, decisions)])

    def score_spaces(self, spaces: Sequence[Settings]) -> Scores:
        """As ``WorkloadScorer``."""
        features = np.concatenate([self._features(*space) for space in spaces])
        return _without_trees(np.zeros(len(features), np.float32), features)

    def _features(
        self, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
    ) -> np.ndarray:
        names = " ".join(str(instruction[0]) for instruction in instructions)
        features = np.zeros((len(decisions), _WIDTH), np.float32)
        features[:, 0] = self._sketches.setdefault(names, len(self._sketches))
        for row, chosen in zip(features, decisions, strict=True):
            numbers: list[float] = []
            for _, value in chosen:
                numbers.extend(value if isinstance(value, list) else [value + 3])
            kept = np.log2(np.maximum(np.asarray(numbers[: _WIDTH - 1], np.float64), 1))
            row[1 : 1 + len(kept)] = kept
        return features


def _without_trees(score: np.ndarray, latents: np.ndarray) -> Scores:
    count = len(score)
    return Scores(score, np.ones(count, np.float32), latents, np.zeros((count, 0), np.uint8))


class Peer:
    """An evaluator that needs no checkpoint: ``random`` or ``features``."""

    def __init__(self, name: str, hardware: HardwareKey, seed: int) -> None:
        self.name = name
        self.hardware = hardware
        self.latents = LatentSpace(name, 1 if name == "random" else _WIDTH, 0)
        self._seed = seed

    def for_workload(self, program: str) -> WorkloadScorer:
        """As ``Evaluator``."""
        return RandomScorer(self._seed) if self.name == "random" else FeatureScorer()


class BoostedWorkload(WorkloadLearner):
    """Gradient boosting on the decisions, trained anew after each batch, as TVM's ``XGBModel`` is.

    Ranks at random until something is measured. TVM's model reads features of the lowered program,
    which would mean lowering each of the thousands of candidates; this one reads the decisions.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(FeatureScorer(), Posterior(), adapt=False)
        self._random = np.random.default_rng(seed)
        self._features: list[np.ndarray] = []
        self._latency: list[float] = []
        self._booster: Any = None

    def update(self, scores: Scores, latency: np.ndarray) -> None:
        """Trains on everything measured so far."""
        import xgboost

        self._features.extend(scores.embedding)
        self._latency.extend(latency.tolist())
        seconds = np.asarray(self._latency)
        ran = np.isfinite(seconds)
        if not ran.any():
            return
        # Label as TVM's: best over own latency, so that failures are 0.
        label = np.where(ran, seconds[ran].min() / np.where(ran, seconds, 1.0), 0.0)
        self._booster = xgboost.train(
            {"max_depth": 6, "eta": 0.1, "lambda": 1.0, "nthread": 1},
            xgboost.DMatrix(np.asarray(self._features), label),
            num_boost_round=200,
        )

    def predict(self, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
        """Predicted label, taken at its word; before there is one, anything."""
        count = len(scores.score)
        if self._booster is None:
            return self._random.normal(size=count), np.ones(count)
        import xgboost

        predicted = self._booster.predict(xgboost.DMatrix(scores.embedding))
        # A deviation would have the search draw from its ranking instead of taking the best.
        return np.asarray(predicted, np.float64), np.zeros(count)

    def covariance(self, scores: Scores) -> np.ndarray:
        """Zero: a batch is the best predicted ones."""
        return np.zeros((len(scores.score), len(scores.score)))


class BoostedLearner(Learner):
    """A learner whose workloads are ``BoostedWorkload``."""

    def __init__(self, hardware: HardwareKey, seed: int) -> None:
        super().__init__(Peer("features", hardware, seed))
        self._seed = seed
        self._boosted: dict[str, BoostedWorkload] = {}

    def workload(self, workload: Workload) -> WorkloadLearner:
        """The one learner of the workload."""
        return self._boosted.setdefault(workload.id, BoostedWorkload(self._seed))
