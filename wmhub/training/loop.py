"""The training loop: one-cycle AdamW, averaged weights, validation, and exact resumption.

Of several processes each takes its share of the lists of every batch; torch averages the gradients,
so that all hold the same weights. Process 0 validates and writes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from wmhub.errors import InvalidInputError
from wmhub.model.forest import Forest
from wmhub.model.losses import consistency_loss, latency_loss, ranking_loss
from wmhub.model.network import Batch, Output, WorldModel
from wmhub.training.config import TrainConfig
from wmhub.training.data import Examples, Sampler, from_store
from wmhub.training.distributed import World
from wmhub.training.evaluate import Ranking, evaluate_rankings, rank
from wmhub.training.metrics import Validation, summarise
from wmhub.training.state import load_state, save_state
from wmhub.training.store import StoredWorkload


@dataclass
class RunState:
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


def require_even(config: TrainConfig, world: World) -> None:
    """Raises ``InvalidInputError`` where a step's lists cannot be dealt out evenly."""
    if config.workloads_per_step % world.size:
        raise InvalidInputError(
            f"{world.size} processes cannot share workloads_per_step = "
            f"{config.workloads_per_step} evenly; make it a multiple"
        )


class _Objective(torch.nn.Module):
    """The loss as a module over the network, which is what torch distributes."""

    def __init__(self, network: WorldModel, loss: Callable[[Batch, torch.Tensor], torch.Tensor]):
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, batch: Batch, gains: torch.Tensor) -> torch.Tensor:
        return self.loss(batch, gains)


class Loop:
    """One training run; ``network`` is trained in place and ends with the best averaged weights."""

    def __init__(
        self,
        network: WorldModel,
        config: TrainConfig,
        data: Sequence[Sequence[Examples]],
        world: World | None = None,
        origin: Sequence[str] = (),
        forest: Forest | None = None,
    ) -> None:
        """``forest`` has its half of the say in validation and stands beside the network at the
        end; without it, that of ``network`` does."""
        self.world = world or World()
        require_even(config, self.world)
        self.network, self.config = network.to(self.world.device), config
        self.sampler = Sampler(data, config.workloads_per_step, config.candidates_per_list)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self.rate)
        self.averaged = copy.deepcopy(network)
        self.best = copy.deepcopy(network)
        self.forest = network.forest if forest is None else forest
        self.progress = RunState()
        #: Digests of what the run begins with; a state of other data is not resumed.
        self.origin = list(origin)
        self.rng = np.random.default_rng(config.seed)
        self.objective: torch.nn.Module = _Objective(network, self._loss)
        if self.world.size > 1:
            # Parts that an ablation leaves out have no gradient, in every step the same ones.
            self.objective = DistributedDataParallel(self.objective, static_graph=True)

    def rate(self, step: int) -> float:
        """Share of the peak rate: a tenth of the run up, then down along a cosine."""
        rise = max(1, self.config.steps // 10)
        if step < rise:
            return (step + 1) / rise
        done = (step - rise) / max(1, self.config.steps - rise)
        return 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, done)))) + 1e-3

    def run(
        self, validation: Sequence[StoredWorkload], state: Path | None, watch: Watcher
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
                if state is not None and self.world.is_main:
                    save_state(state, self)
            watch(progress.step, config.steps, loss, looked)
        # What torch distributes holds on to the threads of the process group, which have to end
        # before the process does.
        self.objective = _Objective(self.network, self._loss)
        self.network.load_state_dict(self.best.state_dict())
        self.network.plant(self.forest)
        self.network.cpu().eval()
        return progress.history

    def _step(self) -> float:
        self.network.train()
        world = self.world
        # Dropout too must not depend on what ran before a resumption.
        torch.manual_seed((self.config.seed * 1_000_003 + self.progress.step) * 64 + world.rank)
        batch, gains = self.sampler.draw(self.rng, world.rank, world.size)
        loss = self.objective(batch.to(world.device), gains.to(world.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
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
        reduced = self.config.precision == "bf16"
        with torch.autocast(gains.device.type, torch.bfloat16, enabled=reduced):
            output: Output = self.network(batch)
        scores = output.members.float().reshape(-1, *gains.shape)
        wanted = gains.expand_as(scores)
        loss = ranking_loss(scores, wanted, self.config.temperature, self.config.ranking)
        loss = loss + self.config.latency_weight * latency_loss(scores, wanted)
        if self.config.consistency_weight > 0:
            told = consistency_loss(output.consistency.float(), output.target)
            loss = loss + self.config.consistency_weight * told
        return loss

    def _validate(self, validation: Sequence[StoredWorkload]) -> Validation:
        progress = self.progress
        # Of all processes, so that they end together.
        loss = self.world.mean(float(np.mean(progress.losses)))
        if not np.isfinite(loss):
            raise InvalidInputError(
                f"training diverged before step {progress.step}; lower the learning rate"
            )
        seen = summarise([])
        if self.world.is_main:
            whole = copy.deepcopy(self.averaged)
            whole.plant(self.forest)
            seen, _ = evaluate_rankings(rank_stored(whole, validation))
        # All go on or stop together, whatever the last bit of a score is on another machine.
        looked = Validation(progress.step, loss, self.world.agreed_metrics(seen))
        progress.losses = []
        progress.history.append(looked)
        if looked.quality > progress.best_quality:
            progress.best_quality, progress.stale = looked.quality, 0
            self.best.load_state_dict(self.averaged.state_dict())
        else:
            progress.stale += 1
        return looked


def rank_stored(network: WorldModel, workloads: Sequence[StoredWorkload]) -> list[Ranking]:
    """Ranks the candidates of each workload, one workload in memory at a time."""
    on_cpu = network
    if network.structured_mean.device.type != "cpu":
        on_cpu = copy.deepcopy(network).cpu()
    return [ranking for one in workloads for ranking in rank(on_cpu, [from_store(one)])]
