"""``Posterior``: what the measurements of one workload add to the pretrained score.

A Gaussian process whose mean is the pretrained score. Two candidates are alike by the share of the
checkpoint's trees in which they end in the same leaf (the kernel of a random forest: Davies and
Ghahramani, arXiv 1402.4293), as much by a squared exponential of the distance of their terminal
latents, and a little by the direction in which those lie, which is what is left to learn where the
checkpoint is wrong altogether, as on other hardware. Scale and noise are averaged over what they
may be, by evidence (Rasmussen and Williams, Gaussian Processes for Machine Learning, equation 2.30;
the scale integrated out with an inverse-gamma prior centred on the checkpoint's own uncertainty).
The pretrained score is an input and is never changed: with no measurements the posterior is the
prior.

Computes with numpy alone, beside any TVM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wmhub.evaluator import Scores

#: Length of the squared exponential, in units of the root mean square distance of the latents.
_LENGTH = 0.6
#: Share of the kernel that is linear in the latents.
_LINEAR = 0.1
#: Noise variance in units of the kernel's.
_NOISES = np.array([0.02, 0.05, 0.15, 0.5, 1.5, 5.0])
#: Weight of the inverse-gamma prior on the scale, in observations.
_PRIOR_WEIGHT = 4.0
#: A failed candidate counts as this many natural logarithms worse than the worst that ran, or than
#: was expected of it where that is worse still: a failure raises nobody.
_FAILURE_PENALTY = 0.7
#: Most measurements that the process is fitted to: the newest and the best.
_MOST = 768
#: Latents of one candidate are at most so far apart, by rounding.
_SAME = 1e-3
#: Deviations added to the mean when picking for the best, and when picking to learn.
_CAUTIOUS, _BOLD = 1.0, 2.5


class _Places(NamedTuple):
    """Where N candidates lie."""

    latents: np.ndarray
    """float64 [N, E]: centred on the measured ones and scaled by how far they are apart."""
    leaves: np.ndarray
    """uint8 [N, T]."""


@dataclass(frozen=True)
class _Fit:
    """A fitted process; M candidates were measured."""

    center: np.ndarray
    """float64 [E]: mean latent of the measured candidates."""
    scale: float
    """Root mean square distance of the latents."""
    measured: _Places
    """Those that it was fitted to."""
    weights: np.ndarray
    """float64 [M]: inverse kernel matrix times residuals, the mean over noises."""
    root: np.ndarray
    """float64 [M, M]: the square of the kernel to the measured ones times this is what they
    explain of a candidate's variance, the mean over noises. (By how much the means that each noise
    leads to are apart is left out.)"""
    offset: float
    """Mean residual, natural logarithm of seconds; 0 as long as no candidate ran."""
    variance: float
    """Scale of the kernel, squared natural logarithms."""

    def place(self, scores: Scores) -> _Places:
        """Candidates as this process sees them."""
        return _Places((np.asarray(scores.embedding) - self.center) / self.scale, scores.leaves)


class Learned(NamedTuple):
    """The M measurements of a posterior, as a file keeps them."""

    latents: np.ndarray
    """float32 [M, E]."""
    leaves: np.ndarray
    """uint8 [M, T]."""
    rows: np.ndarray
    """float64 [3, M]: pretrained score, uncertainty, and seconds (NaN: failed)."""


class Posterior:
    """The pretrained score of one workload, corrected by its measurements.

    ``mean`` keeps the unit of ``Scores.score``: differences are natural logarithms of the ratio of
    latencies. It is on an absolute scale, ``-ln(seconds)``, as soon as one candidate has run.
    """

    def __init__(self) -> None:
        self._embedding: list[np.ndarray] = []
        self._leaves: list[np.ndarray] = []
        self._score: list[float] = []
        self._uncertainty: list[float] = []
        self._latency: list[float] = []
        self._fit: _Fit | None = None

    def __len__(self) -> int:
        return len(self._latency)

    def update(self, scores: Scores, latency: np.ndarray) -> None:
        """Adds measurements: ``latency`` is float [N] in seconds, NaN for a failed candidate.

        One that it has already is not added: a database may tell what a file of the run before has
        told.
        """
        latency = np.asarray(latency, np.float64)
        latency = np.where(latency > 0, latency, np.nan)
        new = np.flatnonzero(~self._has(scores, latency))
        self._embedding.extend(np.asarray(scores.embedding, np.float64)[new])
        self._leaves.extend(np.asarray(scores.leaves, np.uint8)[new])
        self._score.extend(float(value) for value in np.asarray(scores.score)[new])
        self._uncertainty.extend(float(value) for value in np.asarray(scores.uncertainty)[new])
        self._latency.extend(latency[new].tolist())
        self._fit = None

    def _has(self, scores: Scores, latency: np.ndarray) -> np.ndarray:
        """Which of N measurements are here already, bool [N]: the same time in the same place."""
        known, here = np.asarray(self._latency), np.asarray(scores.embedding, np.float64)
        found = np.zeros(len(latency), bool)
        for number, seconds in enumerate(latency):
            alike = np.flatnonzero(np.isnan(known) if np.isnan(seconds) else known == seconds)
            if len(alike):
                places = np.asarray([self._embedding[at] for at in alike])
                apart = np.abs(places - here[number]).max(axis=1, initial=0.0)
                found[number] = (apart <= _SAME).any()
        return found

    def predict(self, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float64 [N] each, in natural logarithms."""
        prior = np.asarray(scores.score, np.float64)
        fit = self._fitted()
        if fit is None:
            return prior, np.asarray(scores.uncertainty, np.float64)
        here = fit.place(scores)
        cross = _kernel(here, fit.measured)
        explained = np.square(cross @ fit.root).sum(axis=1)
        itself = 1.0 - _LINEAR + _LINEAR * np.square(here.latents).sum(axis=1)
        deviation = np.sqrt(fit.variance * np.maximum(itself - explained / fit.variance, 1e-6))
        return prior + fit.offset + cross @ fit.weights, deviation

    def covariance(self, scores: Scores) -> np.ndarray:
        """Covariance of the candidates' predictions, float64 [N, N], squared logarithms."""
        fit = self._fitted()
        if fit is None:
            latents, _, _ = _centred(np.asarray(scores.embedding, np.float64))
            here = _Places(latents, scores.leaves)
            deviation = np.asarray(scores.uncertainty, np.float64)
            kernel = _kernel(here, here)
            deviation = deviation / np.sqrt(np.diag(kernel))
            return kernel * deviation[:, None] * deviation[None, :]
        here = fit.place(scores)
        explained = _kernel(here, fit.measured) @ fit.root
        return np.asarray(fit.variance * _kernel(here, here) - explained @ explained.T)

    def arrays(self) -> Learned:
        """What ``restore`` takes."""
        width = len(self._embedding[0]) if self._embedding else 0
        trees = len(self._leaves[0]) if self._leaves else 0
        rows = np.asarray([self._score, self._uncertainty, self._latency], np.float64)
        return Learned(
            np.asarray(self._embedding, np.float32).reshape(len(self), width),
            np.asarray(self._leaves, np.uint8).reshape(len(self), trees),
            rows.reshape(3, len(self)),
        )

    @classmethod
    def restore(cls, learned: Learned) -> Posterior:
        """The posterior whose ``arrays`` these are."""
        posterior = cls()
        score, uncertainty, latency = learned.rows
        posterior.update(Scores(score, uncertainty, learned.latents, learned.leaves), latency)
        return posterior

    def _fitted(self) -> _Fit | None:
        if self._fit is None and self._latency:
            self._fit = _fit(*self._kept(), has_scale=bool(np.isfinite(self._latency).any()))
        return self._fit

    def _kept(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Latents, leaves, residuals and uncertainties of the measurements to fit."""
        latency = np.asarray(self._latency)
        log_speed = -np.log(latency)
        score, failed = np.asarray(self._score), ~np.isfinite(log_speed)
        ran = log_speed[~failed]
        # As long as none ran, what fails is compared with its own score alone.
        expected = score[failed] + (np.median(ran - score[~failed]) if len(ran) else 0.0)
        worst = ran.min(initial=np.inf)
        log_speed[failed] = np.minimum(worst, expected) - _FAILURE_PENALTY
        keep = np.arange(len(latency))
        if len(keep) > _MOST:
            best = np.argsort(-log_speed, kind="stable")[: _MOST // 2]
            newest = np.setdiff1d(keep, best)[-(_MOST - len(best)) :]
            keep = np.union1d(best, newest)
        residual = log_speed - score
        return (
            np.asarray(self._embedding)[keep],
            np.asarray(self._leaves)[keep],
            residual[keep],
            np.asarray(self._uncertainty)[keep],
        )


def _fit(
    latents: np.ndarray,
    leaves: np.ndarray,
    residual: np.ndarray,
    uncertainty: np.ndarray,
    has_scale: bool,
) -> _Fit:
    """``has_scale``: whether a candidate ran, and the mean residual tells what a score of zero is
    in seconds; without, all that failed would be as good as expected."""
    points, center, scale = _centred(latents)
    measured = _Places(points, leaves)
    offset = float(residual.mean()) if has_scale else 0.0
    target = residual - offset
    values, vectors = np.linalg.eigh(_kernel(measured, measured))
    # By noise, float64 [S, M]; of each noise the scale of the kernel and how likely both are.
    spectrum = np.maximum(values, 0.0) + _NOISES[:, None]
    freedom = _PRIOR_WEIGHT + len(target)
    expected = _PRIOR_WEIGHT * (float(np.square(uncertainty).mean()) + 1e-4)
    variance = (expected + (np.square(vectors.T @ target) / spectrum).sum(axis=1)) / freedom
    evidence = -0.5 * np.log(spectrum).sum(axis=1) - 0.5 * freedom * np.log(variance)
    chance = np.exp(evidence - evidence.max())
    chance /= chance.sum()
    return _Fit(
        center=center,
        scale=scale,
        measured=measured,
        weights=vectors @ ((vectors.T @ target) * (chance @ (1.0 / spectrum))),
        root=vectors * np.sqrt((chance * variance) @ (1.0 / spectrum)),
        offset=offset,
        variance=float(chance @ variance),
    )


def _centred(latents: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Latents about their mean, in units of their distance from it; both of these as well."""
    center = latents.mean(axis=0)
    centred = latents - center
    scale = float(np.sqrt(np.square(centred).sum(axis=1).mean())) or 1.0
    return centred / scale, center, scale


def _kernel(left: _Places, right: _Places) -> np.ndarray:
    """How alike candidates are, float64 [L, R]."""
    product = left.latents @ right.latents.T
    square = np.square(left.latents).sum(axis=1)[:, None] + np.square(right.latents).sum(axis=1)
    near = np.exp(-0.5 * np.maximum(square - 2.0 * product, 0.0) / _LENGTH**2)
    trees = left.leaves.shape[1]
    if trees:
        shared = np.zeros(near.shape, np.uint32)
        # Tree by tree, each a row that lies together.
        by_tree = (np.ascontiguousarray(places.leaves.T) for places in (left, right))
        for mine, theirs in zip(*by_tree):  # noqa: B905 (Python 3.8)
            shared += mine[:, None] == theirs[None, :]
        near = 0.5 * near + 0.5 * shared / trees
    return np.asarray((1.0 - _LINEAR) * near + _LINEAR * product)


def pick_batch(
    mean: np.ndarray,
    covariance: np.ndarray,
    count: int,
    explore: int,
    greedy: int = 0,
    first: int | None = None,
) -> list[int]:
    """Numbers of ``count`` candidates to measure together, out of N.

    Batch upper confidence bounds (Desautels, Krause and Burdick, JMLR 2014): each pick lowers the
    uncertainty of its neighbours as if it had been measured, so that a batch is not one candidate
    many times. The first ``greedy`` picks go by the mean alone, after ``first``; the last
    ``explore`` look for what is least known rather than what is best.
    """
    mean, covariance = np.asarray(mean, np.float64), np.array(covariance, np.float64)
    noise = 0.01 * float(np.diag(covariance).mean()) + 1e-9
    left = np.ones(len(mean), bool)
    picked: list[int] = []
    for turn in range(min(count, len(mean))):
        boldness = _BOLD if turn >= count - explore else _CAUTIOUS if turn >= greedy else 0.0
        bound = mean + boldness * np.sqrt(np.maximum(np.diag(covariance), 0.0))
        chosen = int(np.argmax(np.where(left, bound, -np.inf)))
        if turn == 0 and first is not None:
            chosen = first
        picked.append(chosen)
        left[chosen] = False
        column = covariance[:, chosen] / np.sqrt(max(covariance[chosen, chosen], 0.0) + noise)
        covariance -= np.outer(column, column)
    return picked
