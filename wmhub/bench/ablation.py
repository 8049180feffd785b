"""What each part of the world model is worth: the same code and steps, one part left out.

Every run is one configuration and one seed, and its result a file: an interrupted benchmark goes on
where it was. All runs take the same number of steps and keep the last weights, so that no run
chooses anything on the workloads that it is compared on. Where few workloads are set apart, folds
tell more: a run then trains a model for each, and all that are no test workloads are ranked by one
that has not seen them.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.bench.folds import FOLDS, SPLITS, Part, parts_of
from wmhub.bench.runs import METRICS, Run, Watch, fit, kept_run, reached, run_path
from wmhub.dataset.verify import open_verified
from wmhub.errors import InvalidInputError, nearest
from wmhub.model.config import ModelConfig
from wmhub.training.baselines import GradientBoosting, Setting, ranked_by
from wmhub.training.boosting import require_xgboost
from wmhub.training.config import TrainConfig
from wmhub.training.corpus import profile_of, training_of
from wmhub.training.data import Candidates, from_store
from wmhub.training.encoding import open_store
from wmhub.training.evaluate import Ranking, evaluate_rankings
from wmhub.training.loop import rank_stored
from wmhub.training.metrics import Metrics, summarise_random
from wmhub.training.run import default_cache, new_network
from wmhub.training.store import StoredWorkload, store_key


@dataclass(frozen=True)
class Variant:
    """One configuration, as changes to the default."""

    about: str
    """What is different, for people."""
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of ``ModelConfig``."""
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of ``TrainConfig``."""
    is_boosting: bool = False
    """Whether gradient boosting stands in place of the model."""


VARIANTS: dict[str, Variant] = {
    "full": Variant("the default"),
    "no-dynamics": Variant("actions not read", {"dynamics": "none"}),
    "bag": Variant("actions as a sum", {"dynamics": "bag"}),
    "transformer": Variant("attention, no rollout", {"dynamics": "transformer"}),
    "tlp": Variant(
        "attention alone, as TLP",
        {"dynamics": "transformer", "program": False, "structured": False, "parts": 0},
        {"consistency_weight": 0.0, "trees": 0},
    ),
    "no-program": Variant("initial program not read", {"program": False}),
    "no-consistency": Variant("no consistency loss", {}, {"consistency_weight": 0.0}),
    "no-structured": Variant(
        "no structured features", {"structured": False, "parts": 0}, {"trees": 0}
    ),
    "no-parts": Variant("features as one number each", {"parts": 0}),
    "no-hardware": Variant("no hardware profile", {"hardware": False}),
    "latent-only": Variant(
        "the latent alone", {"structured": False, "parts": 0, "hardware": False}, {"trees": 0}
    ),
    "features-only": Variant(
        "structured features alone",
        {"dynamics": "none", "program": False, "hardware": False},
        {"consistency_weight": 0.0},
    ),
    "no-trees": Variant("networks alone", {}, {"trees": 0}),
    "lambdarank": Variant("LambdaRank, not ListNet", {}, {"ranking": "lambdarank"}),
    "boosting": Variant("gradient boosting, no model", is_boosting=True),
}  # fmt: skip


@dataclass(frozen=True)
class Ablation:
    """The outcome of the benchmark."""

    dataset: str
    """Name of the dataset."""
    split: str
    """Where the runs are compared: one of ``SPLITS``."""
    folds: int
    """How many folds those are; 0 for a split of the dataset."""
    steps: int
    """Optimiser steps of every run."""
    seeds: tuple[int, ...]
    """Seeds of each configuration."""
    random: Metrics
    """What a random order expects."""
    runs: tuple[Run, ...]
    """By configuration, then by seed."""

    def spread(self, variant: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation over the seeds (0 for a single one)."""
        values = [getattr(run.metrics, metric) for run in self.of(variant)]
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    def of(self, variant: str) -> list[Run]:
        """The runs of one configuration."""
        return [run for run in self.runs if run.variant == variant]

    @property
    def variants(self) -> list[str]:
        """The configurations, in their order."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    def to_json(self) -> dict[str, Any]:
        """What ``wmhub bench ablation --json`` prints."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "folds": self.folds,
            "steps": self.steps,
            "seeds": list(self.seeds),
            "random": dataclasses.asdict(self.random),
            "configs": {
                variant: {
                    "about": VARIANTS[variant].about,
                    "parameters": self.of(variant)[0].parameters,
                    "seconds": statistics.fmean(run.seconds for run in self.of(variant)),
                    **{
                        metric: dict(
                            zip(("mean", "spread"), self.spread(variant, metric), strict=True)
                        )
                        for metric in METRICS
                    },
                }
                for variant in self.variants
            },
            "runs": [dataclasses.asdict(run) for run in self.runs],
        }


