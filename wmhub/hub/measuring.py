"""Evaluates a checkpoint for its card: the numbers of ``wmhub eval`` and the pictures' data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wmhub.dataset.reader import open_dataset
from wmhub.evaluator import load_evaluator
from wmhub.hub.evaluation import Evaluation, Figures, evaluation_of_metrics
from wmhub.training.data import load_candidates
from wmhub.training.evaluate import rank
from wmhub.training.evaluation import evaluate


def evaluate_checkpoint(checkpoint: Path, dataset: Path) -> Evaluation:
    """Loads ``checkpoint`` strictly and measures it on the test workloads of ``dataset``."""
    evaluator = load_evaluator(checkpoint)
    report = evaluate(evaluator, dataset, split="test")
    stated, found = zip(*report.calibration, strict=True)
    figures = Figures(
        ranking=_scatter(checkpoint, dataset),
        curves={"this model": report.curve, "random order": report.random_curve},
        calibration=(stated, found),
    )
    measured = evaluation_of_metrics(report.to_json(), str(checkpoint))
    return Evaluation(
        split=measured.split,
        workloads=measured.workloads,
        model=measured.model,
        baselines=measured.baselines,
        figures=figures,
    )


def _scatter(checkpoint: Path, dataset: Path) -> tuple[list[float], list[float]]:
    """Of each candidate what ``Figures.ranking`` holds."""
    loaded = load_evaluator(checkpoint).checkpoint
    predicted: list[float] = []
    measured: list[float] = []
    for candidates in load_candidates(open_dataset(dataset), "test", loaded.profile):
        for ranking in rank(loaded.network, [candidates]):
            predicted += (ranking.score - ranking.score.max()).tolist()
            measured += np.log(np.min(ranking.latency) / ranking.latency).tolist()
    return predicted, measured
