"""How well scores order the candidates of a workload, and what a random order would reach.

All take the measured candidates of one workload: ``latency`` float64 [N] in seconds, ``score``
float [N], higher is better. The mean over workloads is `Metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Of how many candidates every one is compared with all others.
_MOST_COMPARED = 8192


@dataclass(frozen=True)
class Metrics:
    """Means over workloads."""

    top1: float
    """Best latency / latency of the candidate ranked first; 1 is perfect."""
    top5: float
    """Best latency / best latency among the five ranked first."""
    top1_ratio_of_sums: float
    """Sum of best latencies / sum of the latencies ranked first: long workloads weigh more."""
    top5_ratio_of_sums: float
    """The same for the five ranked first."""
    pairwise_accuracy: float
    """Share of pairs of candidates in the right order; 0.5 is chance."""
    spearman: float
    """Spearman's rank correlation of score and speed."""
    workloads: int
    """Workloads with at least two measured candidates, over which the means are taken."""


@dataclass(frozen=True)
class Validation:
    """One look at the validation workloads."""

    step: int
    """Optimiser steps before it."""
    loss: float
    """Mean training loss since the last one."""
    metrics: Metrics
    """On the validation workloads, with averaged weights and the trees beside them."""

    @property
    def quality(self) -> float:
        """What early stopping maximises."""
        return quality(self.metrics)


def quality(metrics: Metrics) -> float:
    """By what one of two models is chosen: mean of top-1, top-5 and pairwise accuracy."""
    return (metrics.top1 + metrics.top5 + metrics.pairwise_accuracy) / 3.0


def top_k(latency: np.ndarray, score: np.ndarray, k: int) -> float:
    """Lowest latency in seconds among the ``k`` highest scores (ties in the order given)."""
    order = np.argsort(-score, kind="stable")
    return float(latency[order[:k]].min())


def random_top_k(latency: np.ndarray, k: int) -> tuple[float, float]:
    """What a random order expects, exactly: mean of best / best of k, and of best of k (seconds).

    The i-th smallest of N is the best of k drawn ones with probability C(N-1-i, k-1) / C(N, k).
    """
    ordered = np.sort(latency)
    count, k = len(ordered), min(k, len(latency))
    chance = np.zeros(count)
    left = 1.0
    for i in range(count - k + 1):
        # Given that none of the i smaller ones was drawn, k of the count - i left are.
        here = k / (count - i)
        chance[i] = left * here
        left *= 1.0 - here
    return float((chance * ordered[0] / ordered).sum()), float((chance * ordered).sum())


def top_k_score(pairs: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[float, float]:
    """Over (latency, score) of each workload: mean of best latency / best of the ``k`` best ranked,
    and sum of the former / sum of the latter; (0, 0) without a workload of two candidates."""
    used = [(latency, score) for latency, score in pairs if len(latency) >= 2]
    best = np.array([latency.min() for latency, _ in used])
    found = np.array([top_k(latency, score, k) for latency, score in used])
    return (float((best / found).mean()), float(best.sum() / found.sum())) if used else (0.0, 0.0)


def random_top_k_score(latencies: Sequence[np.ndarray], k: int) -> tuple[float, float]:
    """`top_k_score` that a random order expects."""
    used = [latency for latency in latencies if len(latency) >= 2]
    found = np.array([random_top_k(latency, k) for latency in used])
    best = sum(float(latency.min()) for latency in used)
    return (float(found[:, 0].mean()), best / float(found[:, 1].sum())) if used else (0.0, 0.0)


def pairwise_accuracy(latency: np.ndarray, score: np.ndarray) -> float:
    """Share of pairs with different latencies that the scores order rightly; ties count half.

    Of more than 8,192 candidates, evenly spaced ones are compared with all.
    """
    right = total = 0.0
    some = np.arange(0, len(latency), -(-len(latency) // _MOST_COMPARED) or 1)
    for start in range(0, len(some), 512):
        rows = some[start : start + 512]
        faster = latency[rows, None] < latency[None, :]
        total += float(faster.sum())
        difference = score[rows, None] - score[None, :]
        right += float((faster & (difference > 0)).sum())
        right += 0.5 * float((faster & (difference == 0)).sum())
    return right / total if total else 0.5


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks with ties averaged."""
    unique, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    del unique
    return np.asarray((last - (counts - 1) / 2.0)[inverse])


def spearman(latency: np.ndarray, score: np.ndarray) -> float:
    """Spearman's rank correlation between score and speed; 0 when either is constant."""
    a, b = _ranks(-latency), _ranks(score)
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def best_after(latency: np.ndarray, score: np.ndarray, trials: int) -> np.ndarray:
    """Best latency of all / best so far after measuring 1 to ``trials`` in the order of scores."""
    order = np.argsort(-score, kind="stable")[:trials]
    best = np.minimum.accumulate(latency[order])
    return np.asarray(latency.min() / np.pad(best, (0, trials - len(best)), mode="edge"))


def summarise(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Metrics:
    """`Metrics` over (latency, score) of each workload; those with one candidate are left out."""
    used = [(latency, score) for latency, score in pairs if len(latency) >= 2]
    best = np.array([latency.min() for latency, _ in used])
    first = np.array([top_k(latency, score, 1) for latency, score in used])
    five = np.array([top_k(latency, score, 5) for latency, score in used])
    return _metrics(
        best, first, five, best / first, best / five,
        [pairwise_accuracy(latency, score) for latency, score in used],
        [spearman(latency, score) for latency, score in used],
    )  # fmt: skip


def summarise_random(latencies: Sequence[np.ndarray]) -> Metrics:
    """`Metrics` that a random order expects."""
    used = [latency for latency in latencies if len(latency) >= 2]
    one = np.array([random_top_k(latency, 1) for latency in used]).reshape(-1, 2)
    five = np.array([random_top_k(latency, 5) for latency in used]).reshape(-1, 2)
    best = np.array([latency.min() for latency in used])
    return _metrics(
        best, one[:, 1], five[:, 1], one[:, 0], five[:, 0], [0.5] * len(used), [0.0] * len(used)
    )


def _metrics(
    best: np.ndarray, first: np.ndarray, five: np.ndarray, top1: np.ndarray, top5: np.ndarray,
    pairwise: Sequence[float], correlation: Sequence[float],
) -> Metrics:  # fmt: skip
    if not len(best):
        return Metrics(0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0)
    return Metrics(
        top1=float(top1.mean()),
        top5=float(top5.mean()),
        top1_ratio_of_sums=float(best.sum() / first.sum()),
        top5_ratio_of_sums=float(best.sum() / five.sum()),
        pairwise_accuracy=float(np.mean(pairwise)),
        spearman=float(np.mean(correlation)),
        workloads=len(best),
    )
