"""``Learner``: a checkpoint and what it learned from the measurements of a tuning run.

One per run, shared by all of its workloads; the cost model and ``LatentSearch`` are its two faces.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np

from wmhub.errors import CheckpointError, MissingInputError
from wmhub.evaluator import LatentSpace, Scores, WorkloadScorer
from wmhub.flushing import write_file
from wmhub.names import HardwareKey
from wmhub.records import Workload
from wmhub.search.posterior import Learned, Posterior

_FORMAT = 4
#: What numpy raises of a file that is no archive, or an archive of something else.
_UNREADABLE = (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile)


class WorkloadEvaluator(Protocol):
    """The part of ``wmhub.evaluator.Evaluator`` that a search needs."""

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        ...

    @property
    def hardware(self) -> HardwareKey:
        """What the checkpoint was trained on."""
        ...

    @property
    def latents(self) -> LatentSpace:
        """Where the candidates of its scorers lie."""
        ...

    def for_workload(self, program: str) -> WorkloadScorer:
        """The scorer of one program: base64 of a database's workload, or ``save_json`` text."""
        ...


class WorkloadLearner:
    """Scorer and posterior of one workload."""

    def __init__(self, scorer: WorkloadScorer, posterior: Posterior, adapt: bool) -> None:
        self.scorer = scorer
        self.posterior = posterior
        self._adapt = adapt

    def predict(self, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation, float64 [N], of the posterior (without ``adapt``: of the prior)."""
        if not self._adapt:
            return np.asarray(scores.score, np.float64), np.asarray(scores.uncertainty, np.float64)
        return self.posterior.predict(scores)

    def covariance(self, scores: Scores) -> np.ndarray:
        """Covariance of the posterior, float64 [N, N] (without ``adapt``: of the prior)."""
        return (self.posterior if self._adapt else Posterior()).covariance(scores)

    def update(self, scores: Scores, latency: np.ndarray) -> None:
        """Adds measured candidates: ``latency`` is float [N] in seconds, NaN for a failed one."""
        self.posterior.update(scores, latency)


class SpeedRatios:
    """Expected best latency over latency, positive and about 1 for the best: what TVM's searches
    take as scores. They clip at zero and draw in proportion, so logarithms would not do, and a NaN
    or a sum of zero would leave them searching for ever.
    """

    def __init__(self) -> None:
        self._best: dict[str, float] = {}

    def of(self, key: str, mean: np.ndarray) -> np.ndarray:
        """Of N candidates of the workload ``key`` with these means of the posterior, float64 [N].

        What the best is stays until it is forgotten: one heap compares several calls.
        """
        mean = np.where(np.isfinite(mean), mean, -50.0)
        best = self._best.setdefault(key, float(mean.max()))
        return np.asarray(np.exp(np.clip(mean - best, -20.0, 20.0)), np.float64)

    def forget(self, key: str) -> None:
        """Something was learned of the workload ``key``: means have another scale."""
        self._best.pop(key, None)


class Posteriors:
    """What a run learned of each of its workloads, as a file."""

    def __init__(self, latents: LatentSpace) -> None:
        """``latents``: where the evaluator that scores puts candidates; another's mean nothing."""
        self._latents = latents
        self._of: dict[str, Posterior] = {}

    def of(self, key: str) -> Posterior:
        """The posterior of the workload ``key``; a new one for a new key."""
        return self._of.setdefault(key, Posterior())

    def save(self, path: str | Path) -> None:
        """Writes all posteriors to ``path``, a numpy archive without pickled objects, at once."""
        arrays: dict[str, np.ndarray] = {
            "format": np.asarray(_FORMAT),
            "model": np.asarray(self._latents.model),
            "keys": np.asarray(list(self._of), np.str_),
        }
        for number, posterior in enumerate(self._of.values()):
            for name, array in posterior.arrays()._asdict().items():
                arrays[f"{name}{number}"] = array
        archive = io.BytesIO()
        np.savez(archive, **arrays)  # type: ignore[arg-type]
        write_file(Path(path), archive.getvalue())

    def load(self, path: str | Path) -> None:
        """Takes up what ``save`` wrote, in place of what is known of the same workloads.

        Raises ``MissingInputError``, or ``CheckpointError`` for a file of another kind, of another
        checkpoint or of other weights.
        """
        if not Path(path).is_file():
            raise MissingInputError(f"{path}: no such file; a search's save writes it")
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            written, model = int(arrays["format"]), str(arrays["model"])
            keys = [str(key) for key in arrays["keys"].tolist()]
        except _UNREADABLE as error:
            raise CheckpointError.at(path, f"not what a search saved ({error!r})") from error
        if written != _FORMAT:
            raise CheckpointError.at(
                path, f"not what a search saved in format {_FORMAT}; delete the file"
            )
        if model != self._latents.model:
            raise CheckpointError.at(
                path,
                f"learned by {model}, whose latents mean nothing to {self._latents.model}; delete "
                "the file or use that model",
            )
        learned = {}
        for number, key in enumerate(keys):
            try:
                known = Learned(*(arrays[f"{name}{number}"] for name in Learned._fields))
            except KeyError as error:
                raise CheckpointError.at(path, f"not what a search saved (no {error})") from error
            reason = _unsound(known, self._latents)
            if reason is not None:
                raise CheckpointError.at(path, f"what was learned of workload {number}: {reason}")
            learned[key] = Posterior.restore(known)
        self._of.update(learned)


def _unsound(known: Learned, space: LatentSpace) -> str | None:
    """Why measurements are none that a search in ``space`` saved; ``None``: they are."""
    kinds = [array.dtype for array in known]
    if kinds != [np.float32, np.uint8, np.float64]:
        return f"arrays of {', '.join(map(str, kinds))}, not of float32, uint8, float64"
    count = known.rows.shape[-1] if known.rows.ndim else 0
    wanted = [(count, space.width), (count, space.trees), (3, count)]
    if not count:
        wanted[:2] = [(0, 0), (0, 0)]
    shapes = [array.shape for array in known]
    if shapes != wanted:
        return f"arrays of shapes {shapes}, not {wanted}"
    if not (np.isfinite(known.latents).all() and np.isfinite(known.rows[:2]).all()):
        return "numbers that are not finite"
    return None


class Learner:
    """An evaluator, and one posterior for each workload that it was asked about."""

    def __init__(self, evaluator: WorkloadEvaluator, adapt: bool = True) -> None:
        self.evaluator = evaluator
        self._adapt = adapt
        self._scorers: dict[str, WorkloadScorer] = {}
        self._posteriors = Posteriors(evaluator.latents)

    def workload(self, workload: Workload) -> WorkloadLearner:
        """The learner of ``workload``, which must have its program."""
        if workload.id not in self._scorers:
            self._scorers[workload.id] = self.evaluator.for_workload(workload.program or "")
        return WorkloadLearner(
            self._scorers[workload.id], self._posteriors.of(workload.id), self._adapt
        )

    def save(self, path: str | Path) -> None:
        """Writes what was learned; ``Posteriors.save``."""
        self._posteriors.save(path)

    def load(self, path: str | Path) -> None:
        """Takes up what ``save`` wrote; ``Posteriors.load``."""
        self._posteriors.load(path)
