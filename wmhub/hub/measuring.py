"""Evaluates a checkpoint for its card: the numbers of ``wmhub eval`` and the pictures' data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wmhub.dataset.reader import open_dataset
from wmhub.dataset.statistics import statistics
from wmhub.evaluator import load_evaluator
from wmhub.hub.evaluation import (
    DataSource,
    Evaluation,
    Figures,
    baselines_of,
    curves_of,
    evaluation_of_metrics,
)
from wmhub.hub.model_card import read_card_facts
from wmhub.training.data import load_candidates
from wmhub.training.evaluate import rank
from wmhub.training.evaluation import evaluate


def evaluate_checkpoint(checkpoint: Path, dataset: Path) -> Evaluation:
    """Loads ``checkpoint`` strictly and measures it on the test workloads of ``dataset``.

    Baselines that the checkpoint keeps from the same workloads stand beside what is measured now.
    """
    evaluator = load_evaluator(checkpoint)
    found: dict[str, Any] = evaluate(evaluator, dataset, split="test").to_json()
    curves = curves_of(found)
    stored = read_card_facts(checkpoint).metrics
    if all(stored.get(key) == found.get(key) for key in ("split", "workloads")):
        found = {**baselines_of(stored), **found}
        curves = {**curves_of(stored), **curves}
    stated, errors = zip(*found["calibration"], strict=True)
    measured = evaluation_of_metrics(found, str(checkpoint))
    return Evaluation(
        split=measured.split,
        workloads=measured.workloads,
        model=measured.model,
        baselines=measured.baselines,
        figures=Figures(
            ranking=_scatter(checkpoint, dataset),
            curves=dict(sorted(curves.items(), key=lambda item: item[0] != "this model")),
            calibration=(stated, errors),
        ),
        sources=sources_of(dataset),
    )


def sources_of(dataset: Path) -> tuple[DataSource, ...]:
    """Who measured the records of ``dataset``, and their licences."""
    return tuple(
        DataSource(source.contributor, source.licence, source.records)
        for source in statistics(open_dataset(dataset)).sources
    )


def _scatter(checkpoint: Path, dataset: Path) -> tuple[list[float], list[float]]:
    """Of each candidate what ``Figures.ranking`` holds."""
    loaded = load_evaluator(checkpoint).checkpoint
    predicted: list[float] = []
    measured: list[float] = []
    unfit = loaded.seen.unfit_for("test")
    for candidates in load_candidates(open_dataset(dataset), "test", loaded.profile, unfit):
        for ranking in rank(loaded.network, [candidates]):
            predicted += (ranking.score - ranking.score.max()).tolist()
            measured += np.log(np.min(ranking.latency) / ranking.latency).tolist()
    return predicted, measured
