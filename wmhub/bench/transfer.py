"""What a model of another hardware is worth on a new one of which little was measured.

Cross-validated over workloads, because the few test workloads of one dataset cannot tell: the
workloads that both hardware's train and validation splits hold are dealt into folds, and each fold
is ranked by models that have seen it on neither. What the other hardware has beside these, its
model has seen, too. Test workloads take no part. All runs keep their last weights, so that none
chooses anything on the workloads that it is compared on (`train` would choose by validation how
much of the other model's weights to keep).
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wmhub.bench.folds import dealt
from wmhub.bench.runs import METRICS, Run, Watch, fit, kept_run, ranked, reached, run_path
from wmhub.dataset.verify import open_verified
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.network import WorldModel
from wmhub.training.boosting import inherited, require_xgboost
from wmhub.training.config import TrainConfig
from wmhub.training.corpus import identities_of, profile_of
from wmhub.training.data import Examples, examples_of, few
from wmhub.training.encoding import open_store
from wmhub.training.normalisation import adapt
from wmhub.training.run import default_cache, new_network
from wmhub.training.store import StoredWorkload, store_key

if TYPE_CHECKING:
    from wmhub.records import ProgramKey

#: What is compared, in this order.
VARIANTS = {
    "zero-shot": "the other hardware's model as it is",
    "fine-tuned": "it goes on with the few records",
    "few": "the few records, from nothing",
    "many": "many records, from nothing",
}


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
class Fold:
    """What one part of the workloads is ranked by, and what for."""

    number: int
    held_out: list[StoredWorkload]
    """Of the new hardware."""
    held_out_as_other: list[StoredWorkload]
    """The same, encoded with the other hardware's profile."""
    own: list[StoredWorkload]
    """Of the new hardware, to train on."""
    other: list[StoredWorkload]
    """Of the other hardware, to train on: all that it has."""


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
    watch: Watch | None = None,
) -> Transfer:
    """Trains what is missing in the folder ``output`` and compares all on the held-out folds.

    ``dataset`` is of the new hardware, ``source`` of the other one. Models take the steps of
    ``config``, with few records half of them. ``watch`` is called with a run's name, the steps done
    and the steps in all. ``cache``: folder of encoded datasets, as for ``train``.

    Raises ``MissingDependencyError`` without XGBoost, ``InvalidInputError`` for numbers that make
    no sense and ``DatasetError`` where the datasets share too few workloads, or hold too few
    records.
    """
    output, config = Path(output), config or TrainConfig(steps=600)
    if folds < 2 or samples < 2 or many < samples:
        raise InvalidInputError("transfer needs two folds, two samples, and many be no fewer")
    require_xgboost("bench transfer")
    new, other = open_verified(dataset), open_verified(source)
    folder = default_cache() if cache is None else Path(cache)
    profiles = [profile_of(one) for one in (new, other)]
    # The other hardware's model as it is takes all hardware for its own: the last of these.
    pairs = ((new, profiles[0]), (other, profiles[1]), (new, profiles[1]))
    parts, workloads = deal([open_store(*pair, folder).split for pair in pairs], folds)
    for fold in parts:
        there = sum(workload.count for workload in fold.own)
        if there < many:
            raise DatasetError(
                f"fold {fold.number} of the new hardware has {there:,} records to train on, fewer "
                f"than {many:,}: ask for as many as there are (--many)"
            )
    keys = [store_key(*pair) for pair in pairs]
    means = (*keys, samples, many, folds, dataclasses.asdict(config))
    runs: list[Run] = []

    def told(run: Run) -> None:
        if on_run is not None:
            on_run(run.line("fold"))

    for fold in parts:
        trainer = _Trainer(config, fold, profiles, samples, many, watch)
        for variant in VARIANTS:
            path = run_path(output, variant, fold.number, *means)
            train = partial(trainer.run, variant)
            runs.append(kept_run(path, variant, fold.number, train, told))
    return Transfer(new.manifest.name, other.manifest.name, workloads, samples, many, tuple(runs))


