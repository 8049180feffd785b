"""What a training run learns from and is judged by, gathered from one dataset or several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmhub.checkpoint import NOTHING_SEEN, DatasetPin, SeenWorkloads
from wmhub.dataset.reader import Dataset
from wmhub.dataset.splits import SPLITS
from wmhub.dataset.verify import open_verified
from wmhub.errors import DatasetError, HardwareMismatchError, nearest
from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import lookup
from wmhub.names import HardwareKey
from wmhub.training.config import TrainConfig
from wmhub.training.data import Examples, examples_of, few
from wmhub.training.encoding import OnEncoded, open_store, unresolved
from wmhub.training.store import StoredWorkload, dataset_digest


@dataclass(frozen=True)
class Corpus:
    """The data of a run; validation and test are the target's."""

    hardware: HardwareKey
    """What the checkpoint is for."""
    profile: HardwareProfile
    """Its numbers."""
    pins: tuple[DatasetPin, ...]
    """All datasets, the target's first."""
    stores: tuple[str, ...]
    """Names of the encoded datasets: of their data, features and code."""
    training: list[list[Examples]]
    """By dataset and workload."""
    own_training: list[list[Examples]]
    """Those of ``training`` that are the target's."""
    validation: list[StoredWorkload]
    """Choose the weights and when to stop."""
    test: list[StoredWorkload]
    """Looked at once, at the end."""
    left_out: int
    """Workloads held out for either that the base has seen, and that are neither therefore."""
    seen: SeenWorkloads
    """What the network knows after training, the base's too."""

    @property
    def records(self) -> int:
        """Candidates that are trained on."""
        return sum(len(examples.gains) for dataset in self.training for examples in dataset)


def open_datasets(
    paths: Sequence[str | Path], hardware: HardwareKey | None
) -> tuple[HardwareKey, list[Dataset]]:
    """The datasets, those of the target first: of ``hardware``, or of the first one's.

    Raises ``HardwareMismatchError`` where none is of ``hardware``, and ``DatasetError`` for one
    that is not what its manifest says: the checkpoint will name that manifest. A bare name that is
    no folder is that of a published dataset.
    """
    from wmhub.hub.resolve import dataset_folder

    datasets = [open_verified(dataset_folder(path)) for path in paths]
    if not datasets:
        raise DatasetError("training needs at least one dataset")
    target = hardware or datasets[0].hardware
    known = sorted({str(dataset.hardware) for dataset in datasets})
    if str(target) not in known:
        near = nearest(str(target), known)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise HardwareMismatchError(
            f"no dataset is of {target}, only of {', '.join(known)}, so nothing could choose and "
            f"judge its weights{hint}"
        )
    datasets.sort(key=lambda dataset: dataset.hardware != target)
    return target, datasets


def profile_of(dataset: Dataset) -> HardwareProfile:
    """The numbers of a dataset's hardware, from its manifest or the table of known devices."""
    profile = dataset.manifest.profile or lookup(dataset.hardware)
    if profile is None:
        raise HardwareMismatchError(
            f"{dataset.path}: no hardware profile for {dataset.hardware}, neither in the dataset "
            "nor in the table of known devices; collect it on that machine, or with --profile"
        )
    return profile


def gather_corpus(
    target: HardwareKey,
    datasets: Sequence[Dataset],
    config: TrainConfig,
    cache: Path,
    processes: int | None = None,
    on_encoded: OnEncoded | None = None,
    base: SeenWorkloads = NOTHING_SEEN,
) -> Corpus:
    """Encodes what is not in ``cache`` yet and sorts the workloads by what they are for.

    What ``base``, the checkpoint that training begins with, has learned from chooses and judges
    nothing; what has chosen its weights judges nothing. Raises ``DatasetError`` where the target
    has too few workloads.
    """
    profiles = [profile_of(dataset) for dataset in datasets]
    stores = [
        open_store(dataset, profile, cache, processes, on_encoded)
        for dataset, profile in zip(datasets, profiles, strict=True)
    ]
    ours = [dataset.hardware == target for dataset in datasets]
    own = [store for store, is_ours in zip(stores, ours, strict=True) if is_ours]
    # What is test in one dataset of the target may be something else in another: it stays unseen.
    tested = identities_of(w for store in own for w in store.split("test"))
    # The first dataset is the one that the checkpoint names, and whose test split judges it.
    test = own[0].split("test")
    validation = [w for store in own for w in store.split("validation")]
    held = {
        "validation": _once(w for w in validation if not w.workload.identities & tested),
        "test": _once(test),
    }
    fit = {
        split: [w for w in workloads if not w.workload.identities & base.unfit_for(split)]
        for split, workloads in held.items()
    }
    left_out = sum(len(held[split]) - len(fit[split]) for split in held)
    held = fit
    judges = tested | identities_of(held["validation"])
    # Nobody trains on what another dataset has among the judges.
    fits = [[w for w in s.split("train") if not w.workload.identities & judges] for s in stores]
    training = training_of(fits, ours, config)
    trained = sum(len(part) for part, is_ours in zip(training, ours, strict=True) if is_ours)
    if not (trained and held["validation"] and held["test"]):
        bare = sum(unresolved(datasets[0], split) for split in SPLITS)
        raise DatasetError(
            f"{datasets[0].path}: training needs at least three workloads with two measured "
            f"candidates each, one in each split; train has {trained}, validation "
            f"{len(held['validation'])}, test {len(held['test'])}"
            + (f" without the {left_out} that the base has seen" if left_out else "")
            + (f"; {bare:,} came without their database_workload.json" if bare else "")
        )
    learned = identities_of(w for part in fits for w in part)
    seen = SeenWorkloads(learned, identities_of(held["validation"]))
    return Corpus(
        hardware=target,
        profile=profiles[0],
        pins=tuple(map(_pin, datasets)),
        stores=tuple(store.folder.name for store in stores),
        training=[part for part in training if part],
        own_training=[part for part, is_ours in zip(training, ours, strict=True) if is_ours],
        validation=held["validation"],
        test=held["test"],
        left_out=left_out,
        seen=base | seen,
    )


def identities_of(workloads: Iterable[StoredWorkload]) -> frozenset[str]:
    """By which their programs are known in any dataset."""
    return frozenset(name for one in workloads for name in one.workload.identities)


def _once(workloads: Iterable[StoredWorkload]) -> list[StoredWorkload]:
    """Each program once: of several datasets, as the first has it."""
    found: dict[str, StoredWorkload] = {}
    for workload in workloads:
        found.setdefault(workload.program, workload)
    return list(found.values())


def training_of(
    parts: Sequence[Sequence[StoredWorkload]], ours: Sequence[bool], config: TrainConfig
) -> list[list[Examples]]:
    """What is trained on of ``parts``, the workloads of each dataset that may be."""
    positions: dict[tuple[int, str], np.ndarray] = {}
    if config.samples:
        target = [(n, w) for n, part in enumerate(parts) if ours[n] for w in part]
        rng = np.random.default_rng([config.seed, 1])
        drawn = few([w for _, w in target], config.samples, rng)
        positions = {(n, w.program): rows for (n, w), rows in zip(target, drawn, strict=True)}
    found = []
    for number, part in enumerate(parts):
        chosen = [(w, positions.get((number, w.program))) for w in part]
        found.append(
            [
                examples_of(w, config.worst_gain, rows)
                for w, rows in chosen
                if rows is None or len(rows)
            ]
        )
    return found


def _pin(dataset: Dataset) -> DatasetPin:
    return DatasetPin(
        id=dataset.manifest.name,
        revision=f"v{dataset.manifest.version}",
        digest=dataset_digest(dataset),
    )
