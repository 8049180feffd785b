"""The training loop: one-cycle AdamW, averaged weights, validation, and exact resumption."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from wmhub.model.losses import consistency_loss, latency_loss, ranking_loss
from wmhub.model.network import Batch, Output, WorldModel
from wmhub.training.config import TrainConfig
from wmhub.training.data import Candidates, Sampler
from wmhub.training.evaluate import evaluate_rankings, rank
from wmhub.training.metrics import Validation
from wmhub.training.state import load_state, save_state


@dataclass
class Progress:
    """Where a run stands; saved and restored with the weights."""

    step: int = 0
    best_quality: float = -1.0
    stale: int = 0
    """Validations since the best one."""
    losses: list[float] = field(default_factory=list)
    """Training losses since the last validation."""
    history: list[Validation] = field(default_factory=list)


Watcher = Callable[[int, int, float, "Validation | None"], None]
"""Called after each step: steps done, steps in all, loss, and a validation when there was one."""


class Loop:
    """One training run; ``network`` is trained in place and ends with the best averaged weights."""

    def __init__(
        self, network: WorldModel, config: TrainConfig, data: Sequence[Candidates]
    ) -> None:
        self.network, self.config = network, config
        self.sampler = Sampler(
            data, config.workloads_per_step, config.candidates_per_list, config.worst_gain
        )
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self.rate)
        self.averaged = copy.deepcopy(network)
        self.best = copy.deepcopy(network)
        self.progress = Progress()
        self.rng = np.random.default_rng(config.seed)

    def rate(self, step: int) -> float:
        """Share of the peak rate: a tenth of the run up, then down along a cosine."""
        rise = max(1, self.config.steps // 10)
        if step < rise:
            return (step + 1) / rise
        done = (step - rise) / max(1, self.config.steps - rise)
        return 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, done)))) + 1e-3

    def run(
        self, validation: Sequence[Candidates], state: Path | None, watch: Watcher
    ) -> list[Validation]:
        """Trains to the end, going on from ``state`` where it exists; returns all validations."""
        if state is not None and state.exists():
            load_state(state, self)
        progress, config = self.progress, self.config
        while progress.step < config.steps and progress.stale < config.patience:
            loss = self._step()
            progress.losses.append(loss)
            looked = None
            if progress.step % config.validate_every == 0 or progress.step == config.steps:
                looked = self._validate(validation)
                if state is not None:
                    save_state(state, self)
            watch(progress.step, config.steps, loss, looked)
        self.network.load_state_dict(self.best.state_dict())
        self.network.eval()
        return progress.history

    def _step(self) -> float:
        self.network.train()
        # Dropout too must not depend on what ran before a resumption.
        torch.manual_seed(self.config.seed * 1_000_003 + self.progress.step)
        batch, gains = self.sampler.draw(self.rng)
        loss = self._loss(batch, gains)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.progress.step += 1
        # A short average at the start, or the initial weights would linger.
        decay = min(self.config.average, self.progress.step / (self.progress.step + 10.0))
        with torch.no_grad():
            for kept, new in zip(
                self.averaged.parameters(), self.network.parameters(), strict=True
            ):
                kept.lerp_(new, 1.0 - decay)
        return float(loss.detach())

    def _loss(self, batch: Batch, gains: torch.Tensor) -> torch.Tensor:
        output: Output = self.network(batch)
        scores = output.members.reshape(-1, *gains.shape)
        wanted = gains.expand_as(scores)
        loss = ranking_loss(scores, wanted, self.config.temperature, self.config.ranking)
        loss = loss + self.config.latency_weight * latency_loss(scores, wanted)
        if self.config.consistency_weight > 0:
            told = consistency_loss(output.consistency, output.target)
            loss = loss + self.config.consistency_weight * told
        return loss

    def _validate(self, validation: Sequence[Candidates]) -> Validation:
        progress = self.progress
        metrics, _ = evaluate_rankings(rank(self.averaged, validation))
        looked = Validation(progress.step, float(np.mean(progress.losses)), metrics)
        progress.losses = []
        progress.history.append(looked)
        if looked.quality > progress.best_quality:
            progress.best_quality, progress.stale = looked.quality, 0
            self.best.load_state_dict(self.averaged.state_dict())
        else:
            progress.stale += 1
        return looked
