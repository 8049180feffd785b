"""Evaluation of a network on held-out workloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wmhub.model.network import WorldModel
from wmhub.training.data import Candidates
from wmhub.training.metrics import Metrics, summarise, summarise_random


@dataclass(frozen=True)
class Ranking:
    """One workload's measured candidates and what the model thought of them."""

    workload_id: str
    latency: np.ndarray
    """float64 [N], seconds; measured candidates only."""
    score: np.ndarray
    """float32 [N], higher is better."""
    uncertainty: np.ndarray
    """float32 [N]."""


def rank(model: WorldModel, data: Sequence[Candidates]) -> list[Ranking]:
    """Scores the measured candidates of each workload; failed ones have no latency to compare."""
    model.eval()
    rankings = []
    with torch.inference_mode():
        for candidates in data:
            opinions = [model.judge(encoded).opinions for encoded in candidates.groups]
            whole = np.empty((len(opinions[0]), len(candidates.latency)), dtype=np.float32)
            for number, told in enumerate(opinions):
                here = candidates.group_of == number
                whole[:, here] = told[:, candidates.row_of[here]]
            score, spread = model.verdict(whole)
            ran = np.isfinite(candidates.latency)
            rankings.append(
                Ranking(candidates.workload.id, candidates.latency[ran], score[ran], spread[ran])
            )
    return rankings


def evaluate_rankings(rankings: Sequence[Ranking]) -> tuple[Metrics, Metrics]:
    """Metrics of the model, and what a random order expects on the same candidates."""
    model = summarise([(r.latency, r.score) for r in rankings])
    return model, summarise_random([r.latency for r in rankings])


def errors_of(ranking: Ranking) -> np.ndarray:
    """float64 [N] in nats: by how much each score is off, but for what all of them are off."""
    error = ranking.score + np.log(ranking.latency)
    return np.asarray(error - error.mean())


def calibrate(model: WorldModel, rankings: Sequence[Ranking]) -> None:
    """Scales the uncertainty of ``model`` to the errors that it made in ``rankings``.

    Every workload counts the same.
    """
    stated = np.mean([np.square(r.uncertainty).mean() for r in rankings])
    found = np.mean([np.square(errors_of(r)).mean() for r in rankings])
    if stated > 0 and found > 0:
        model.uncertainty_scale *= float(np.sqrt(found / stated))
