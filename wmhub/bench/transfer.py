"""What a model of another hardware is worth on a new one of which little was measured.

Cross-validated over workloads, because the few test workloads of one dataset cannot tell: the
workloads that both hardware's train and validation splits hold are dealt into folds, and each fold
is ranked by models that have seen it on neither. Test workloads take no part. All runs keep their
last weights, so that none chooses anything on the workloads that it is compared on.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.bench.runs import METRICS, Run, read_run, run_path, write_run
from wmhub.dataset.reader import open_dataset
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.network import WorldModel
from wmhub.training.boosting import fit_forest, require_xgboost
from wmhub.training.config import TrainConfig
from wmhub.training.corpus import profile_of
from wmhub.training.data import Examples, examples_of, few
from wmhub.training.encoding import open_store
from wmhub.training.evaluate import evaluate_rankings
from wmhub.training.loop import Loop, rank_stored
from wmhub.training.run import default_cache, new_network
from wmhub.training.store import StoredWorkload, store_key

#: What is compared, in this order.
VARIANTS = {
    "zero-shot": "the other hardware's model as it is",
    "fine-tuned": "it goes on with the few records",
    "few": "the few records, from nothing",
    "many": "many records, from nothing",
}
#: Of which random order workloads are dealt into folds.
_DEAL = 7


@dataclass(frozen=True)
class Transfer:
    """The outcome of the benchmark."""

    dataset: str
    """Name of the dataset of the new hardware."""
    source: str
    """Name of the dataset of the other one."""
    workloads: int
    """Workloads that were ranked, each by models that had not seen it."""
    samples: int
    """The few records of each fold."""
    many: int
    """The many records of each fold."""
    runs: tuple[Run, ...]
    """By fold, then as ``VARIANTS``; ``Run.seed`` is the fold."""

    def mean(self, variant: str, metric: str) -> float:
        """Mean over folds."""
        found = [run for run in self.runs if run.variant == variant]
        return statistics.fmean(getattr(run.metrics, metric) for run in found)

    def to_json(self) -> dict[str, Any]:
        """What ``wmhub bench transfer --json`` prints."""
        configs = {
            variant: {"about": about, **{name: self.mean(variant, name) for name in METRICS}}
            for variant, about in VARIANTS.items()
        }
        whole = dataclasses.asdict(self)
        return {**whole, "configs": configs}


@dataclass(frozen=True)
class _Fold:
    number: int
    held_out: list[StoredWorkload]
    """Of the new hardware."""
    own: list[StoredWorkload]
    """Of the new hardware, to train on."""
    other: list[StoredWorkload]
    """Of the other hardware, to train on."""


def transfer(
    dataset: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    samples: int = 2000,
    many: int = 20_000,
    folds: int = 3,
    config: TrainConfig | None = None,
    cache: str | Path | None = None,
    on_run: Callable[[str], None] | None = None,
    watch: Callable[[str, int, int], None] | None = None,
) -> Transfer:
    """Trains what is missing in the folder ``output`` and compares all on the held-out folds.

    ``dataset`` is of the new hardware, ``source`` of the other one. Models take the steps of
    ``config``, with few records half of them. ``watch`` is called with a run's name, the steps done
    and the steps in all. ``cache``: folder of encoded datasets, as for ``train``.

    Raises ``MissingDependencyError`` without XGBoost, ``InvalidInputError`` for numbers that make
    no sense and ``DatasetError`` where the datasets share too few workloads.
    """
    output, config = Path(output), config or TrainConfig(steps=600)
    if folds < 2 or samples < 2 or many < samples:
        raise InvalidInputError("transfer needs two folds, two samples, and many be no fewer")
    require_xgboost("bench transfer")
    new, other = open_dataset(dataset), open_dataset(source)
    folder = default_cache() if cache is None else Path(cache)
    profiles = [profile_of(one) for one in (new, other)]
    dealt, workloads = _deal(
        [open_store(one, p, folder).split for one, p in zip((new, other), profiles, strict=True)],
        folds,
    )
    keys = [store_key(one, p) for one, p in zip((new, other), profiles, strict=True)]
    means = (*keys, samples, many, folds, dataclasses.asdict(config))
    runs: list[Run] = []
    for fold in dealt:
        paths = {v: run_path(output, v, fold.number, *means) for v in VARIANTS}
        known = {variant: read_run(path, variant, fold.number) for variant, path in paths.items()}
        done = [run for run in known.values() if run is not None]
        if len(done) < len(VARIANTS):
            done = _Trainer(config, fold, profiles, watch).runs(samples, many)
            for run in done:
                write_run(paths[run.variant], run)
                if on_run is not None:
                    on_run(str(run).replace("seed", "fold"))
        runs += done
    return Transfer(new.manifest.name, other.manifest.name, workloads, samples, many, tuple(runs))


def _deal(
    splits: Sequence[Callable[[str], list[StoredWorkload]]], folds: int
) -> tuple[list[_Fold], int]:
    """The folds, and how many workloads are dealt: those that both have and neither tests."""
    known = [
        {w.workload.id: w for part in ("train", "validation") for w in split(part)}
        for split in splits
    ]
    tested = {w.workload.id for split in splits for w in split("test")}
    shared = sorted(set(known[0]) & set(known[1]) - tested)
    if len(shared) < 2 * folds:
        raise DatasetError(
            f"the datasets share {len(shared)} workloads outside of their test splits; {folds} "
            f"folds need {2 * folds}"
        )
    order = np.random.default_rng(_DEAL).permutation(len(shared))
    dealt = []
    for number in range(folds):
        held = {shared[i] for i in order[number::folds]}
        trained = [i for i in shared if i not in held]
        dealt.append(
            _Fold(
                number,
                [known[0][i] for i in shared if i in held],
                [known[0][i] for i in trained],
                [known[1][i] for i in trained],
            )
        )
    return dealt, len(shared)


@dataclass(frozen=True)
class _Trainer:
    config: TrainConfig
    fold: _Fold
    profiles: Sequence[HardwareProfile]
    """Of the new hardware and of the other one."""
    watch: Callable[[str, int, int], None] | None

    def runs(self, samples: int, many: int) -> list[Run]:
        """Trains and ranks all of ``VARIANTS`` on one fold."""
        half = dataclasses.replace(self.config, steps=max(1, self.config.steps // 2))
        whole = [examples_of(w, self.config.worst_gain, None) for w in self.fold.other]
        base, began = self._trained("zero-shot", self.config, whole, self.profiles[1])
        few_records, many_records = self._drawn(samples), self._drawn(many)
        tuned, after = self._trained("fine-tuned", half, few_records, self.profiles[0], base)
        alone = self._trained("few", half, few_records, self.profiles[0])
        much = self._trained("many", self.config, many_records, self.profiles[0])
        found = {"zero-shot": (base, began), "fine-tuned": (tuned, after), "few": alone,
                 "many": much}  # fmt: skip
        return [self._run(variant, *found[variant]) for variant in VARIANTS]

    def _drawn(self, samples: int) -> list[Examples]:
        rng = np.random.default_rng([self.config.seed, 1])
        rows = few(self.fold.own, samples, rng)
        return [
            examples_of(workload, self.config.worst_gain, chosen)
            for workload, chosen in zip(self.fold.own, rows, strict=True)
            if len(chosen)
        ]

    def _trained(
        self, variant: str, config: TrainConfig, data: list[Examples], profile: HardwareProfile,
        start: WorldModel | None = None,
    ) -> tuple[WorldModel, float]:  # fmt: skip
        """A model and the seconds that it took."""
        began = time.monotonic()
        network = new_network(config, profile, [data]) if start is None else copy.deepcopy(start)
        config = dataclasses.replace(
            config,
            model=dataclasses.replace(network.config, trees=0),
            # One validation, after the last step, which chooses nothing.
            validate_every=config.steps,
        )
        forest = fit_forest([data], config, network.forest) if config.trees else None
        name = f"{variant}, fold {self.fold.number}"

        def step(done: int, steps: int, _loss: float, _looked: object) -> None:
            if self.watch is not None:
                self.watch(name, done, steps)

        Loop(network, config, [data], forest=forest).run(self.fold.held_out[:1], None, step)
        return network, time.monotonic() - began

    def _run(self, variant: str, network: WorldModel, seconds: float) -> Run:
        metrics, _ = evaluate_rankings(rank_stored(network, self.fold.held_out))
        reached = sum(p.numel() for p in network.parameters() if p.grad is not None)
        return Run(variant, self.fold.number, reached, round(seconds, 1), metrics)
