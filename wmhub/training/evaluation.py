"""``evaluate``: a checkpoint on the held-out workloads of any dataset, beside a random order."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wmhub.dataset.operators import operator_kind
from wmhub.dataset.reader import open_dataset
from wmhub.errors import DatasetError
from wmhub.training.data import load_candidates
from wmhub.training.evaluate import Ranking, evaluate_rankings, rank
from wmhub.training.metrics import Metrics, best_after

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator

#: Length of the simulated searches.
TRIALS = 64
_BINS = 10
_ORDERS = 20


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

    def to_json(self) -> dict[str, object]:
        """What ``wmhub eval --json`` prints: the model's metrics at the top."""
        return {
            **dataclasses.asdict(self.metrics),
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "random": dataclasses.asdict(self.random),
            "kinds": {
                kind: {**dataclasses.asdict(ours), "random": dataclasses.asdict(theirs)}
                for kind, (ours, theirs) in self.kinds.items()
            },
            "curve": list(self.curve),
            "random_curve": list(self.random_curve),
            "calibration": [list(pair) for pair in self.calibration],
        }


def evaluate(
    model: str | os.PathLike[str] | Evaluator,
    dataset: str | os.PathLike[str],
    *,
    split: str = "test",
    locked: str | os.PathLike[str] | None = None,
) -> EvaluationReport:
    """Ranks the measured candidates of each workload of ``split`` and compares with their latency.

    ``model`` is what ``from_pretrained`` takes, or an evaluator; ``locked`` a lock file that must
    name it. The dataset may be of other hardware.

    Raises ``DatasetError`` where the split has no workload to rank.
    """
    from wmhub.hub import from_pretrained

    if isinstance(model, (str, os.PathLike)):
        evaluator = from_pretrained(model, locked=locked)
    else:
        evaluator = model
    source = open_dataset(os.fspath(dataset))
    checkpoint = evaluator.checkpoint
    rankings, kinds = [], []
    for candidates in load_candidates(source, split, checkpoint.profile):
        rankings += rank(checkpoint.network, [candidates])
        kinds.append(operator_kind(candidates.workload))
    if not rankings:
        raise DatasetError(
            f"{source.path}: its {split} split has no workload with two measured candidates"
        )
    metrics, random = evaluate_rankings(rankings)
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
        curve=_curve([(r.latency, r.score) for r in rankings]),
        random_curve=_random_curve(rankings),
        calibration=_calibration(rankings),
    )


def _curve(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, ...]:
    curves = [best_after(latency, score, TRIALS) for latency, score in pairs]
    return tuple(float(v) for v in np.mean(curves, axis=0))


def _random_curve(rankings: Sequence[Ranking]) -> tuple[float, ...]:
    rng = np.random.default_rng(0)
    pairs = [(r.latency, rng.random(len(r.latency))) for _ in range(_ORDERS) for r in rankings]
    return _curve(pairs)


def _calibration(rankings: Sequence[Ranking]) -> tuple[tuple[float, float], ...]:
    errors, spreads = [], []
    for ranking in rankings:
        truth = -np.log(ranking.latency)
        error = ranking.score - truth
        errors.append(error - error.mean())
        spreads.append(ranking.uncertainty)
    error, spread = np.concatenate(errors), np.concatenate(spreads)
    order = np.argsort(spread, kind="stable")
    bins = [b for b in np.array_split(order, _BINS) if len(b)]
    return tuple((float(spread[b].mean()), float(np.sqrt((error[b] ** 2).mean()))) for b in bins)
