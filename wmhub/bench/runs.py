"""Trained configurations that a benchmark compares.

Each is kept as a file, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import wmhub
from wmhub.errors import InvalidInputError
from wmhub.training.metrics import Metrics

METRICS = ("top1", "top5", "pairwise_accuracy")


@dataclass(frozen=True)
class Run:
    """One trained configuration."""

    variant: str
    """Name of the configuration."""
    seed: int
    """Of initial weights and of sampling; where folds are compared, the fold's number."""
    parameters: int
    """Weights that training reached."""
    seconds: float
    """Wall time of the training."""
    metrics: Metrics
    """On the workloads that it is compared on."""

    def __str__(self) -> str:
        m = self.metrics
        return (
            f"{self.variant}, seed {self.seed}: top-1 {m.top1:.3f} top-5 {m.top5:.3f} "
            f"pairwise {m.pairwise_accuracy:.3f} in {self.seconds:.0f} s"
        )


def run_path(folder: Path, variant: str, seed: int, *means: object) -> Path:
    """File of a run in ``folder``; runs by other ``means`` (JSON values) would not end alike, and
    have other files."""
    value = json.dumps([wmhub.__version__, *means], sort_keys=True)
    identity = hashlib.sha256(value.encode()).hexdigest()[:12]
    return folder / f"{variant.replace(' ', '-')}-seed{seed}-{identity}.json"


def read_run(path: Path, variant: str, seed: int) -> Run | None:
    """The run in a file; ``None`` without one.

    Raises ``InvalidInputError`` for a file that is no run, or another one.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        run = Run(**{**value, "metrics": Metrics(**value["metrics"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError.at(path, f"not the result of a run: {error}") from error
    if (run.variant, run.seed) != (variant, seed):
        raise InvalidInputError.at(path, f"the result of {run.variant}, seed {run.seed}")
    return run


def write_run(path: Path, run: Run) -> None:
    """Writes a run whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(dataclasses.asdict(run), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
