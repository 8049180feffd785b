"""What a training run needs to go on exactly where it was: one safetensors file, replaced whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wmhub.checkpoint import MANIFEST
from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.flushing import write_file
from wmhub.training.metrics import Metrics, Validation

if TYPE_CHECKING:
    from wmhub.training.config import TrainConfig
    from wmhub.training.distributed import World
    from wmhub.training.loop import Loop

#: Name of its file in the folder of the run.
STATE = "training-state.safetensors"
_NETWORKS = ("network", "averaged", "best")


def save_state(path: Path, loop: Loop) -> None:
    """Writes weights, averages, optimiser moments, counters and random state to ``path``."""
    tensors = {}
    for name in _NETWORKS:
        for key, value in getattr(loop, name).state_dict().items():
            tensors[f"{name}/{key}"] = value.contiguous()
    for number, moments in loop.optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimiser/{number}/{key}"] = torch.as_tensor(value).contiguous()
    progress = dataclasses.asdict(loop.progress)
    meta = {
        "config": json.dumps(dataclasses.asdict(loop.config)),
        "origin": json.dumps(loop.origin),
        "progress": json.dumps(progress),
        "rng": json.dumps(loop.rng.bit_generator.state),
    }
    # Not by save_file, whose errors do not tell a full disk.
    write_file(path, save(tensors, metadata=meta))


def require_free(output: Path, resume: bool) -> None:
    """Raises ``OutputExistsError`` where ``output`` has what this run would replace."""
    if (output / MANIFEST).exists():
        (output / STATE).unlink(missing_ok=True)
        raise OutputExistsError(f"{output}: it holds a checkpoint; name another output folder")
    if not resume and (output / STATE).exists():
        raise OutputExistsError(
            f"{output}: it holds an interrupted run: go on with --resume, or begin anew in another "
            f"folder or without its {STATE}"
        )


def require_resumable(path: Path, config: TrainConfig, origin: Sequence[str]) -> None:
    """Raises ``InvalidInputError`` where the state in ``path`` is damaged or of another run."""
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = file.metadata() or {}
        theirs, begun = json.loads(meta["config"]), json.loads(meta["origin"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InvalidInputError.at(path, f"not the state of a training run: {error}") from error
    if theirs != json.loads(json.dumps(dataclasses.asdict(config))):
        raise InvalidInputError.at(
            path, "it belongs to a run with another configuration; name another output folder"
        )
    if begun != list(origin):
        raise InvalidInputError.at(
            path,
            "it belongs to a run on other data or features, by another number of processes or "
            "threads (--threads), on another device, by another wmhub or other versions of its "
            "libraries, or from another checkpoint; name another output folder",
        )


def require_own(state: Path, config: TrainConfig, origin: Sequence[str], world: World) -> None:
    """Raises ``InvalidInputError`` where ``state`` is there and this run cannot go on from it."""
    goes_on = world.all_or_none(state.exists())
    if goes_on is None:
        raise InvalidInputError(
            f"{state.parent}: not all processes find the interrupted run there: it must be on a "
            "file system that they share"
        )
    if goes_on:
        require_resumable(state, config, origin)


def load_state(path: Path, loop: Loop) -> None:
    """Puts ``loop`` where `save_state` found it.

    Raises ``InvalidInputError`` where the file is damaged or of another configuration.
    """
    require_resumable(path, loop.config, loop.origin)
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        progress, rng = json.loads(meta["progress"]), json.loads(meta["rng"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InvalidInputError.at(path, f"not the state of a training run: {error}") from error
    for name in _NETWORKS:
        start = f"{name}/"
        weights = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
        getattr(loop, name).load_state_dict(weights, strict=True)
    _load_optimiser(loop, tensors)
    history = progress.pop("history")
    for key, value in progress.items():
        setattr(loop.progress, key, value)
    loop.progress.history = [
        Validation(h["step"], h["loss"], Metrics(**h["metrics"])) for h in history
    ]
    # The rate follows from the step alone.
    loop.schedule.last_epoch = loop.progress.step
    for group in loop.optimiser.param_groups:
        group["lr"] = loop.config.learning_rate * loop.rate(loop.progress.step)
    loop.rng.bit_generator.state = rng


def _load_optimiser(loop: Loop, tensors: dict[str, torch.Tensor]) -> None:
    state = loop.optimiser.state_dict()
    for key, value in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "optimiser":
            number, _, name = rest.partition("/")
            state["state"].setdefault(int(number), {})[name] = value
    loop.optimiser.load_state_dict(state)
