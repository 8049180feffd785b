"""``evaluate``: a checkpoint on held-out workloads, beside a random order and other scorers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wmhub.dataset.operators import operator_kind
from wmhub.dataset.reader import Dataset
from wmhub.dataset.verify import open_verified
from wmhub.errors import DatasetError, InvalidInputError, WmhubError
from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import lookup
from wmhub.training.baselines import Progress, Setting, fit_baselines, require_known
from wmhub.training.data import load_candidates
from wmhub.training.evaluate import Ranking, errors_of, evaluate_rankings, rank
from wmhub.training.metrics import (
    Metrics,
    best_after,
    random_top_k_score,
    summarise,
    top_k_score,
)

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator

#: Length of the simulated searches.
TRIALS = 64
#: The k of ``top_k`` where none is given.
DEFAULT_KS = (1, 5, 10)
_BINS = 10
_ORDERS = 20

TopK = dict[int, tuple[float, float]]
"""k -> mean over workloads of best latency / best of the k ranked first, and the ratio of the
sums of the two over all workloads."""


@dataclass(frozen=True)
class ScorerReport:
    """One scorer on one split of one dataset."""

    metrics: Metrics
    """Over all workloads."""
    kinds: dict[str, Metrics]
    """Operator kind -> the same over its workloads."""
    curve: tuple[float, ...]
    """Best of all / best so far after 1 to ``TRIALS`` trials in the scorer's order, mean."""
    top_k: TopK
    """For each k that was asked for."""


@dataclass(frozen=True)
class EvaluationReport:
    """One model on one split of one dataset."""

    model: str
    """Name of the checkpoint."""
    dataset: str
    """Name of the dataset."""
    split: str
    """``train``, ``validation`` or ``test``."""
    metrics: Metrics
    """Of the model."""
    random: Metrics
    """What a random order expects."""
    kinds: dict[str, tuple[Metrics, Metrics]]
    """Operator kind -> the same two, over its workloads."""
    curve: tuple[float, ...]
    """Best of all / best so far after 1 to ``TRIALS`` trials in the model's order, mean."""
    random_curve: tuple[float, ...]
    """The same in random orders."""
    calibration: tuple[tuple[float, float], ...]
    """For tenths of the candidates by their uncertainty: its mean, and the root mean square error
    of the score as log latency ratio within the workload, both in nats."""
    top_k: TopK
    """Of the model, for each k that was asked for."""
    random_top_k: TopK
    """What a random order expects."""
    baselines: dict[str, ScorerReport] = field(default_factory=dict)
    """Name -> a scorer that was trained on the dataset's training workloads in the same run."""
    notes: tuple[str, ...] = ()
    """What is missing, and why: workloads that the model has seen, a baseline that cannot be
    had."""

    def to_json(self) -> dict[str, object]:
        """What ``wmhub eval --json`` prints: the model's metrics at the top, and those of each
        other scorer under its name."""
        others = {name: other.metrics for name, other in self.baselines.items()}
        return {
            **dataclasses.asdict(self.metrics),
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "random": dataclasses.asdict(self.random),
            **{name: dataclasses.asdict(metrics) for name, metrics in others.items()},
            "kinds": {kind: self._kind_json(kind) for kind in self.kinds},
            "top_k": {
                name: {
                    str(k): {"score": score, "ratio_of_sums": ratio}
                    for k, (score, ratio) in found.items()
                }
                for name, found in self.top_ks().items()
            },
            "curve": list(self.curve),
            "random_curve": list(self.random_curve),
            "curves": {name: list(curve) for name, curve in self.curves().items()},
            "calibration": [list(pair) for pair in self.calibration],
            "notes": list(self.notes),
        }

    def curves(self) -> dict[str, tuple[float, ...]]:
        """The simulated searches of all scorers: ``model``, ``random``, and each baseline."""
        others = {name: other.curve for name, other in self.baselines.items()}
        return {"model": self.curve, "random": self.random_curve, **others}

    def top_ks(self) -> dict[str, TopK]:
        """``top_k`` of all scorers, as in `curves`."""
        others = {name: other.top_k for name, other in self.baselines.items()}
        return {"model": self.top_k, "random": self.random_top_k, **others}

    def _kind_json(self, kind: str) -> dict[str, object]:
        ours, theirs = self.kinds[kind]
        others = {name: other.kinds[kind] for name, other in self.baselines.items()}
        return {
            **dataclasses.asdict(ours),
            "random": dataclasses.asdict(theirs),
            **{name: dataclasses.asdict(metrics) for name, metrics in others.items()},
        }


