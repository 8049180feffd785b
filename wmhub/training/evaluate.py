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
            score = np.zeros(len(candidates.latency), dtype=np.float32)
            spread = np.zeros(len(candidates.latency), dtype=np.float32)
            for number, encoded in enumerate(candidates.groups):
                here = candidates.group_of == number
                members = model.score(encoded).members
                rows = candidates.row_of[here]
                score[here] = members.mean(dim=0).numpy()[rows]
                spread[here] = members.std(dim=0, correction=0).numpy()[rows]
            ran = np.isfinite(candidates.latency)
            rankings.append(
                Ranking(candidates.workload.id, candidates.latency[ran], score[ran], spread[ran])
            )
    return rankings


def evaluate_rankings(rankings: Sequence[Ranking]) -> tuple[Metrics, Metrics]:
    """Metrics of the model, and what a random order expects on the same candidates."""
    model = summarise([(r.latency, r.score) for r in rankings])
    return model, summarise_random([r.latency for r in rankings])
