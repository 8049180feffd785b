"""The world model: initial program to a latent, moved by each action, scored at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from wmhub.model.encode import Encoded, FeatureSpec


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and parts of a network; each part can be left out, for ablation."""

    latent: int = 64
    """Width of the latent state."""
    hidden: int = 160
    """Width of the scoring networks."""
    layers: int = 2
    """Residual layers of each scoring network."""
    members: int = 4
    """Scoring networks; their mean is the score, their spread the uncertainty."""
    dropout: float = 0.1
    """Share of activations dropped while training."""
    dynamics: str = "recurrent"
    """How actions move the latent: ``recurrent``, ``bag`` (a sum, without order) or ``none``."""
    program: bool = True
    """Whether the initial program sets the first latent."""
    structured: bool = True
    """Whether the scoring networks see the structured features."""
    hardware: bool = True
    """Whether the scoring networks see the hardware profile."""


@dataclass(frozen=True)
class Batch:
    """W workloads' lists of L candidates, padded to T actions; all tensors on one device."""

    blocks: Tensor
    """float32 [W * L, B, P], zero rows where a program has fewer blocks."""
    hardware: Tensor
    """float32 [W * L, H]."""
    kinds: Tensor
    """int64 [W * L, T], 0 for padding."""
    actions: Tensor
    """float32 [W * L, T, A]."""
    structured: Tensor
    """float32 [W * L, F]."""

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class Output:
    """What the network says of M candidates."""

    members: Tensor
    """float32 [members, M]: score of each scoring network, higher is better, in nats of latency."""
    embedding: Tensor
    """float32 [M, hidden]: last hidden layer of the first scoring network."""
    consistency: Tensor
    """float32 [M, F]: normalised structured features of the final program, told from the latent."""
    target: Tensor
    """float32 [M, F]: what ``consistency`` should be."""


class _Members(nn.Module):
    """``members`` separate linear layers, applied at once."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[members, M, inputs] to [members, M, outputs]."""
        return torch.baddbmm(self.bias, x, self.weight)


