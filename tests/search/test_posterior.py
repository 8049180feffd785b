from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wmhub.evaluator import Scores
from wmhub.search.posterior import Posterior, pick_batch


def make(count: int, seed: int = 0, error: float = 0.5) -> tuple[Scores, np.ndarray]:
    """Candidates whose pretrained score is wrong by a function of their latent."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=(count, 8)).astype(np.float32)
    leaves = _leaves(latent)
    score = random.normal(size=count)
    truth = score + error * (latent[:, 0] + np.sin(2 * latent[:, 1]))
    scores = Scores(score.astype(np.float32), np.full(count, 0.3, np.float32), latent, leaves)
    return scores, np.exp(-truth) * 1e-3


def _leaves(latent: np.ndarray) -> np.ndarray:
    """Of twelve trees that split some of the columns at some thresholds."""
    random = np.random.default_rng(99)
    columns = random.integers(0, 4, (12, 3))
    bits = latent[:, columns] > random.normal(size=(12, 3))
    return np.asarray(bits @ np.array([1, 2, 4]), np.uint8)


def pairwise(score: np.ndarray, latency: np.ndarray) -> float:
    better = latency[:, None] < latency[None, :]
    return float((score[:, None] > score[None, :])[better].mean())


def test_without_measurements_it_is_the_prior() -> None:
    scores, _ = make(20)
    mean, deviation = Posterior().predict(scores)
    np.testing.assert_array_equal(mean, scores.score)
    np.testing.assert_array_equal(deviation, scores.uncertainty)


def test_measurements_correct_the_ranking_and_leave_the_prior_alone() -> None:
    seen, latency = make(64, seed=1)
    unseen, truth = make(500, seed=2)
    before = seen.score.copy()
    posterior = Posterior()
    posterior.update(seen, latency)
    mean, _ = posterior.predict(unseen)
    assert pairwise(mean, truth) > pairwise(unseen.score, truth) + 0.05
    # The scale is that of -ln(seconds).
    assert np.abs(mean + np.log(truth)).mean() < np.abs(np.log(truth) - np.log(truth).mean()).mean()
    np.testing.assert_array_equal(seen.score, before)


def test_a_right_prior_is_not_spoiled_by_noise() -> None:
    seen, latency = make(64, seed=1, error=0.0)
    unseen, truth = make(500, seed=2, error=0.0)
    noisy = latency * np.exp(np.random.default_rng(0).normal(0, 0.1, 64))
    posterior = Posterior()
    posterior.update(seen, noisy)
    mean, _ = posterior.predict(unseen)
    assert pairwise(mean, truth) > 0.95


def test_uncertainty_is_lower_near_what_was_measured() -> None:
    seen, latency = make(40, seed=3)
    far = dataclasses.replace(seen, embedding=seen.embedding + 25.0, leaves=seen.leaves + 8)
    posterior = Posterior()
    posterior.update(seen, latency)
    assert posterior.predict(seen)[1].mean() < 0.5 * posterior.predict(far)[1].mean()


def test_failed_candidates_count_as_slow() -> None:
    seen, latency = make(60, seed=4, error=0.0)
    failed = seen.embedding[:, 2] > 0.7
    posterior = Posterior()
    posterior.update(seen, np.where(failed, np.nan, latency))
    unseen, _ = make(400, seed=5, error=0.0)
    mean, _ = posterior.predict(unseen)
    lowered = mean - unseen.score
    assert lowered[unseen.embedding[:, 2] > 0.7].mean() < lowered[unseen.embedding[:, 2] < 0].mean()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_measurements_stay_finite(count: int) -> None:
    seen, latency = make(count, seed=6)
    posterior = Posterior()
    posterior.update(seen, latency)
    mean, deviation = posterior.predict(make(10, seed=7)[0])
    assert np.isfinite(mean).all()
    assert (deviation > 0).all()


@pytest.mark.parametrize("count", [1, 2, 16])
def test_where_only_failures_are_known_what_is_like_them_is_lowered(count: int) -> None:
    seen, _ = make(count, seed=13)
    like, _ = make(200, seed=14)
    unlike = dataclasses.replace(like, embedding=-3.0 - like.embedding, leaves=like.leaves + 8)
    random = np.random.default_rng(15)
    near = 3.0 + 0.3 * random.normal(size=(count + 200, 8))
    seen = dataclasses.replace(seen, embedding=near[:count], leaves=_leaves(near[:count]))
    like = dataclasses.replace(like, embedding=near[count:], leaves=_leaves(near[count:]))
    posterior = Posterior()
    posterior.update(seen, np.full(count, np.nan))
    for scores in (seen, like):
        mean, deviation = posterior.predict(scores)
        assert (mean - scores.score).mean() < -0.1
        assert np.isfinite(deviation).all()
    # Neither as good as expected, as the mean residual would have it, nor better.
    lowered, others = (posterior.predict(s)[0] - s.score for s in (like, unlike))
    assert lowered.mean() < others.mean() - 0.1
    assert np.isfinite(posterior.covariance(unlike)).all()
    # With the first that runs it is on an absolute scale.
    posterior.update(*make(1, seed=16))
    assert posterior.predict(like)[0].mean() > 3.0


def test_identical_latents_do_not_divide_by_zero() -> None:
    scores = Scores(
        np.zeros(4, np.float32),
        np.full(4, 0.2, np.float32),
        np.ones((4, 3), np.float32),
        np.zeros((4, 5), np.uint8),
    )
    posterior = Posterior()
    posterior.update(scores, np.array([1e-3, 2e-3, 1e-3, np.nan]))
    assert np.isfinite(posterior.predict(scores)[0]).all()


def test_many_measurements_keep_the_best_and_the_newest() -> None:
    seen, latency = make(1500, seed=8)
    posterior = Posterior()
    posterior.update(seen, latency)
    mean, _ = posterior.predict(seen)
    assert pairwise(mean[:200], latency[:200]) > 0.85


def test_arrays_restore_the_same_posterior() -> None:
    seen, latency = make(30, seed=9)
    latency[3] = np.nan
    posterior = Posterior()
    posterior.update(seen, latency)
    again = Posterior.restore(posterior.arrays())
    unseen, _ = make(50, seed=10)
    np.testing.assert_allclose(again.predict(unseen)[0], posterior.predict(unseen)[0], rtol=1e-6)
    assert len(again) == 30
    assert len(Posterior.restore(Posterior().arrays())) == 0


@pytest.mark.parametrize("measured", [0, 40])
def test_covariance_agrees_with_the_deviation(measured: int) -> None:
    posterior = Posterior()
    if measured:
        posterior.update(*make(measured, seed=11))
    scores, _ = make(60, seed=12)
    covariance = posterior.covariance(scores)
    np.testing.assert_allclose(
        np.sqrt(np.diag(covariance)), posterior.predict(scores)[1], rtol=1e-4, atol=1e-3
    )
    assert np.linalg.eigvalsh(covariance).min() > -1e-8


def test_a_batch_is_not_one_candidate_many_times() -> None:
    # Two clusters; the better one's members are all but the same.
    latent = np.repeat(np.eye(2), 10, axis=0)
    covariance = latent @ latent.T
    mean = np.repeat([1.0, 0.9], 10)
    picked = pick_batch(mean, covariance, 4, explore=0)
    assert picked[0] < 10 <= picked[1]
    assert len(set(picked)) == 4


def test_exploring_picks_look_at_the_least_known() -> None:
    mean = np.array([1.0, 0.9, 0.0])
    covariance = np.diag([0.0, 0.0, 0.25])
    assert pick_batch(mean, covariance, 1, explore=1) == [2]
    assert pick_batch(mean, covariance, 2, explore=1)[1] == 2
    assert pick_batch(mean, np.zeros((3, 3)), 2, explore=0) == [0, 1]
    assert sorted(pick_batch(mean, covariance, 9, explore=2)) == [0, 1, 2]


def test_greedy_picks_go_by_the_mean() -> None:
    mean, covariance = np.array([1.0, 0.9, 0.0]), np.diag([0.0, 0.25, 0.0])
    assert pick_batch(mean, covariance, 2, explore=0) == [1, 0]
    assert pick_batch(mean, covariance, 2, explore=0, greedy=1) == [0, 1]
    assert pick_batch(mean, covariance, 3, explore=0, greedy=2, first=2) == [2, 0, 1]


def test_candidates_in_the_same_leaves_are_alike() -> None:
    # Latents say nothing; half of the candidates end in other leaves than the others.
    count = 24
    leaves = np.repeat(np.array([[3] * 9, [7] * 9], np.uint8), count // 2, axis=0)
    seen = Scores(
        np.zeros(count, np.float32),
        np.full(count, 0.3, np.float32),
        np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32),
        leaves,
    )
    posterior = Posterior()
    posterior.update(seen, np.where(leaves[:, 0] == 3, 1e-3, 2e-3))
    far = np.full((2, 6), 50.0, np.float32)
    unseen = Scores(np.zeros(2, np.float32), np.full(2, 0.3, np.float32), far, leaves[[0, -1]])
    mean, _ = posterior.predict(unseen)
    assert mean[0] - mean[1] > 0.4 * np.log(2)


def test_one_without_trees_goes_by_latents_alone() -> None:
    seen, latency = make(64, seed=1)
    unseen, truth = make(500, seed=2)
    bare = [dataclasses.replace(one, leaves=one.leaves[:, :0]) for one in (seen, unseen)]
    posterior = Posterior()
    posterior.update(bare[0], latency)
    mean, _ = posterior.predict(bare[1])
    assert pairwise(mean, truth) > pairwise(unseen.score, truth)


def test_a_failure_raises_nobody() -> None:
    posterior = Posterior()
    latents = np.array([[0.0, 0.0], [0.2, 0.0], [4.0, 4.0]])
    scores = Scores(
        np.array([0.0, -0.1, -3.0]), np.full(3, 0.3), latents, np.zeros((3, 0), np.uint8)
    )
    posterior.update(scores, np.exp([-7.0, -6.9, np.nan]))
    neighbour = Scores(
        np.array([-3.0]), np.full(1, 0.3), np.array([[4.0, 3.9]]), np.zeros((1, 0), np.uint8)
    )
    mean, _ = posterior.predict(neighbour)
    # What ran is at 7 + its score; the neighbour of a failure is not expected to be faster.
    assert mean[0] < 7.0 - 3.0


def test_a_measurement_that_is_told_twice_counts_once() -> None:
    def told(latency: list[float], shift: float = 0.0) -> tuple[Scores, np.ndarray]:
        count = len(latency)
        latents = np.stack([np.arange(count) + shift, np.ones(count)], axis=1)
        scores = Scores(
            np.zeros(count), np.full(count, 0.3), latents, np.zeros((count, 0), np.uint8)
        )
        return scores, np.asarray(latency)

    posterior = Posterior()
    posterior.update(*told([1e-3, 2e-3, np.nan]))
    posterior.update(*told([1e-3, 2e-3, np.nan], shift=1e-5))
    assert len(posterior) == 3
    # Another time of the same candidate, and the same time of another, are news.
    posterior.update(*told([1.1e-3]))
    posterior.update(*told([1e-3], shift=0.5))
    assert len(posterior) == 5
