"""``train``: one dataset or several to a checkpoint with its metrics."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import platform
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import torch

import wmhub
from wmhub.checkpoint import (
    MANIFEST,
    NOTHING_SEEN,
    BasePin,
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from wmhub.code_digest import code_digest
from wmhub.dataset.version import Version
from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.hardware.profile import HardwareProfile
from wmhub.holding import held
from wmhub.model.config import ModelConfig
from wmhub.model.encode import current_spec, structured_columns
from wmhub.model.forest import Forest
from wmhub.model.network import WorldModel
from wmhub.names import HardwareKey, ModelId
from wmhub.training.baselines import Preparing
from wmhub.training.blend import keep_best
from wmhub.training.boosting import fit_forest, inherited, require_xgboost
from wmhub.training.config import TrainConfig
from wmhub.training.corpus import Corpus, gather_corpus, open_datasets
from wmhub.training.data import Examples
from wmhub.training.distributed import World, joined
from wmhub.training.evaluate import Ranking, calibrate, evaluate_rankings
from wmhub.training.loop import Loop, Watcher, rank_stored, require_even
from wmhub.training.metrics import Metrics, Validation, summarise
from wmhub.training.normalisation import adapt, normalise
from wmhub.training.report import write_curves
from wmhub.training.state import STATE, require_free, require_own

#: Those that decide how training ends.
_LIBRARIES = ("numpy", "torch", "xgboost")


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
    records: int
    """Candidates that were trained on."""
    test: Metrics
    """On the test workloads, which no choice has seen."""
    random: Metrics
    """What a random order expects on the same candidates."""
    validation: Metrics
    """On the validation workloads, which chose the weights."""
    base_share: float
    """How much of the checkpoint that training started from is in the weights: whatever ranks the
    validation workloads best of 0, a half, and 1, which is it as it was but for its uncertainty;
    0 where there is none."""
    left_out: int
    """Held-out workloads that the checkpoint has seen, and that judge nothing therefore."""


def train(
    dataset: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    hardware: str | HardwareKey | None = None,
    start_from: str | os.PathLike[str] | None = None,
    name: str | None = None,
    version: str = "1.0.0",
    config: TrainConfig | None = None,
    resume: bool = False,
    device: str = "auto",
    cache: str | Path | None = None,
    workers: int | None = None,
    watch: Watcher | None = None,
    preparing: Preparing = lambda _what, _done, _total: None,
) -> TrainReport:
    """Trains an evaluator on ``dataset``, or several, and writes the checkpoint folder ``output``.

    The checkpoint is for ``hardware``, by default that of the first dataset. Its validation
    workloads choose the weights; its test workloads are looked at once, at the end. ``start_from``
    is a checkpoint, as ``from_pretrained`` takes it, whose weights and normalisation training
    begins with, and trees as far as they are `inherited`; what is kept is it, what came of it, or
    halfway, whatever validates best. With ``resume``, an interrupted run in ``output`` goes on and,
    with as many threads, ends as if it had not been; without, it is kept from being overwritten.
    Candidates are encoded once, by ``workers`` processes, into the folder ``cache``
    (``~/.cache/wmhub/encoded``). Started by ``torchrun``, all its processes train together.
    ``preparing`` is told of what comes before the first step, ``watch`` of the steps.

    Raises ``MissingInputError`` or ``DatasetError`` for a folder that is no dataset or has too few
    workloads, ``HardwareMismatchError`` where no dataset is of ``hardware``, ``CheckpointError``
    for a ``start_from`` with other features, ``InvalidNameError`` for a ``name`` that no repository
    can have, ``MissingDependencyError`` where trees are to be grown without XGBoost,
    ``OutputExistsError`` where ``output`` holds a checkpoint already, or an interrupted run that is
    not to go on.
    """
    output, config = Path(output), config or TrainConfig()
    version = str(Version.parse(version))
    if name is not None:
        ModelId(name=name)
    if config.trees:
        require_xgboost("growing trees (or train without: --set trees=0)", "train")
    require_free(output, resume)
    paths = [dataset] if isinstance(dataset, (str, Path)) else list(dataset)
    wanted = HardwareKey.parse(hardware) if isinstance(hardware, str) else hardware
    target, datasets = open_datasets(paths, wanted)
    base = _read_base(start_from)
    if base is not None:
        config = _as_base(config, base[1].network.config)
    with joined(device) as world, held(output) if world.is_main else contextlib.nullcontext():
        if (output / MANIFEST).exists():
            raise OutputExistsError(f"{output}: another process has just finished one there")
        require_even(config, world)
        folder = Path(cache) if cache is not None else default_cache()
        if not world.is_first_here:
            world.wait()
        encoding = partial(preparing, "encoding workloads")
        known = NOTHING_SEEN if base is None else base[1].seen
        corpus = gather_corpus(target, datasets, config, folder, workers, encoding, known)
        if world.is_first_here:
            world.wait()
        network = (
            new_network(config, corpus.profile, corpus.training)
            if base is None
            else base[1].network
        )
        origin = _origin(corpus, world, None if base is None else base[0])
        state = output / STATE
        require_own(state, config, origin, world)
        if base is not None:
            adapt(network, corpus.training)
        unchanged = None if base is None else copy.deepcopy(network)
        if base is not None:
            network.plant(inherited(network.forest, base[1].hardware, target))
        forest = _forest(config, corpus, network, preparing) if world.is_main else None
        loop = Loop(network, config, corpus.training, world, origin, forest)
        history = loop.run(corpus.validation, state, watch or _silent)
        seen: list[Ranking] = []
        share = 0.0
        if world.is_main:
            kept = keep_best(network, unchanged, corpus.validation)
            loop.network, seen, share = kept.network, kept.rankings, kept.share
            calibrate(loop.network, seen)
        report = _report(loop, corpus, seen, output, name or f"wm-{target}", world, share)
        if world.is_main:
            pin = None if base is None else dataclasses.replace(base[0], share=share)
            write_curves(output, history)
            # Last: what follows a finished checkpoint could not be made up for by --resume.
            write_checkpoint(output, _checkpoint(loop, corpus, report, version, pin))
            state.unlink(missing_ok=True)
        world.wait()
    return report


def _origin(corpus: Corpus, world: World, base: BasePin | None) -> list[str]:
    """What a run has to begin with to end as one that was interrupted would have."""
    code = code_digest("model", "training")
    libraries = [f"{name} {version}" for name, version in _versions(*_LIBRARIES).items()]
    pinned = [] if base is None else [base.digest]
    # Sums are taken in another order with other threads, and on other devices.
    (threads,) = world.agreed([torch.get_num_threads()])
    by = f"{world.size} processes", world.device.type, f"{threads:g} threads"
    return [str(corpus.hardware), *by, code, *corpus.stores, *libraries, *pinned]


def _forest(
    config: TrainConfig, corpus: Corpus, network: WorldModel, preparing: Preparing
) -> Forest | None:
    """The trees that are grown, after those of ``network``; ``None`` where none are."""
    growing = partial(preparing, "growing trees")
    threads = torch.get_num_threads()
    training = corpus.own_training
    return fit_forest(training, config, network.forest, threads, growing) if config.trees else None


def _report(
    loop: Loop, corpus: Corpus, validation: Sequence[Ranking], output: Path, name: str,
    world: World, base_share: float,
) -> TrainReport:  # fmt: skip
    """Looks at the test workloads; one process does."""
    seen = [summarise([])] * 3
    if world.is_main:
        test, random = evaluate_rankings(rank_stored(loop.network, corpus.test))
        seen = [test, random, evaluate_rankings(validation)[0]]
    test, random, chosen = map(world.agreed_metrics, seen)
    return TrainReport(
        checkpoint=output,
        name=name,
        hardware=corpus.hardware,
        parameters=sum(p.numel() for p in loop.network.parameters()),
        steps=loop.progress.step,
        records=corpus.records,
        test=test,
        random=random,
        validation=chosen,
        base_share=base_share,
        left_out=corpus.left_out,
    )


def _checkpoint(
    loop: Loop, corpus: Corpus, report: TrainReport, version: str, base: BasePin | None
) -> Checkpoint:
    return Checkpoint(
        name=report.name,
        version=version,
        hardware=corpus.hardware,
        profile=corpus.profile,
        dataset=corpus.pins[0],
        metrics=metrics_json(report.test, report.random, "test"),
        training={**dataclasses.asdict(loop.config), "records": corpus.records},
        environment=_environment(),
        network=loop.network,
        datasets=corpus.pins,
        base=base,
        seen=corpus.seen,
    )


def _read_base(name: str | os.PathLike[str] | None) -> tuple[BasePin, Checkpoint] | None:
    """The checkpoint to begin with, and what to record of it."""
    if name is None:
        return None
    from wmhub.hub import resolve_model

    resolved = resolve_model(name)
    checkpoint = read_checkpoint(resolved.folder)
    pin = BasePin(checkpoint.name, checkpoint.version, resolved.manifest.digest)
    return pin, checkpoint


def _as_base(config: TrainConfig, model: ModelConfig) -> TrainConfig:
    # Trees that the base has are counted apart from those that training adds.
    model = dataclasses.replace(model, trees=0)
    if config.model not in (ModelConfig(), model):
        raise InvalidInputError(
            "training from a checkpoint keeps its network; leave out the settings of the model"
        )
    return dataclasses.replace(config, model=model).from_base()


def default_cache() -> Path:
    """Where encoded datasets are kept."""
    from wmhub.hub.settings import home

    return home() / "encoded"


def _silent(_step: int, _steps: int, _loss: float, _validation: Validation | None) -> None:
    pass


def new_network(
    config: TrainConfig, profile: HardwareProfile, training: Sequence[Sequence[Examples]]
) -> WorldModel:
    """A fresh network whose normalisation fits the training data, by dataset and workload."""
    torch.manual_seed(config.seed)
    network = WorldModel(config.model, current_spec(structured_columns(profile)))
    normalise(network, training)
    return network


def metrics_json(model: Metrics, random: Metrics, split: str) -> dict[str, object]:
    """Metrics as checkpoints keep them and ``wmhub eval --json`` prints them."""
    return {**dataclasses.asdict(model), "split": split, "random": dataclasses.asdict(random)}


def _environment() -> dict[str, str]:
    packages = _versions(*_LIBRARIES, "safetensors")
    return {"wmhub": wmhub.__version__, "python": platform.python_version(), **packages}


def _versions(*names: str) -> dict[str, str]:
    """Versions of those of the libraries that are here."""
    packages = {}
    for name in names:
        # Trees may be left out, and XGBoost with them; its builds go by several names.
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return packages
