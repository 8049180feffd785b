"""Trained configurations that a benchmark compares.

Each is kept as a file, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from wmhub.code_digest import code_digest
from wmhub.errors import InvalidInputError
from wmhub.flushing import write_file
from wmhub.model.network import WorldModel
from wmhub.training.boosting import fit_forest
from wmhub.training.config import TrainConfig
from wmhub.training.data import Examples
from wmhub.training.evaluate import evaluate_rankings
from wmhub.training.loop import Loop, rank_stored
from wmhub.training.metrics import Metrics
from wmhub.training.store import StoredWorkload

Watch = Callable[[str, int, int], None]
"""Called with a run's name, the steps done and the steps in all."""

METRICS = ("top1", "top5", "pairwise_accuracy")


@dataclass(frozen=True)
class Run:
    """One trained configuration."""

    variant: str
    """Name of the configuration."""
    seed: int
    """Of initial weights and of sampling; where each fold is a run, the fold's number."""
    parameters: int
    """Weights that training reached."""
    seconds: float
    """Wall time of all training."""
    metrics: Metrics
    """On the workloads that it is compared on."""

    def line(self, number: str = "seed") -> str:
        """The run in a line, for people; ``number`` says what ``seed`` counts."""
        m = self.metrics
        return (
            f"{self.variant}, {number} {self.seed}: top-1 {m.top1:.3f} top-5 {m.top5:.3f} "
            f"pairwise {m.pairwise_accuracy:.3f} in {self.seconds:.0f} s"
        )


def run_path(folder: Path, variant: str, seed: int, *means: object) -> Path:
    """File of a run in ``folder``; runs by other ``means`` (JSON values), or by other code, would
    not end alike, and have other files."""
    code = code_digest("model", "training", "bench", "records.py")
    value = json.dumps([code, *means], sort_keys=True)
    identity = hashlib.sha256(value.encode()).hexdigest()[:12]
    return folder / f"{variant}-seed{seed}-{identity}.json"


def kept_run(
    path: Path, variant: str, seed: int, train: Callable[[], Run], on_new: Callable[[Run], None]
) -> Run:
    """The run in a file; without one, what ``train`` gives, written there and told to ``on_new``.

    Raises ``InvalidInputError`` for a file that is no run, or another one.
    """
    run = _read(path, variant, seed)
    if run is None:
        run = train()
        write_file(path, (json.dumps(dataclasses.asdict(run), indent=2) + "\n").encode())
        on_new(run)
    return run


def fit(
    network: WorldModel, config: TrainConfig, training: Sequence[Sequence[Examples]],
    held_out: Sequence[StoredWorkload], name: str, watch: Watch | None,
) -> None:  # fmt: skip
    """Trains ``network`` in place, with trees that go on from its own where the configuration has
    some.

    ``watch`` is told of each step under ``name``. The one validation that ``config`` must leave,
    after the last step, chooses nothing.
    """
    threads = torch.get_num_threads()
    forest = fit_forest(training, config, network.forest, threads) if config.trees else None

    def step(done: int, steps: int, _loss: float, _looked: object) -> None:
        if watch is not None:
            watch(name, done, steps)

    Loop(network, config, training, forest=forest).run(held_out[:1], None, step)


def ranked(
    variant: str, seed: int, seconds: float, network: WorldModel,
    held_out: Sequence[StoredWorkload], parameters: int,
) -> Run:  # fmt: skip
    """The run that led to ``network`` in so many seconds, compared on ``held_out``."""
    metrics, _ = evaluate_rankings(rank_stored(network, held_out))
    return Run(variant, seed, parameters, round(seconds, 1), metrics)


def reached(network: WorldModel) -> int:
    """Weights that training reached: those of an input that the configuration leaves at zero, or of
    a part that it does without, are none."""
    config = network.config
    features = network.enter.weight.shape[1] - 2 * config.latent
    dead = 0 if config.structured else features
    dead += 0 if config.hardware else config.latent
    dead += config.latent if config.dynamics == "none" and not config.program else 0
    reached = sum(p.numel() for p in network.parameters() if p.grad is not None)
    return reached - config.members * dead * config.hidden


def _read(path: Path, variant: str, seed: int) -> Run | None:
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