def evaluate(
    model: str | os.PathLike[str] | Evaluator,
    dataset: str | os.PathLike[str],
    *,
    split: str = "test",
    locked: str | os.PathLike[str] | None = None,
    baselines: Sequence[str] = (),
    ks: Sequence[int] = DEFAULT_KS,
    steps: int | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Ranks the measured candidates of each workload of ``split`` and compares with their latency.

    ``model`` is what ``from_pretrained`` takes, or an evaluator; ``locked`` a lock file that must
    name it. The dataset may be of other hardware. ``baselines`` (`wmhub.training.baselines`) are
    trained on the dataset's training workloads alone; networks for ``steps``, by default as many
    as the model. One that cannot be had here is named in the report's notes. Workloads that the
    model has seen (``Checkpoint.seen``) judge nothing: they are left out of all, with a note.

    Raises ``DatasetError`` where the dataset is not what its manifest says, the split has no
    workload to rank, or there is none to train on.
    """
    from wmhub.hub import from_pretrained
    from wmhub.hub.resolve import dataset_folder

    if isinstance(model, (str, os.PathLike)):
        evaluator = from_pretrained(model, locked=locked)
    elif locked is not None:
        raise InvalidInputError("a lock names models that are yet to be loaded: give the name")
    else:
        evaluator = model
    require_known(baselines)
    if any(k < 1 for k in ks):
        raise InvalidInputError("k of a top-k score must be at least 1")
    source = open_verified(dataset_folder(dataset))
    checkpoint = evaluator.checkpoint
    rankings, kinds, notes = [], [], []
    unfit = checkpoint.seen.unfit_for(split)
    workloads = source.workloads()
    left_out = sum(bool(workloads[id_].identities & unfit) for id_ in source.splits.get(split, ()))
    if left_out:
        notes.append(
            f"{left_out} workloads of the {split} split are left out: {evaluator.name}, or what "
            "it was trained from, has learned from them or was chosen by them"
        )
    for candidates in load_candidates(source, split, checkpoint.profile, unfit):
        rankings += rank(checkpoint.network, [candidates])
        kinds.append(operator_kind(candidates.workload))
    if not rankings:
        raise DatasetError(
            f"{source.path}: its {split} split has no workload with two measured candidates"
            + (f" but those that {evaluator.name} has seen" if left_out else "")
        )
    metrics, random = evaluate_rankings(rankings)
    told: dict[str, ScorerReport] = {}
    if baselines:
        setting = _setting(
            source, checkpoint.profile, steps or _steps(checkpoint.training), progress
        )
        found, missing = _rank_baselines(baselines, setting, split, unfit)
        notes += missing
        told = {name: _scorer(ranked, kinds, ks) for name, ranked in found.items()}
    return EvaluationReport(
        model=evaluator.name,
        dataset=source.manifest.name,
        split=split,
        metrics=metrics,
        random=random,
        kinds={
            kind: evaluate_rankings([r for r, k in zip(rankings, kinds, strict=True) if k == kind])
            for kind in sorted(set(kinds))
        },
        curve=_curve(_pairs(rankings)),
        random_curve=_random_curve(rankings),
        calibration=_calibration(rankings),
        top_k={k: top_k_score(_pairs(rankings), k) for k in ks},
        random_top_k={k: random_top_k_score([r.latency for r in rankings], k) for k in ks},
        baselines=told,
        notes=tuple(notes),
    )


def _setting(
    source: Dataset, profile: HardwareProfile, steps: int, progress: Progress | None
) -> Setting:
    from wmhub.hub.settings import home

    own = source.manifest.profile or lookup(source.hardware) or profile
    setting = Setting(source, own, Path(home()), steps=steps)
    return dataclasses.replace(setting, progress=progress) if progress else setting


def _steps(training: Mapping[str, object]) -> int:
    """Optimiser steps of the model, as its checkpoint tells them."""
    told = training.get("steps")
    return told if isinstance(told, int) and told > 0 else Setting.steps


def _rank_baselines(
    names: Sequence[str], setting: Setting, split: str, unfit: frozenset[str]
) -> tuple[dict[str, list[Ranking]], list[str]]:
    """Rankings of the split's workloads but the ``unfit`` ones, in their order, by baselines fitted
    to ``train``; and why others could not be."""
    train = list(load_candidates(setting.dataset, "train", setting.profile))
    if not train:
        raise DatasetError(
            f"{setting.dataset.path}: baselines need a workload in its train split to learn from"
        )
    fitted, notes = fit_baselines(list(dict.fromkeys(names)), setting, train)
    found: dict[str, list[Ranking]] = {name: [] for name in fitted}
    for candidates in load_candidates(setting.dataset, split, setting.profile, unfit):
        ran = np.isfinite(candidates.latency)
        for name in list(found):
            try:
                score = np.asarray(fitted[name].score(candidates), dtype=np.float64)[ran]
            except WmhubError as error:
                del found[name]
                notes.append(f"{name}: {error}")
                continue
            found[name].append(
                Ranking(
                    candidates.workload.id, candidates.latency[ran], score, np.zeros(len(score))
                )
            )
    return found, notes


def _scorer(rankings: Sequence[Ranking], kinds: Sequence[str], ks: Sequence[int]) -> ScorerReport:
    def of(kind: str) -> Metrics:
        chosen = [r for r, k in zip(rankings, kinds, strict=True) if k == kind]
        return summarise(_pairs(chosen))

    pairs = _pairs(rankings)
    return ScorerReport(
        metrics=summarise(pairs),
        kinds={kind: of(kind) for kind in sorted(set(kinds))},
        curve=_curve(pairs),
        top_k={k: top_k_score(pairs, k) for k in ks},
    )


def _pairs(rankings: Sequence[Ranking]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(ranking.latency, ranking.score) for ranking in rankings]


def _curve(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, ...]:
    curves = [best_after(latency, score, TRIALS) for latency, score in pairs]
    return tuple(float(v) for v in np.mean(curves, axis=0))


def _random_curve(rankings: Sequence[Ranking]) -> tuple[float, ...]:
    rng = np.random.default_rng(0)
    pairs = [(r.latency, rng.random(len(r.latency))) for _ in range(_ORDERS) for r in rankings]
    return _curve(pairs)


def _calibration(rankings: Sequence[Ranking]) -> tuple[tuple[float, float], ...]:
    error = np.concatenate([errors_of(ranking) for ranking in rankings])
    spread = np.concatenate([ranking.uncertainty for ranking in rankings])
    order = np.argsort(spread, kind="stable")
    bins = [b for b in np.array_split(order, _BINS) if len(b)]
    return tuple((float(spread[b].mean()), float(np.sqrt((error[b] ** 2).mean()))) for b in bins)
