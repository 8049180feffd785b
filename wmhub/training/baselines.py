"""Baselines that are trained beside a model, on the training workloads of the same dataset.

Each is a `Baseline`: it is fitted to the training workloads and scores candidates of others. None
looks at a validation or test workload while it is trained, and none is tuned on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from wmhub.dataset.reader import Dataset
from wmhub.errors import InvalidInputError, WmhubError, nearest
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.config import ModelConfig
from wmhub.training.boosting import require_xgboost
from wmhub.training.config import TrainConfig
from wmhub.training.data import Candidates
from wmhub.training.evaluate import Ranking, rank

#: What ends a baseline and nothing else: errors of ours, of TVM, of XGBoost, and of a cache that
#: cannot be written.
FAILS = (WmhubError, RuntimeError, ValueError, OSError)

#: Called with what is being done, how much of it is done, and how much there is.
Preparing = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Setting:
    """What a baseline may know beside the training candidates."""

    dataset: Dataset
    """Where the candidates come from; for their traces and targets."""
    profile: HardwareProfile
    """The hardware that they were measured on."""
    cache: Path
    """Folder for what is expensive to derive and depends on the dataset alone."""
    steps: int = TrainConfig.steps
    """Optimiser steps of trained networks."""
    seed: int = 0
    """Of initial weights and of sampling."""
    threads: int = field(default_factory=torch.get_num_threads)
    """CPU threads."""
    progress: Preparing = lambda _what, _done, _total: None
    """Told how far a baseline is."""


class Baseline(Protocol):
    """Something that learns to order candidates."""

    def fit(self, train: Iterable[Candidates]) -> None:
        """Learns from all candidates of the training workloads, which may be gone through more than
        once: they are read anew each time, as all may not fit the memory."""
        ...

    def score(self, candidates: Candidates) -> np.ndarray:
        """float [N], higher is better, of candidates of a workload not trained on."""
        ...


class GradientBoosting:
    """XGBoost on the structured features; it learns best latency / latency of the workload."""

    def __init__(self, setting: Setting) -> None:
        require_xgboost()
        self._setting = setting
        self._booster: Any = None

    def fit(self, train: Iterable[Candidates]) -> None:
        """See `Baseline`; failed candidates have the label 0, and all workloads weigh the same."""
        import xgboost

        tables, labels, weights = [], [], []
        for candidates in train:
            tables.append(_structured(candidates))
            labels.append(relative_speed(candidates.latency))
            count = len(candidates.latency)
            weights.append(np.full(count, 1.0 / count))
        weight = np.concatenate(weights)
        data = xgboost.DMatrix(
            np.concatenate(tables), np.concatenate(labels), weight=weight / weight.mean()
        )
        rounds, setting = 400, self._setting
        options = {
            "eta": 0.05, "max_depth": 8, "subsample": 0.8, "colsample_bytree": 0.5,
            "min_child_weight": 2.0, "tree_method": "hist", "seed": setting.seed,
            "nthread": setting.threads,
        }  # fmt: skip
        booster = None
        for done in range(0, rounds, 50):
            setting.progress("gradient_boosting", done, rounds)
            # Each call begins its random numbers anew, so each gets a seed of its own.
            seeded = {**options, "seed": setting.seed + done}
            booster = xgboost.train(seeded, data, num_boost_round=50, xgb_model=booster)
        setting.progress("gradient_boosting", rounds, rounds)
        self._booster = booster

    def score(self, candidates: Candidates) -> np.ndarray:
        """See `Baseline`."""
        import xgboost

        return np.asarray(self._booster.predict(xgboost.DMatrix(_structured(candidates))))


class SequenceModel:
    """Attention over the actions alone, as in TLP: no rollout, no program, no features of nests."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._network: Any = None

    def fit(self, train: Iterable[Candidates]) -> None:
        """See `Baseline`; the weights are those of the last step, because nothing validates.

        It reads the same workloads where the trainer does, from the encoded dataset.
        """
        from wmhub.training.data import examples_of
        from wmhub.training.encoding import open_store
        from wmhub.training.loop import Loop
        from wmhub.training.run import new_network

        setting = self._setting
        config = replace(
            TrainConfig(),
            model=ModelConfig(dynamics="transformer", program=False, structured=False, parts=0),
            consistency_weight=0.0,
            steps=setting.steps,
            validate_every=setting.steps,
            seed=setting.seed,
        )
        store = open_store(setting.dataset, setting.profile, setting.cache / "encoded")
        stored = store.split("train")
        examples = [[examples_of(workload, config.worst_gain, None) for workload in stored]]
        network = new_network(config, setting.profile, examples)

        def watch(step: int, steps: int, _loss: float, _looked: object) -> None:
            setting.progress("sequence_model", step, steps)

        # The loop keeps its best validation: here there is one, at the end, on what was trained on.
        Loop(network, config, examples).run(stored[:1], None, watch)
        self._network = network

    def score(self, candidates: Candidates) -> np.ndarray:
        """See `Baseline`."""
        every = replace(candidates, latency=np.ones(len(candidates.latency)))
        (ranking,) = rank(self._network, [every])
        return ranking.score


def _tvm(setting: Setting) -> Baseline:
    from wmhub.training.tvm_baseline import TvmModel

    return TvmModel(setting)


#: Name in reports -> what makes the baseline.
BASELINES: dict[str, Callable[[Setting], Baseline]] = {
    "gradient_boosting": GradientBoosting,
    "sequence_model": SequenceModel,
    "xgb_model": _tvm,
}


def require_known(names: Sequence[str]) -> None:
    """Raises ``InvalidInputError`` for a name of no baseline."""
    for name in names:
        if name not in BASELINES:
            close = nearest(name, BASELINES) or list(BASELINES)
            raise InvalidInputError(f"no baseline {name[:60]!r}; there are {', '.join(close)}")


def fit_baselines(
    names: Sequence[str], setting: Setting, train: Iterable[Candidates]
) -> tuple[dict[str, Baseline], list[str]]:
    """The fitted baselines by name, and why each of the others cannot be had here."""
    fitted: dict[str, Baseline] = {}
    notes = []
    for name in names:
        try:
            baseline = BASELINES[name](setting)
            baseline.fit(train)
        except FAILS as error:
            notes.append(why_missing(name, error))
        else:
            fitted[name] = baseline
    return fitted, notes


def ranked_by(baseline: Baseline, candidates: Candidates) -> Ranking:
    """How a fitted ``baseline`` orders the candidates that ran; it states no uncertainty."""
    ran = np.isfinite(candidates.latency)
    score = np.asarray(baseline.score(candidates), dtype=np.float64)[ran]
    return Ranking(candidates.workload.id, candidates.latency[ran], score, np.zeros(len(score)))


def why_missing(name: str, error: Exception) -> str:
    """The note on a baseline that ended with ``error``."""
    kind = "" if isinstance(error, WmhubError) else f"{type(error).__name__}: "
    return f"{name}: {kind}{error}"


def relative_speed(latency: np.ndarray) -> np.ndarray:
    """Best latency / latency of one workload's candidates; 0 for failed ones."""
    return np.asarray(latency.min() / latency)


def _structured(candidates: Candidates) -> np.ndarray:
    table = np.empty((len(candidates.latency), candidates.groups[0].structured.shape[1]), "f4")
    for number, group in enumerate(candidates.groups):
        here = candidates.group_of == number
        table[here] = group.structured[candidates.row_of[here]]
    return table
