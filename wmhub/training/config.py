"""Everything that decides a training run, in one typed object that the checkpoint keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from wmhub.errors import InvalidInputError
from wmhub.model.losses import RANKINGS
from wmhub.model.network import ModelConfig


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """Sizes and parts of the network."""
    steps: int = 3000
    """Optimiser steps."""
    workloads_per_step: int = 8
    """Lists in each step, each of one workload."""
    candidates_per_list: int = 48
    """Candidates in each list."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule of AdamW."""
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
    validate_every: int = 250
    """Steps between validations."""
    patience: int = 12
    """Validations without improvement after which training stops."""
    seed: int = 0
    """Of initial weights and of sampling."""

    def __post_init__(self) -> None:
        for name in ("steps", "workloads_per_step", "validate_every", "patience"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"training: {name} must be at least 1")
        if self.ranking not in RANKINGS:
            raise InvalidInputError(f"training: ranking must be one of {', '.join(RANKINGS)}")
        if self.candidates_per_list < 2:
            raise InvalidInputError("training: candidates_per_list must be at least 2")
        if self.learning_rate <= 0 or not 0 <= self.average < 1:
            raise InvalidInputError("training: learning_rate must be positive, average below 1")
