"""Everything that decides a training run, in one typed object that the checkpoint keeps."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError, MissingInputError, nearest
from wmhub.model.config import MOST, ModelConfig
from wmhub.model.losses import RANKINGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRECISIONS = ("fp32", "bf16")
#: Every step has a seed of its own, this and the step's number, in 64 bits.
_MOST_SEED = 2**31 - 1


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    A TOML file holds the same names, those of the network in a table ``[model]``.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    """Sizes and parts of the network; those of the checkpoint where training starts from one."""
    steps: int = 1200
    """Optimiser steps."""
    workloads_per_step: int = 16
    """Lists in each step, each of one workload; all processes together."""
    candidates_per_list: int = 32
    """Candidates in each list."""
    samples: int = 0
    """Few-shot: records of the target's train split that are trained on, spread over its workloads;
    0 takes all. Its validation workloads choose the weights with all of theirs."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule of AdamW."""
    base_rate: float = 0.25
    """Where training starts from a checkpoint, how much of ``learning_rate`` is used: few records
    are not to unlearn what it knows. What it came to is kept as ``learning_rate``, and 1 here."""
    weight_decay: float = 0.02
    """AdamW's decoupled weight decay."""
    ranking: str = "listnet"
    """Ranking loss: ``listnet`` or ``lambdarank``."""
    temperature: float = 6.0
    """Sharpness of the ranking loss: higher looks at the best candidates only."""
    latency_weight: float = 4.0
    """Weight of the latency loss."""
    consistency_weight: float = 0.2
    """Weight of the latent-consistency loss; 0 leaves it out."""
    worst_gain: float = -4.0
    """Floor of log(best / latency); failed candidates stand there."""
    average: float = 0.995
    """Decay of the running average of the weights, which is what is validated and kept."""
    validate_every: int = 100
    """Steps between validations."""
    patience: int = 12
    """Validations without improvement after which training stops: of runs of more than so many, as
    the rate's descent to its end is where the most is gained."""
    trees: int = 192
    """Trees that are grown beside the networks, before them; 0 for none. They need XGBoost, and go
    on from those of the checkpoint that training starts from, or on a GPU from one more."""
    tree_rate: float = 0.08
    """How much of what is left each tree learns."""
    precision: str = "fp32"
    """``fp32``, or ``bf16`` for products in bfloat16; weights, losses and averages stay float32."""
    seed: int = 0
    """Of initial weights, of sampling and of the records that ``samples`` draws."""

    def from_base(self) -> TrainConfig:
        """The configuration where training starts from a checkpoint."""
        rate = self.learning_rate * self.base_rate
        return dataclasses.replace(self, learning_rate=rate, base_rate=1.0)

    def __post_init__(self) -> None:
        for name in ("steps", "workloads_per_step", "validate_every", "patience"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"training: {name} must be at least 1")
        if self.ranking not in RANKINGS:
            raise InvalidInputError(f"training: ranking must be one of {', '.join(RANKINGS)}")
        if not 0 <= self.seed <= _MOST_SEED:
            raise InvalidInputError(f"training: seed must be within 0 and {_MOST_SEED}")
        if self.candidates_per_list < 2:
            raise InvalidInputError("training: candidates_per_list must be at least 2")
        if self.samples < 0 or self.samples == 1:
            raise InvalidInputError("training: samples must be at least 2, or 0 for all")
        # Written so that what is no number is refused, too.
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInputError(f"training: {name} must be positive and finite")
        for name in ("weight_decay", "latency_weight", "consistency_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"training: {name} must not be negative, and finite")
        if not 0 < self.base_rate <= 1:
            raise InvalidInputError("training: base_rate must be above 0 and at most 1")
        if not 0 <= self.average < 1:
            raise InvalidInputError("training: average must be at least 0 and below 1")
        if not -math.inf < self.worst_gain < 0:
            raise InvalidInputError("training: worst_gain must be negative and finite")
        if self.model.trees:
            raise InvalidInputError("training: set trees; model.trees is what it comes to")
        if not 0 <= self.trees <= MOST["trees"] or not 0 < self.tree_rate <= 1:
            raise InvalidInputError(
                f"training: trees must be from 0 to {MOST['trees']}, tree_rate within 0 and 1"
            )
        if self.precision not in PRECISIONS:
            raise InvalidInputError(f"training: precision must be one of {', '.join(PRECISIONS)}")


def read_config(path: str | Path) -> TrainConfig:
    """Reads a TOML file; what it leaves out keeps its default.

    Raises ``MissingInputError`` or ``InvalidInputError`` naming the field.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError.at(path, f"no readable TOML: {error}") from None
    try:
        return changed(TrainConfig(), values)
    except InvalidInputError as error:
        raise InvalidInputError.at(path, str(error)) from None


def with_settings(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """``config`` with settings such as ``temperature=4`` or ``model.latent=96``.

    Raises ``InvalidInputError`` for one that does not parse or names no field.
    """
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise InvalidInputError(f"setting {setting!r}: write it as NAME=VALUE")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        values: Any = value
        for part in reversed(name.strip().split(".")):
            values = {part: values}
        config = changed(config, values)
    return config


def changed(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """``config`` with ``values`` of nested names, each of its field's own type."""
    found: TrainConfig = _changed(config, values, "")
    return found


def _changed(config: Any, values: Mapping[str, Any], prefix: str) -> Any:
    known = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    new: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise InvalidInputError(f"no training setting is named {prefix}{name}{hint}")
        old = known[name]
        if dataclasses.is_dataclass(old) and isinstance(value, Mapping):
            new[name] = _changed(old, value, f"{prefix}{name}.")
        elif isinstance(old, float) and type(value) is int:
            new[name] = float(value)
        elif type(value) is type(old):
            new[name] = value
        else:
            kind = "table" if dataclasses.is_dataclass(old) else type(old).__name__
            raise InvalidInputError(f"{prefix}{name} = {value!r}: it must be of type {kind}")
    return dataclasses.replace(config, **new)
