"""``train``: a dataset to a checkpoint with its metrics."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

import wmhub
from wmhub.checkpoint import MANIFEST, Checkpoint, DatasetPin, write_checkpoint
from wmhub.dataset.manifest import MANIFEST as DATASET_MANIFEST
from wmhub.dataset.reader import Dataset, open_dataset
from wmhub.errors import DatasetError, HardwareMismatchError, OutputExistsError
from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import lookup
from wmhub.model.encode import current_spec, structured_columns
from wmhub.model.network import WorldModel
from wmhub.names import HardwareKey
from wmhub.training.config import TrainConfig
from wmhub.training.data import Candidates, load_candidates, normalisation
from wmhub.training.evaluate import evaluate_rankings, rank
from wmhub.training.loop import Loop, Watcher
from wmhub.training.metrics import Metrics, Validation
from wmhub.training.report import write_curves

_STATE = "training-state.safetensors"


@dataclasses.dataclass(frozen=True)
class TrainReport:
    """What a training run produced."""

    checkpoint: Path
    """Folder of the checkpoint."""
    name: str
    """Name of the model."""
    hardware: HardwareKey
    parameters: int
    """Number of trained weights."""
    steps: int
    """Optimiser steps taken."""
    test: Metrics
    """On the test workloads, which no choice has seen."""
    random: Metrics
    """What a random order expects on the same candidates."""
    validation: Metrics
    """On the validation workloads, which chose the weights."""


def train(
    dataset: str | Path,
    output: str | Path,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    config: TrainConfig | None = None,
    resume: bool = False,
    watch: Watcher | None = None,
) -> TrainReport:
    """Trains an evaluator on ``dataset`` and writes the checkpoint folder ``output``.

    Weights are chosen on the validation workloads; the test workloads are looked at once, at the
    end. With ``resume``, an interrupted run in ``output`` goes on and ends as if it had not been.

    Raises ``MissingInputError`` or ``DatasetError`` for a folder that is no dataset or has too few
    workloads, ``OutputExistsError`` where ``output`` holds a checkpoint already.
    """
    output, config = Path(output), config or TrainConfig()
    if (output / MANIFEST).exists():
        raise OutputExistsError(f"{output}: it holds a checkpoint; name another output folder")
    source = open_dataset(dataset)
    profile = profile_of(source)
    training, validation, test = (
        list(load_candidates(source, split, profile)) for split in ("train", "validation", "test")
    )
    if not training or not validation or not test:
        raise DatasetError(
            f"{source.path}: training needs workloads with two measured candidates or more in "
            f"each split; train has {len(training)}, validation {len(validation)}, test {len(test)}"
        )
    network = new_network(config, profile, training)
    state = output / _STATE
    if not resume and state.exists():
        state.unlink()
    loop = Loop(network, config, training)
    history = loop.run(validation, state, watch or _silent)
    metrics, random = evaluate_rankings(rank(network, test))
    chosen, _ = evaluate_rankings(rank(network, validation))
    checkpoint = Checkpoint(
        name=name or f"wm-{source.hardware}",
        version=version,
        hardware=source.hardware,
        profile=profile,
        dataset=_pin(source),
        metrics=metrics_json(metrics, random, "test"),
        training=dataclasses.asdict(config),
        environment=_environment(),
        network=network,
    )
    write_checkpoint(output, checkpoint)
    write_curves(output, history)
    state.unlink(missing_ok=True)
    return TrainReport(
        checkpoint=output,
        name=checkpoint.name,
        hardware=source.hardware,
        parameters=checkpoint.parameters,
        steps=loop.progress.step,
        test=metrics,
        random=random,
        validation=chosen,
    )


def _silent(_step: int, _steps: int, _loss: float, _validation: Validation | None) -> None:
    pass


def profile_of(dataset: Dataset) -> HardwareProfile:
    """The numbers of a dataset's hardware, from its manifest or the table of known devices."""
    profile = dataset.manifest.profile or lookup(dataset.hardware)
    if profile is None:
        raise HardwareMismatchError(
            f"{dataset.path}: no hardware profile for {dataset.hardware}, neither in the dataset "
            "nor in the table of known devices; collect it on that machine, or name a known key"
        )
    return profile


def new_network(
    config: TrainConfig, profile: HardwareProfile, data: Sequence[Candidates]
) -> WorldModel:
    """A fresh network whose normalisation fits ``data``."""
    torch.manual_seed(config.seed)
    network = WorldModel(config.model, current_spec(structured_columns(profile)))
    mean, scale, actions = normalisation(data)
    network.structured_mean.copy_(torch.from_numpy(mean))
    network.structured_scale.copy_(torch.from_numpy(scale))
    network.action_scale.copy_(torch.from_numpy(actions))
    return network


def metrics_json(model: Metrics, random: Metrics, split: str) -> dict[str, object]:
    """Metrics as checkpoints keep them and ``wmhub eval --json`` prints them."""
    return {**dataclasses.asdict(model), "split": split, "random": dataclasses.asdict(random)}


def _pin(dataset: Dataset) -> DatasetPin:
    manifest = (dataset.path / DATASET_MANIFEST).read_bytes()
    return DatasetPin(
        id=dataset.manifest.name,
        revision=f"v{dataset.manifest.version}",
        digest=hashlib.sha256(manifest).hexdigest(),
    )


def _environment() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "safetensors")}
    return {"wmhub": wmhub.__version__, "python": platform.python_version(), **packages}
