"""``evaluate``: a checkpoint on held-out workloads, beside a random order and other scorers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from wmhub.dataset.operators import operator_kind
from wmhub.dataset.reader import Dataset
from wmhub.dataset.verify import open_verified
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import lookup
from wmhub.training.baselines import (
    FAILS,
    Preparing,
    Setting,
    fit_baselines,
    ranked_by,
    require_known,
    why_missing,
)
from wmhub.training.data import Candidates, load_candidates
from wmhub.training.encoding import nothing_to_rank, unresolved
from wmhub.training.evaluate import Ranking, errors_of, rank
from wmhub.training.metrics import (
    Metrics,
    best_after,
    random_top_k_score,
    summarise,
    summarise_random,
    top_k_score,
)

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator

_T = TypeVar("_T")

#: Names of two scorers beside those of baselines.
MODEL, RANDOM = "model", "random"
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
    """One model, and others beside it, on one split of one dataset."""

    model: str
    """Name of the checkpoint."""
    dataset: str
    """Name of the dataset."""
    split: str
    """``train``, ``validation`` or ``test``."""
    scorers: dict[str, ScorerReport]
    """``MODEL``, each baseline by its name, trained on the dataset's training workloads in the same
    run, and ``RANDOM``: what a random order expects."""
    calibration: tuple[tuple[float, float], ...]
    """For tenths of the candidates by their uncertainty: its mean, and the root mean square error
    of the score as log latency ratio within the workload, both in nats."""
    notes: tuple[str, ...] = ()
    """What is missing, and why: workloads that the model has seen, a baseline that cannot be
    had; and that the dataset is of other hardware."""

    @property
    def metrics(self) -> Metrics:
        """Of the model."""
        return self.scorers[MODEL].metrics

    def to_json(self) -> dict[str, object]:
        """What ``wmhub eval --json`` prints: the model's metrics at the top, and those of each
        other scorer under its name."""
        return {
            **_together({name: scorer.metrics for name, scorer in self.scorers.items()}),
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "kinds": {
                kind: _together({name: one.kinds[kind] for name, one in self.scorers.items()})
                for kind in self.scorers[MODEL].kinds
            },
            "top_k": {
                name: {
                    str(k): {"score": score, "ratio_of_sums": ratio}
                    for k, (score, ratio) in scorer.top_k.items()
                }
                for name, scorer in self.scorers.items()
            },
            "curves": {name: list(scorer.curve) for name, scorer in self.scorers.items()},
            "calibration": [list(pair) for pair in self.calibration],
            "notes": list(self.notes),
        }


def _together(metrics: Mapping[str, Metrics]) -> dict[str, object]:
    """The model's metrics, and those of each other scorer under its name."""
    others = {name: dataclasses.asdict(one) for name, one in metrics.items() if name != MODEL}
    return {**dataclasses.asdict(metrics[MODEL]), **others}


def evaluate(
    model: str | os.PathLike[str] | Evaluator,
    dataset: str | os.PathLike[str],
    *,
    split: str = "test",
    locked: str | os.PathLike[str] | None = None,
    baselines: Sequence[str] = (),
    ks: Sequence[int] = DEFAULT_KS,
    steps: int | None = None,
    progress: Preparing | None = None,
) -> EvaluationReport:
    """Ranks the measured candidates of each workload of ``split`` and compares with their latency.

    ``model`` is what ``from_pretrained`` takes, or an evaluator; ``locked`` a lock file that must
    name it, and the dataset where that is a name. The dataset may be of other hardware.
    ``baselines`` (`wmhub.training.baselines`) are trained on the dataset's training workloads
    alone; networks for ``steps``, by default as many as the model. One that cannot be had here is
    named in the report's notes. Workloads that the model has seen (``Checkpoint.seen``) judge
    nothing: they are left out of all, with a note.

    Raises ``DatasetError`` where the dataset is not what its manifest says, the split has no
    workload to rank, or there is none to train on.
    """
    from wmhub.hub import evaluator_of
    from wmhub.hub.resolve import dataset_folder

    evaluator = evaluator_of(model, locked)
    require_known(baselines)
    if any(k < 1 for k in ks):
        raise InvalidInputError("k of a top-k score must be at least 1")
    source = open_verified(dataset_folder(dataset, locked))
    checkpoint = evaluator.checkpoint
    rankings, kinds, notes = _rank_model(evaluator, source, split)
    scorers = {MODEL: _scorer(rankings, kinds, ks)}
    if baselines:
        setting = _setting(
            source, checkpoint.profile, steps or _steps(checkpoint.training), progress
        )
        unfit = checkpoint.seen.unfit_for(split)
        found, missing = _rank_baselines(baselines, setting, split, unfit)
        notes += missing
        scorers |= {name: _scorer(ranked, kinds, ks) for name, ranked in found.items()}
    return EvaluationReport(
        model=evaluator.name,
        dataset=source.manifest.name,
        split=split,
        scorers={**scorers, RANDOM: _random([r.latency for r in rankings], kinds, ks)},
        calibration=_calibration(rankings),
        notes=tuple(notes),
    )


