"""Metrics against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.training.metrics import (
    best_after,
    pairwise_accuracy,
    random_top_k,
    spearman,
    summarise,
    summarise_random,
    top_k,
)

_LATENCIES = st.lists(st.floats(1e-6, 10.0), min_size=2, max_size=7).map(np.array)


@given(_LATENCIES, st.integers(1, 7))
def test_a_random_order_expects_the_mean_over_all_orders(latency: np.ndarray, k: int) -> None:
    k = min(k, len(latency))
    drawn = [min(latency[list(c)]) for c in itertools.combinations(range(len(latency)), k)]
    ratio, seconds = random_top_k(latency, k)
    assert ratio == pytest.approx(np.mean(latency.min() / np.array(drawn)))
    assert seconds == pytest.approx(np.mean(drawn))


@given(_LATENCIES)
def test_the_order_of_latencies_is_perfect(latency: np.ndarray) -> None:
    metrics = summarise([(latency, -latency)])
    assert metrics.top1 == metrics.top5 == metrics.top1_ratio_of_sums == 1.0
    assert pairwise_accuracy(latency, -latency) == (1.0 if len(set(latency)) > 1 else 0.5)


def test_top_k_and_curves() -> None:
    latency, score = np.array([4.0, 1.0, 2.0]), np.array([3.0, 1.0, 2.0])
    assert [top_k(latency, score, k) for k in (1, 2, 3)] == [4.0, 2.0, 1.0]
    assert best_after(latency, score, 4).tolist() == [0.25, 0.5, 1.0, 1.0]
    metrics = summarise([(latency, score), (np.array([1.0, 2.0]), np.array([1.0, 0.0]))])
    assert metrics.top1 == pytest.approx((0.25 + 1.0) / 2)
    assert metrics.top1_ratio_of_sums == pytest.approx(2.0 / 5.0)
    assert metrics.workloads == 2


def test_constant_scores_are_chance() -> None:
    latency = np.array([1.0, 2.0, 3.0])
    assert pairwise_accuracy(latency, np.zeros(3)) == 0.5
    assert spearman(latency, np.zeros(3)) == 0.0
    assert spearman(latency, np.array([1.0, 0.5, 0.2])) == pytest.approx(1.0)
    assert spearman(np.array([1.0, 1.0, 2.0]), np.array([2.0, 2.0, 0.0])) == pytest.approx(1.0)


def test_of_very_many_candidates_some_are_compared_with_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    latency = np.sort(rng.random(1000))
    score = -latency + rng.normal(0, 0.1, 1000)
    exact = pairwise_accuracy(latency, score)
    monkeypatch.setattr("wmhub.training.metrics._MOST_COMPARED", 100)
    assert pairwise_accuracy(latency, score) != exact
    assert pairwise_accuracy(latency, score) == pytest.approx(exact, abs=0.03)
    assert pairwise_accuracy(latency, -latency) == 1.0


def test_no_workload_means_nothing() -> None:
    assert summarise([]).workloads == 0
    assert summarise([(np.array([1.0]), np.array([1.0]))]).workloads == 0
    assert summarise_random([]).top1 == 0.0