def deal(
    splits: Sequence[Callable[[str], list[StoredWorkload]]], folds: int
) -> tuple[list[Fold], int]:
    """The folds, and how many workloads are dealt: those that both have and neither tests.

    ``splits``: of the new hardware's dataset, of the other's, and of the new hardware's with the
    other's profile. Raises ``DatasetError`` for too few workloads.
    """
    own, other, as_other = (
        {w.program: w for part in ("train", "validation") for w in split(part)} for split in splits
    )
    tested = identities_of(workload for split in splits for workload in split("test"))
    programs: dict[ProgramKey, list[str]] = {}
    for program in sorted(set(own) & set(other)):
        if not own[program].workload.identities & tested:
            programs.setdefault(own[program].workload.program_key, []).append(program)
    parts = []
    for number, (held, trained) in enumerate(dealt(programs, folds, "the datasets share")):
        held_out = [own[program] for program in held]
        unseen = tested | identities_of(held_out)
        parts.append(
            Fold(
                number,
                held_out=held_out,
                held_out_as_other=[as_other[program] for program in held],
                own=[own[program] for program in trained],
                other=[w for _, w in sorted(other.items()) if not w.workload.identities & unseen],
            )
        )
    return parts, len(programs)


@dataclass(frozen=True)
class _Trainer:
    """Trains what one fold is ranked by."""

    config: TrainConfig
    fold: Fold
    profiles: Sequence[HardwareProfile]
    """Of the new hardware and of the other one."""
    samples: int
    many: int
    watch: Watch | None

    def run(self, variant: str) -> Run:
        """Trains one of ``VARIANTS`` and ranks the fold by it."""
        held_out = self.fold.held_out
        if variant == "fine-tuned":
            # Its own time is what comes on top, also where the base has to be made again.
            _ = self._base
        began = time.monotonic()
        if variant == "zero-shot":
            trained, held_out = self._base, self.fold.held_out_as_other
        elif variant == "fine-tuned":
            few_records, base = self._drawn(self.samples), copy.deepcopy(self._base)
            adapt(base, [few_records])
            new, other = self.profiles
            base.plant(inherited(base.forest, other.key, new.key))
            trained = self._trained(variant, few_records, base, self.config.from_base())
        else:
            records = self._drawn(self.samples if variant == "few" else self.many)
            trained = self._trained(variant, records, self._new(records, self.profiles[0]))
        seconds = time.monotonic() - began
        return ranked(variant, self.fold.number, seconds, trained, held_out, reached(trained))

    @cached_property
    def _base(self) -> WorldModel:
        """The other hardware's model."""
        records = [examples_of(w, self.config.worst_gain, None) for w in self.fold.other]
        return self._trained("zero-shot", records, self._new(records, self.profiles[1]))

    def _new(self, records: list[Examples], profile: HardwareProfile) -> WorldModel:
        return new_network(self.config, profile, [records])

    def _drawn(self, samples: int) -> list[Examples]:
        rng = np.random.default_rng([self.config.seed, 1])
        chosen = few(self.fold.own, samples, rng)
        return [
            examples_of(workload, self.config.worst_gain, rows)
            for workload, rows in zip(self.fold.own, chosen, strict=True)
            if len(rows)
        ]

    def _trained(
        self,
        variant: str,
        records: list[Examples],
        network: WorldModel,
        config: TrainConfig | None = None,
    ) -> WorldModel:
        """``network``, trained; with few records half of the steps."""
        config = config or self.config
        is_few = variant in ("fine-tuned", "few")
        steps = max(1, config.steps // 2) if is_few else config.steps
        config = dataclasses.replace(config, steps=steps, validate_every=steps)
        name = f"{variant}, fold {self.fold.number}"
        fit(network, config, [records], self.fold.held_out, name, self.watch)
        return network