def _rank_model(
    evaluator: Evaluator, source: Dataset, split: str
) -> tuple[list[Ranking], list[str], list[str]]:
    """Rankings of the split's workloads that the model has not seen, their kinds, and notes."""
    checkpoint = evaluator.checkpoint
    unfit, workloads = checkpoint.seen.unfit_for(split), source.workloads()
    left_out = sum(bool(workloads[id_].identities & unfit) for id_ in source.splits.get(split, ()))
    rankings, kinds = [], []
    for candidates in load_candidates(source, split, checkpoint.profile, unfit):
        rankings += rank(checkpoint.network, [candidates])
        kinds.append(operator_kind(candidates.workload))
    if not rankings:
        raise DatasetError(
            f"{source.path}: {nothing_to_rank(source, split)}"
            + (f", but those that {evaluator.name} has seen" if left_out else "")
        )
    told = (
        f"{left_out} workloads of the {split} split are left out: {evaluator.name}, or what it was "
        "trained from, has learned from them or was chosen by them"
    )
    notes = [told] if left_out else []
    fitted = {"train": checkpoint.seen.learned, "validation": checkpoint.seen.chosen_by}
    known = fitted.get(split, frozenset())
    ranked = (workloads[id_].identities for id_ in source.splits.get(split, ()))
    if seen := sum(bool(one & known) and not one & unfit for one in ranked):
        notes.append(
            f"{evaluator.name} was trained on {seen} of these workloads, or its weights chosen "
            "by them: no forecast of others"
        )
    bare = unresolved(source, split)
    if bare:
        notes.append(f"{bare} workloads of the {split} split are left out: they have no program")
    if source.hardware != evaluator.hardware:
        notes.append(
            f"measured on {source.hardware}: {evaluator.name} takes it for its own "
            f"{evaluator.hardware}, whose numbers it reads"
        )
    return rankings, kinds, notes


def _setting(
    source: Dataset, profile: HardwareProfile, steps: int, progress: Preparing | None
) -> Setting:
    from wmhub.hub.settings import home

    own = source.manifest.profile or lookup(source.hardware) or profile
    setting = Setting(source, own, Path(home()), steps=steps)
    return dataclasses.replace(setting, progress=progress) if progress else setting


def _steps(training: Mapping[str, object]) -> int:
    """Optimiser steps of the model, as its checkpoint tells them."""
    told = training.get("steps")
    return told if isinstance(told, int) and told > 0 else Setting.steps


@dataclass(frozen=True)
class _Split:
    """The candidates of a split, read anew each time that they are gone through."""

    setting: Setting
    name: str

    def __iter__(self) -> Iterator[Candidates]:
        return load_candidates(self.setting.dataset, self.name, self.setting.profile)


def _rank_baselines(
    names: Sequence[str], setting: Setting, split: str, unfit: frozenset[str]
) -> tuple[dict[str, list[Ranking]], list[str]]:
    """Rankings of the split's workloads but the ``unfit`` ones, in their order, by baselines fitted
    to ``train``; and why others could not be."""
    train = _Split(setting, "train")
    if next(iter(train), None) is None:
        raise DatasetError(
            f"{setting.dataset.path}: baselines need a workload in its train split to learn from"
        )
    fitted, notes = fit_baselines(list(dict.fromkeys(names)), setting, train)
    found: dict[str, list[Ranking]] = {name: [] for name in fitted}
    for candidates in load_candidates(setting.dataset, split, setting.profile, unfit):
        for name in list(found):
            try:
                found[name].append(ranked_by(fitted[name], candidates))
            except FAILS as error:
                del found[name]
                notes.append(why_missing(name, error))
    return found, notes


def _scorer(rankings: Sequence[Ranking], kinds: Sequence[str], ks: Sequence[int]) -> ScorerReport:
    pairs = [(ranking.latency, ranking.score) for ranking in rankings]
    return ScorerReport(
        metrics=summarise(pairs),
        kinds={kind: summarise(of) for kind, of in _by_kind(pairs, kinds).items()},
        curve=_curve(pairs),
        top_k={k: top_k_score(pairs, k) for k in ks},
    )


def _random(
    latencies: Sequence[np.ndarray], kinds: Sequence[str], ks: Sequence[int]
) -> ScorerReport:
    rng = np.random.default_rng(0)
    return ScorerReport(
        metrics=summarise_random(latencies),
        kinds={kind: summarise_random(of) for kind, of in _by_kind(latencies, kinds).items()},
        curve=_curve([(one, rng.random(len(one))) for _ in range(_ORDERS) for one in latencies]),
        top_k={k: random_top_k_score(latencies, k) for k in ks},
    )


def _by_kind(items: Sequence[_T], kinds: Sequence[str]) -> dict[str, list[_T]]:
    """What belongs to each kind of operator; ``kinds`` has that of each of ``items``."""
    found: dict[str, list[_T]] = {kind: [] for kind in sorted(set(kinds))}
    for item, kind in zip(items, kinds, strict=True):
        found[kind].append(item)
    return found


def _curve(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, ...]:
    curves = [best_after(latency, score, TRIALS) for latency, score in pairs]
    return tuple(float(v) for v in np.mean(curves, axis=0))


def _calibration(rankings: Sequence[Ranking]) -> tuple[tuple[float, float], ...]:
    error = np.concatenate([errors_of(ranking) for ranking in rankings])
    spread = np.concatenate([ranking.uncertainty for ranking in rankings])
    order = np.argsort(spread, kind="stable")
    bins = [b for b in np.array_split(order, _BINS) if len(b)]
    return tuple((float(spread[b].mean()), float(np.sqrt((error[b] ** 2).mean()))) for b in bins)