class WorldModel(nn.Module):
    """See the module's docstring; normalisation is part of the weights."""

    structured_mean: Tensor
    structured_scale: Tensor
    action_scale: Tensor

    def __init__(self, config: ModelConfig, spec: FeatureSpec) -> None:
        super().__init__()
        self.config = config
        latent, hidden = config.latent, config.hidden
        features = len(spec.structured)
        self.register_buffer("structured_mean", torch.zeros(features))
        self.register_buffer("structured_scale", torch.ones(features))
        self.register_buffer("action_scale", torch.ones(len(spec.action)))
        self.block_in = nn.Sequential(
            nn.Linear(len(spec.block), latent), nn.GELU(), nn.Linear(latent, latent)
        )
        self.hardware_in = nn.Linear(len(spec.hardware), latent)
        self.kind_in = nn.Embedding(len(spec.kinds), latent, padding_idx=0)
        self.action_in = nn.Linear(len(spec.action), latent)
        self.transition = nn.GRUCell(latent, latent)
        self.consistency = nn.Linear(latent, features)
        self.enter = _Members(config.members, 2 * latent + features, hidden)
        layers = range(config.layers)
        self.widen = nn.ModuleList(_Members(config.members, hidden, hidden) for _ in layers)
        self.narrow = nn.ModuleList(_Members(config.members, hidden, hidden) for _ in layers)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(config.layers + 1))
        self.leave = _Members(config.members, hidden, 1)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Scores a padded batch (training)."""
        state = self._start(batch.blocks)
        inputs = self._action_inputs(batch.kinds, batch.actions)
        if self.config.dynamics == "recurrent":
            state = self._roll(inputs, state, batch.kinds)
        for step in range(batch.kinds.shape[1] if self.config.dynamics == "bag" else 0):
            live = (batch.kinds[:, step] != 0).unsqueeze(1)
            state = torch.where(live, self._move(inputs[:, step], state), state)
        return self._finish(state, batch.structured, batch.hardware)

    def _roll(self, inputs: Tensor, state: Tensor, kinds: Tensor) -> Tensor:
        """All moves of the cell in one call of the library; backwards twice as fast as a loop."""
        cell = self.transition
        weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        states, _ = torch.gru(inputs, state[None], weights, True, 1, 0.0, True, False, True)
        # Where the padding begins is where the rollout ends; without an action it never began.
        states = torch.cat([state[:, None].to(states.dtype), states], dim=1)
        ends = (kinds != 0).sum(dim=1)
        return states[torch.arange(len(ends), device=ends.device), ends]

    def score(self, encoded: Encoded) -> Output:
        """Scores one group of candidates; the actions that all share are rolled out once."""
        device = self.structured_mean.device
        blocks = torch.from_numpy(encoded.blocks).to(device).unsqueeze(0)
        state = self._start(blocks)
        kinds = torch.from_numpy(encoded.kinds).to(device)
        for step in range(len(kinds) if self.config.dynamics != "none" else 0):
            rows = torch.from_numpy(encoded.actions[step]).to(device)
            inputs = self._action_inputs(kinds[step].expand(len(rows)), rows)
            if len(state) != len(rows):
                wider = max(len(state), len(rows))
                state, inputs = state.expand(wider, -1), inputs.expand(wider, -1)
            state = self._move(inputs, state)
        structured = torch.from_numpy(encoded.structured).to(device)
        hardware = torch.from_numpy(encoded.hardware).to(device).unsqueeze(0)
        count = len(structured)
        return self._finish(state.expand(count, -1), structured, hardware.expand(count, -1))

    def _start(self, blocks: Tensor) -> Tensor:
        """[M, B, P] to the first latent [M, latent]."""
        present = (blocks != 0).any(dim=2, keepdim=True)
        encoded = (self.block_in(blocks) * present).sum(dim=1)
        return torch.tanh(encoded) if self.config.program else torch.zeros_like(encoded)

    def _action_inputs(self, kinds: Tensor, actions: Tensor) -> Tensor:
        return self.kind_in(kinds) + self.action_in(actions * self.action_scale)

    def _move(self, inputs: Tensor, state: Tensor) -> Tensor:
        if self.config.dynamics == "bag":
            return state + torch.tanh(inputs) / 8.0
        moved: Tensor = self.transition(inputs, state)
        return moved

    def _finish(self, state: Tensor, structured: Tensor, hardware: Tensor) -> Output:
        normal = (structured - self.structured_mean) / self.structured_scale
        normal = normal.clamp(-5.0, 5.0)
        parts = [
            state,
            self.hardware_in(hardware) if self.config.hardware else torch.zeros_like(state),
            normal if self.config.structured else torch.zeros_like(normal),
        ]
        x = torch.cat(parts, dim=1).unsqueeze(0).expand(self.config.members, -1, -1)
        x = self.enter(x)
        for norm, first, second in zip(self.norms, self.widen, self.narrow):
            x = x + second(self.drop(nn.functional.gelu(first(norm(x)))))
        hidden = self.norms[-1](x)
        members = self.leave(hidden).squeeze(2)
        return Output(members, hidden[0], self.consistency(state), normal)


def collate(groups: Sequence[tuple[Encoded, Tensor]], device: torch.device | None) -> Batch:
    """Puts chosen rows (int64 tensors) of several groups into one padded batch."""
    actions_wide = max(len(e.kinds) for e, _ in groups)
    blocks_wide = max(len(e.blocks) for e, _ in groups)
    total = sum(len(rows) for _, rows in groups)
    first = groups[0][0]
    blocks = torch.zeros(total, blocks_wide, first.blocks.shape[1])
    hardware = torch.zeros(total, len(first.hardware))
    kinds = torch.zeros(total, actions_wide, dtype=torch.int64)
    columns = first.actions[0].shape[1] if first.actions else 0
    actions = torch.zeros(total, actions_wide, columns)
    structured = torch.zeros(total, first.structured.shape[1])
    at = 0
    for encoded, rows in groups:
        here = slice(at, at + len(rows))
        at += len(rows)
        blocks[here, : len(encoded.blocks)] = torch.from_numpy(encoded.blocks)
        hardware[here] = torch.from_numpy(encoded.hardware)
        kinds[here, : len(encoded.kinds)] = torch.from_numpy(encoded.kinds)
        structured[here] = torch.from_numpy(encoded.structured)[rows]
        for step, table in enumerate(encoded.actions):
            values = torch.from_numpy(table)
            actions[here, step] = values[rows] if len(values) > 1 else values
    parts = (blocks, hardware, kinds, actions, structured)
    return Batch(*(part.to(device) if device is not None else part for part in parts))