def ablation(
    dataset: str | Path,
    output: str | Path,
    *,
    variants: Iterable[str] = VARIANTS,
    seeds: int = 3,
    config: TrainConfig | None = None,
    split: str = "validation",
    folds: int = 3,
    cache: str | Path | None = None,
    on_run: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Ablation:
    """Trains what is missing in the folder ``output`` and compares all on ``split``: one of
    ``SPLITS``, of which the last are so many ``folds``.

    ``config`` is what the configurations change; its steps are those of every run. ``watch`` is
    called with a run's name, the steps done and the steps in all. ``cache``: folder of encoded
    datasets, as for ``train``.

    Raises ``MissingDependencyError`` without XGBoost, ``InvalidInputError`` for an unknown
    configuration and ``DatasetError`` for a dataset without workloads to train on or to compare
    on.
    """
    output, config = Path(output), config or TrainConfig()
    chosen = list(dict.fromkeys(variants))
    _require_known(chosen)
    if seeds < 1 or folds < 2 or split not in SPLITS:
        raise InvalidInputError(
            f"ablation needs a seed, two folds, and one of {', '.join(SPLITS)} to compare on"
        )
    if config.trees or any(VARIANTS[variant].is_boosting for variant in chosen):
        require_xgboost("bench ablation")
    folds = folds if split == FOLDS else 0
    source = open_verified(dataset)
    folder = default_cache() if cache is None else Path(cache)
    setting = Setting(source, profile_of(source), folder, config.steps)
    store = open_store(source, setting.profile, folder)
    parts = parts_of(store, str(source.path), split, folds)
    encoded = store_key(source, setting.profile)
    runs = []

    def told(run: Run) -> None:
        if on_run is not None:
            on_run(run.line())

    for variant in chosen:
        for seed in range(seeds):
            made = configured(variant, config, seed)
            means = (encoded, split, folds, dataclasses.asdict(made))
            path = run_path(output, variant, seed, *means)
            train = partial(_run, variant, made, setting, parts, watch)
            runs.append(kept_run(path, variant, seed, train, told))
    latencies = [workload.latency for part in parts for workload in part.held_out]
    random = summarise_random([latency[np.isfinite(latency)] for latency in latencies])
    name, numbers = source.manifest.name, tuple(range(seeds))
    return Ablation(name, split, folds, config.steps, numbers, random, tuple(runs))


def _require_known(variants: Iterable[str]) -> None:
    for variant in variants:
        if variant not in VARIANTS:
            close = nearest(variant, VARIANTS) or list(VARIANTS)
            raise InvalidInputError(f"no configuration {variant!r}; there are {', '.join(close)}")


def configured(variant: str, config: TrainConfig, seed: int) -> TrainConfig:
    """``config`` as the configuration changes it, with one validation, after the last step."""
    changes = VARIANTS[variant]
    model: ModelConfig = dataclasses.replace(config.model, **changes.model)
    return dataclasses.replace(
        config, model=model, seed=seed, validate_every=config.steps, **changes.training
    )


def _run(
    variant: str, config: TrainConfig, setting: Setting, parts: Sequence[Part], watch: Watch | None
) -> Run:
    """Trains what ranks each part; the run is compared on all that they hold out."""
    rankings: list[Ranking] = []
    seconds, parameters = 0.0, 0
    for part in parts:
        began = time.monotonic()
        name = ", ".join(filter(None, (variant, f"seed {config.seed}", part.name)))
        if VARIANTS[variant].is_boosting:
            watched = partial(watch, name) if watch is not None else None
            boosting = GradientBoosting(_of_run(setting, config.seed, watched))
            boosting.fit(_Read(part.training))
            seconds += time.monotonic() - began
            rankings += [ranked_by(boosting, candidates) for candidates in _Read(part.held_out)]
            continue
        training = training_of([part.training], [True], config)
        network = new_network(config, setting.profile, training)
        fit(network, config, training, part.held_out, name, watch)
        seconds += time.monotonic() - began
        rankings += rank_stored(network, part.held_out)
        parameters = reached(network)
    metrics, _ = evaluate_rankings(rankings)
    return Run(variant, config.seed, parameters, round(seconds, 1), metrics)


def _of_run(setting: Setting, seed: int, watch: Callable[[int, int], None] | None) -> Setting:
    """What a baseline of one run is made with; ``watch`` is told how far it is, and of how much."""
    seeded = dataclasses.replace(setting, seed=seed)
    if watch is None:
        return seeded
    return dataclasses.replace(seeded, progress=lambda _what, done, total: watch(done, total))


@dataclass(frozen=True)
class _Read:
    """Candidates of workloads, read anew each time that they are gone through."""

    workloads: Sequence[StoredWorkload]

    def __iter__(self) -> Iterator[Candidates]:
        return map(from_store, self.workloads)
