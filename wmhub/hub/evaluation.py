"""What a model card is written from: measured metrics, beside those of baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmhub.errors import CheckpointError

#: Metric -> its name for people, in the order of the card's columns. Higher is better for all.
METRICS = {
    "top1": "top-1 score",
    "top5": "top-5 score",
    "pairwise_accuracy": "pairwise accuracy",
    "spearman": "Spearman correlation",
}


@dataclass(frozen=True)
class ScorerMetrics:
    """How well one scorer orders the candidates of held-out workloads."""

    name: str
    """Name for people, such as ``random order``."""
    values: Mapping[str, float]
    """Metric of ``METRICS`` -> value between 0 and 1 (Spearman from -1)."""


@dataclass(frozen=True)
class Figures:
    """What the card's pictures show; each part may be absent."""

    ranking: tuple[Sequence[float], Sequence[float]] | None = None
    """For candidates of the split: score less the highest of the workload, and measured
    ln(best latency of the workload / latency)."""
    curves: Mapping[str, Sequence[float]] | None = None
    """Scorer -> best found / best of all, mean over workloads, after 1, 2, ... measured trials."""
    calibration: tuple[Sequence[float], Sequence[float]] | None = None
    """For bins of the predicted standard deviation: its mean, and the error's root mean square."""


@dataclass(frozen=True)
class Evaluation:
    """One model on the held-out workloads of one dataset."""

    split: str
    """Split of the dataset, such as ``test``; none of its workloads was used in training."""
    workloads: int
    """Workloads in that split."""
    model: ScorerMetrics
    """The model."""
    baselines: tuple[ScorerMetrics, ...]
    """Others on the same split; random order is the first."""
    figures: Figures = Figures()


#: Evaluates the checkpoint in the first folder on the dataset in the second.
Evaluate = Callable[[Path, Path], Evaluation]


def evaluation_of_metrics(metrics: Mapping[str, object], where: str) -> Evaluation:
    """Reads metrics as ``wmhub eval --json`` prints them and checkpoints keep them.

    The metrics stand at the top, and those of each baseline under its name.
    """
    values = _values(metrics)
    workloads = metrics.get("workloads")
    if "top1" not in values or not isinstance(workloads, int):
        raise CheckpointError(f"{where}: the metrics lack 'top1' or 'workloads'")
    baselines = [
        ScorerMetrics("random order" if name == "random" else name.replace("_", " "), _values(item))
        for name, item in metrics.items()
        if isinstance(item, Mapping) and "top1" in item
    ]
    baselines.sort(key=lambda scorer: (scorer.name != "random order", scorer.name))
    split = metrics.get("split")
    return Evaluation(
        split=split if isinstance(split, str) else "test",
        workloads=workloads,
        model=ScorerMetrics("this model", values),
        baselines=tuple(baselines),
    )


def _values(item: Mapping[str, object]) -> dict[str, float]:
    return {
        key: float(value)
        for key in METRICS
        if isinstance(value := item.get(key), (int, float)) and not isinstance(value, bool)
    }
