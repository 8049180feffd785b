"""``Posterior``: what the measurements of one workload add to the pretrained score.

A Gaussian process over the terminal latents, whose mean is the pretrained score and whose kernel is
linear plus squared exponential, so that it is Bayesian linear regression on the latent with room
for what is local. Scale, length and noise are those of highest evidence (Rasmussen and Williams,
Gaussian Processes for Machine Learning, equation 2.30; the scale integrated out with an
inverse-gamma prior centred on the checkpoint's own uncertainty). The pretrained score is an input
and is never changed: with no measurements the posterior is the prior.

Needs numpy alone, and runs on Python 3.8 beside a classic TVM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wmhub.evaluator import Scores

#: Lengths of the squared exponential, in units of the root mean square distance of the latents.
_LENGTHS = (0.3, 0.6, 1.2)
#: Noise variance in units of the kernel's.
_NOISES = (0.02, 0.05, 0.15, 0.5, 1.5, 5.0)
#: Weight of the inverse-gamma prior on the scale, in observations.
_PRIOR_WEIGHT = 4.0
#: A failed candidate counts as this many natural logarithms worse than the worst that ran.
_FAILURE_PENALTY = 0.7
#: Most measurements that the process is fitted to: the newest and the best.
_MOST = 768
#: Deviations added to the mean when picking for the best, and when picking to learn.
_CAUTIOUS, _BOLD = 1.0, 2.5


@dataclass(frozen=True)
class _Fit:
    """A fitted process."""

    center: np.ndarray
    """float64 [E]: mean latent of the measured candidates."""
    scale: float
    """Root mean square distance of the latents."""
    length: float
    """Length of the squared exponential, in units of ``scale``."""
    points: np.ndarray
    """float64 [M, E]: centred and scaled latents of the measured candidates."""
    weights: np.ndarray
    """float64 [M]: inverse kernel matrix times residuals."""
    root: np.ndarray
    """float64 [M, M]: eigenvectors of the kernel matrix over the root of its eigenvalues."""
    offset: float
    """Mean residual, natural logarithm of seconds."""
    variance: float
    """Scale of the kernel, squared natural logarithms."""


class Posterior:
    """The pretrained score of one workload, corrected by its measurements.

    ``mean`` keeps the unit of ``Scores.score``: differences are natural logarithms of the ratio of
    latencies. It is on an absolute scale, ``-ln(seconds)``, as soon as one candidate has run.
    """

    def __init__(self) -> None:
        self._embedding: list[np.ndarray] = []
        self._score: list[float] = []
        self._uncertainty: list[float] = []
        self._latency: list[float] = []
        self._fit: _Fit | None = None

    def __len__(self) -> int:
        return len(self._latency)

    @property
    def best_seconds(self) -> float | None:
        """Lowest latency that was measured, in seconds."""
        ran = [latency for latency in self._latency if np.isfinite(latency)]
        return min(ran) if ran else None

    def update(self, scores: Scores, latency: np.ndarray) -> None:
        """Adds measurements: ``latency`` is float [N] in seconds, NaN for a failed candidate."""
        latency = np.asarray(latency, np.float64)
        self._embedding.extend(np.asarray(scores.embedding, np.float64))
        self._score.extend(float(value) for value in scores.score)
        self._uncertainty.extend(float(value) for value in scores.uncertainty)
        self._latency.extend(np.where(latency > 0, latency, np.nan).tolist())
        self._fit = None

    def predict(self, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float64 [N] each, in natural logarithms."""
        prior = np.asarray(scores.score, np.float64)
        fit = self._fitted()
        if fit is None:
            return prior, np.asarray(scores.uncertainty, np.float64)
        points = (np.asarray(scores.embedding, np.float64) - fit.center) / fit.scale
        cross = _kernel(points, fit.points, fit.length)
        explained = np.square(cross @ fit.root).sum(axis=1)
        remaining = np.maximum(_kernel_diagonal(points) - explained, 1e-6)
        mean = prior + fit.offset + cross @ fit.weights
        return mean, np.sqrt(fit.variance * remaining)

    def covariance(self, scores: Scores) -> np.ndarray:
        """Covariance of the candidates' predictions, float64 [N, N], squared logarithms."""
        embedding = np.asarray(scores.embedding, np.float64)
        fit = self._fitted()
        if fit is None:
            centred = embedding - embedding.mean(axis=0)
            scale = float(np.sqrt(np.square(centred).sum(axis=1).mean())) or 1.0
            kernel = _kernel(centred / scale, centred / scale, _LENGTHS[-1])
            deviation = np.asarray(scores.uncertainty, np.float64)
            deviation = deviation / np.sqrt(np.diag(kernel))
            return np.asarray(kernel * deviation[:, None] * deviation[None, :])
        points = (embedding - fit.center) / fit.scale
        explained = _kernel(points, fit.points, fit.length) @ fit.root
        covariance = _kernel(points, points, fit.length) - explained @ explained.T
        return np.asarray(fit.variance * covariance)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """What ``restore`` takes: latents float32 [M, E]; score, uncertainty, seconds, [3, M]."""
        width = len(self._embedding[0]) if self._embedding else 0
        latents = np.asarray(self._embedding, np.float32).reshape(len(self), width)
        rows = np.asarray([self._score, self._uncertainty, self._latency], np.float64)
        return latents, rows.reshape(3, len(self))

    @classmethod
    def restore(cls, latents: np.ndarray, rows: np.ndarray) -> Posterior:
        """The posterior whose ``arrays`` these are."""
        posterior = cls()
        posterior.update(Scores(rows[0], rows[1], latents), rows[2])
        return posterior

    def _fitted(self) -> _Fit | None:
        if self._fit is None and np.isfinite(self._latency).any():
            self._fit = _fit(*self._kept())
        return self._fit

    def _kept(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Latents, residuals and uncertainties of the measurements to fit."""
        latency = np.asarray(self._latency)
        log_speed = -np.log(latency)
        failed = ~np.isfinite(log_speed)
        log_speed[failed] = log_speed[~failed].min() - _FAILURE_PENALTY
        keep = np.arange(len(latency))
        if len(keep) > _MOST:
            best = np.argsort(-log_speed, kind="stable")[: _MOST // 2]
            newest = np.setdiff1d(keep, best)[-(_MOST - len(best)) :]
            keep = np.union1d(best, newest)
        residual = log_speed - np.asarray(self._score)
        return (
            np.asarray(self._embedding)[keep],
            residual[keep],
            np.asarray(self._uncertainty)[keep],
        )


def _fit(latents: np.ndarray, residual: np.ndarray, uncertainty: np.ndarray) -> _Fit:
    center = latents.mean(axis=0)
    centred = latents - center
    scale = float(np.sqrt(np.square(centred).sum(axis=1).mean())) or 1.0
    points = centred / scale
    offset = float(residual.mean())
    target = residual - offset
    count = len(target)
    prior_variance = float(np.mean(np.square(uncertainty))) + 1e-4
    best: tuple[float, float, np.ndarray, np.ndarray, float] | None = None
    for length in _LENGTHS:
        values, vectors = np.linalg.eigh(_kernel(points, points, length))
        rotated = np.square(vectors.T @ target)
        for noise in _NOISES:
            spectrum = np.maximum(values, 0.0) + noise
            energy = float((rotated / spectrum).sum())
            variance = (_PRIOR_WEIGHT * prior_variance + energy) / (_PRIOR_WEIGHT + count)
            evidence = -0.5 * float(np.log(spectrum).sum()) - 0.5 * (
                _PRIOR_WEIGHT + count
            ) * np.log(variance)
            if best is None or evidence > best[0]:
                best = (evidence, length, vectors, spectrum, variance)
    assert best is not None
    _, length, vectors, spectrum, variance = best
    return _Fit(
        center=center,
        scale=scale,
        length=length,
        points=points,
        weights=vectors @ ((vectors.T @ target) / spectrum),
        root=vectors / np.sqrt(spectrum),
        offset=offset,
        variance=variance,
    )


def _kernel(left: np.ndarray, right: np.ndarray, length: float) -> np.ndarray:
    """Kernel matrix, float64 [L, R]: half linear, half squared exponential."""
    product = left @ right.T
    square = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)[None, :]
    distance = np.maximum(square - 2.0 * product, 0.0)
    return np.asarray(0.5 * product + 0.5 * np.exp(-0.5 * distance / length**2))


def _kernel_diagonal(points: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * np.square(points).sum(axis=1) + 0.5)


def pick_batch(
    mean: np.ndarray, covariance: np.ndarray, count: int, explore: int, greedy: int = 0
) -> list[int]:
    """Numbers of ``count`` candidates to measure together, out of N.

    Batch upper confidence bounds (Desautels, Krause and Burdick, JMLR 2014): each pick lowers the
    uncertainty of its neighbours as if it had been measured, so that a batch is not one candidate
    many times. The first ``greedy`` picks go by the mean alone; the last ``explore`` look for what
    is least known rather than what is best.
    """
    mean, covariance = np.asarray(mean, np.float64), np.array(covariance, np.float64)
    noise = 0.01 * float(np.diag(covariance).mean()) + 1e-9
    left = np.ones(len(mean), bool)
    picked: list[int] = []
    for turn in range(min(count, len(mean))):
        boldness = _BOLD if turn >= count - explore else _CAUTIOUS if turn >= greedy else 0.0
        bound = mean + boldness * np.sqrt(np.maximum(np.diag(covariance), 0.0))
        chosen = int(np.argmax(np.where(left, bound, -np.inf)))
        picked.append(chosen)
        left[chosen] = False
        column = covariance[:, chosen] / np.sqrt(max(covariance[chosen, chosen], 0.0) + noise)
        covariance -= np.outer(column, column)
    return picked
