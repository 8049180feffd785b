"""What each part of the world model is worth: the same code and steps, one part left out.

Every run is one configuration and one seed, and its result a file: an interrupted benchmark goes on
where it was. All runs take the same number of steps and keep the last weights, so that no run
chooses anything on the workloads that it is compared on.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.bench.runs import METRICS, Run, Watch, fit, kept_run, ranked, reached, run_path
from wmhub.dataset.verify import open_verified
from wmhub.errors import InvalidInputError, nearest
from wmhub.model.config import ModelConfig
from wmhub.training.boosting import require_xgboost
from wmhub.training.config import TrainConfig
from wmhub.training.corpus import Corpus, gather_corpus
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


VARIANTS: dict[str, Variant] = {
    "full": Variant("the default"),
    "no-dynamics": Variant("actions not read", {"dynamics": "none"}),
    "bag": Variant("actions as a sum", {"dynamics": "bag"}),
    "transformer": Variant("attention, no rollout", {"dynamics": "transformer"}),
    "tlp": Variant(
        "attention alone, as TLP",
        {"dynamics": "transformer", "program": False, "structured": False},
        {"consistency_weight": 0.0, "trees": 0},
    ),
    "no-program": Variant("initial program not read", {"program": False}),
    "no-consistency": Variant("no consistency loss", {}, {"consistency_weight": 0.0}),
    "no-structured": Variant("no structured features", {"structured": False}, {"trees": 0}),
    "no-hardware": Variant("no hardware profile", {"hardware": False}),
    "latent-only": Variant(
        "the latent alone", {"structured": False, "hardware": False}, {"trees": 0}
    ),
    "features-only": Variant(
        "structured features alone",
        {"dynamics": "none", "program": False, "hardware": False},
        {"consistency_weight": 0.0},
    ),
    "no-trees": Variant("networks alone", {}, {"trees": 0}),
    "lambdarank": Variant("LambdaRank, not ListNet", {}, {"ranking": "lambdarank"}),
}  # fmt: skip


@dataclass(frozen=True)
class Ablation:
    """The outcome of the benchmark."""

    dataset: str
    """Name of the dataset."""
    split: str
    """Where the runs are compared; ``validation`` unless the test workloads were asked for."""
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
    cache: str | Path | None = None,
    on_run: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Ablation:
    """Trains what is missing in the folder ``output`` and compares all on ``split``.

    ``config`` is what the configurations change; its steps are those of every run. ``watch`` is
    called with a run's name, the steps done and the steps in all. ``cache``: folder of encoded
    datasets, as for ``train``.

    Raises ``MissingDependencyError`` without XGBoost, ``InvalidInputError`` for an unknown
    configuration and ``DatasetError`` for a dataset without workloads to train on or to compare
    on.
    """
    output, config = Path(output), config or TrainConfig()
    chosen = list(dict.fromkeys(variants))
    for variant in chosen:
        if variant not in VARIANTS:
            close = nearest(variant, VARIANTS) or list(VARIANTS)
            raise InvalidInputError(f"no configuration {variant!r}; there are {', '.join(close)}")
    if seeds < 1 or split not in ("validation", "test"):
        raise InvalidInputError("ablation needs a seed, and validation or test to compare on")
    if config.trees:
        require_xgboost("bench ablation")
    source = open_verified(dataset)
    folder = default_cache() if cache is None else Path(cache)
    corpus = gather_corpus(source.hardware, [source], config, folder)
    encoded = store_key(source, corpus.profile)
    held_out = corpus.validation if split == "validation" else corpus.test
    runs = []

    def told(run: Run) -> None:
        if on_run is not None:
            on_run(run.line())

    for variant in chosen:
        for seed in range(seeds):
            made = configured(variant, config, seed)
            means = (encoded, split, dataclasses.asdict(made))
            path = run_path(output, variant, seed, *means)
            train = partial(_train, variant, made, corpus, held_out, watch)
            runs.append(kept_run(path, variant, seed, train, told))
    latencies = [workload.latency for workload in held_out]
    random = summarise_random([latency[np.isfinite(latency)] for latency in latencies])
    return Ablation(
        source.manifest.name, split, config.steps, tuple(range(seeds)), random, tuple(runs)
    )


def configured(variant: str, config: TrainConfig, seed: int) -> TrainConfig:
    """``config`` as the configuration changes it, with one validation, after the last step."""
    changes = VARIANTS[variant]
    model: ModelConfig = dataclasses.replace(config.model, **changes.model)
    return dataclasses.replace(
        config, model=model, seed=seed, validate_every=config.steps, **changes.training
    )


def _train(
    variant: str, config: TrainConfig, corpus: Corpus, held_out: Sequence[StoredWorkload],
    watch: Watch | None,
) -> Run:  # fmt: skip
    network = new_network(config, corpus.profile, corpus.training)
    name = f"{variant}, seed {config.seed}"
    began = time.monotonic()
    fit(network, config, corpus.training, corpus.own_training, held_out, name, watch)
    seconds = time.monotonic() - began
    return ranked(variant, config.seed, seconds, network, held_out, reached(network))
