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


#: Scorer as reports name it -> its name for people; others lose their underscores.
_SCORERS = {
    "model": "this model",
    "random": "random order",
    "xgb_model": "TVM's XGBModel",
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
class DataSource:
    """Who measured a part of the data, under which licence."""

    contributor: str
    """Name, or ``owner/repository`` of public logs; empty where it is not told."""
    licence: str
    """SPDX identifier; empty where it is not known."""
    records: int
    """Records of the dataset that come from there."""

    def __post_init__(self) -> None:
        if not isinstance(self.contributor, str) or not isinstance(self.licence, str):
            raise CheckpointError("a source of data names contributor and licence")
        if type(self.records) is not int or self.records < 0:
            raise CheckpointError(f"records {self.records!r} of a source are no count")


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
    sources: tuple[DataSource, ...] = ()
    """Where the dataset's records come from, most first; empty where that is not known here."""


#: Evaluates the checkpoint in the first folder on the dataset in the second.
Evaluate = Callable[[Path, Path], Evaluation]


def scorer_name(key: str) -> str:
    """What people call the scorer that reports call ``key``."""
    return _SCORERS.get(key, key.replace("_", " "))


def baselines_of(metrics: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Key -> metrics of every baseline, ``random`` first."""
    found = {
        key: item for key, item in metrics.items() if isinstance(item, Mapping) and "top1" in item
    }
    return dict(sorted(found.items(), key=lambda pair: (pair[0] != "random", pair[0])))


def evaluation_of_metrics(metrics: Mapping[str, object], where: str) -> Evaluation:
    """Reads metrics as ``wmhub eval --json`` prints them and checkpoints keep them.

    The metrics stand at the top, and those of each baseline under its name.
    """
    values = _values(metrics)
    workloads = metrics.get("workloads")
    if "top1" not in values or not isinstance(workloads, int):
        raise CheckpointError(f"{where}: the metrics lack 'top1' or 'workloads'")
    split = metrics.get("split")
    return Evaluation(
        split=split if isinstance(split, str) else "test",
        workloads=workloads,
        model=ScorerMetrics("this model", values),
        baselines=tuple(
            ScorerMetrics(scorer_name(key), _values(item))
            for key, item in baselines_of(metrics).items()
        ),
    )


def curves_of(report: Mapping[str, object]) -> dict[str, Sequence[float]]:
    """Scorer's name for people -> its curve, from ``curves``."""
    told = report.get("curves")
    curves = dict(told) if isinstance(told, Mapping) else {}
    ordered = sorted(curves, key=lambda key: (key != "model", key != "random", key))
    return {scorer_name(key): curves[key] for key in ordered if isinstance(curves[key], list)}


def _values(item: Mapping[str, object]) -> dict[str, float]:
    return {
        key: float(value)
        for key in METRICS
        if isinstance(value := item.get(key), (int, float)) and not isinstance(value, bool)
    }
