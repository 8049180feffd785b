"""The world model: initial program to a latent, moved by each action, scored at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from wmhub.model.cell import ScoringCell, roll
from wmhub.model.config import ModelConfig
from wmhub.model.encode import Encoded, FeatureSpec
from wmhub.model.forest import Forest
from wmhub.model.piecewise import Piecewise
from wmhub.model.rollout import plan
from wmhub.model.transformer import PIECE, ActionTransformer

#: Candidates that the scoring networks take at once: their activations stay in a core's cache.
_PIECE = 512
#: Deviations from its mean beyond which a structured feature is not told apart.
_FARTHEST = 5.0


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
    """float32 [M, F]: normalised structured features of the final program, told from the latent;
    nothing where candidates are only scored."""
    target: Tensor
    """float32 [M, F]: what ``consistency`` should be."""


@dataclass(frozen=True)
class Judgement:
    """What the whole model says of M candidates."""

    opinions: np.ndarray
    """float32 [V, M]: score by each network and, where there are any, by the trees; higher is
    better. Differences are nats of latency; those of trees only near the best candidate."""
    embedding: np.ndarray
    """float32 [M, hidden]: last hidden layer of the first scoring network."""
    leaves: np.ndarray
    """uint8 [M, trees]: where each candidate ends in each tree."""


def _deviations(apart: Tensor, scale: Tensor) -> Tensor:
    """How many deviations values are ``apart`` from their means, which it overwrites."""
    return apart.div_(scale).clamp_(-_FARTHEST, _FARTHEST)


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
    uncertainty_scale: Tensor

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
        if config.dynamics == "transformer":
            self.sequence = ActionTransformer(latent, dropout=config.dropout)
        self.consistency = nn.Linear(latent, features)
        self.piecewise = Piecewise(features, config.parts)
        inputs = 2 * latent + features * (1 + config.parts)
        self.enter = _Members(config.members, inputs, hidden)
        layers = range(config.layers)
        self.widen = nn.ModuleList(_Members(config.members, hidden, hidden) for _ in layers)
        self.narrow = nn.ModuleList(_Members(config.members, hidden, hidden) for _ in layers)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(config.layers + 1))
        self.leave = _Members(config.members, hidden, 1)
        self.drop = nn.Dropout(config.dropout)
        self.forest = Forest(config.trees, features)
        self.register_buffer("uncertainty_scale", torch.ones(()))

    def forward(self, batch: Batch) -> Output:
        """Scores a padded batch (training)."""
        state = self._start(batch.blocks)
        inputs = self._action_inputs(batch.kinds, batch.actions)
        if self.config.dynamics == "transformer":
            state = self.sequence(state, inputs, batch.kinds != 0)
        elif self.config.dynamics == "recurrent":
            state = self._roll(inputs, state, batch.kinds)
        for step in range(batch.kinds.shape[1] if self.config.dynamics == "bag" else 0):
            live = (batch.kinds[:, step] != 0).unsqueeze(1)
            state = torch.where(live, self._added(inputs[:, step], state), state)
        return self._finish(state, batch.structured, batch.hardware)

    def _roll(self, inputs: Tensor, state: Tensor, kinds: Tensor) -> Tensor:
        """All moves of the cell in one call of the library; backwards twice as fast as a loop."""
        if not kinds.shape[1]:
            return state
        cell = self.transition
        weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        states, _ = torch.gru(inputs, state[None], weights, True, 1, 0.0, True, False, True)
        # Where the padding begins is where the rollout ends; without an action it never began.
        states = torch.cat([state[:, None].to(states.dtype), states], dim=1)
        ends = (kinds != 0).sum(dim=1)
        return states[torch.arange(len(ends), device=ends.device), ends]

    @property
    def voices(self) -> int:
        """How many have an opinion: the scoring networks, and the trees where there are any."""
        return self.config.members + bool(self.forest.trees)

    def plant(self, forest: Forest) -> None:
        """Sets ``forest`` beside the scoring networks, in place of what is there."""
        self.forest = forest
        self.config = replace(self.config, trees=forest.trees)

    def judge(self, encoded: Encoded, share: bool = True) -> Judgement:
        """What networks and trees think of one group of candidates, each for itself."""
        output = self.score(encoded, share)
        opinions = [*output.members.cpu().numpy()]
        told, leaves = self.forest.judge(encoded.structured)
        if self.forest.trees:
            opinions.append(told)
        return Judgement(np.stack(opinions), output.embedding.cpu().numpy(), leaves)

    def verdict(self, opinions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score and uncertainty, float32 [M] each, of the candidates of one workload.

        Half of the weight is the networks', half the trees', which say less than nats of what is
        far slower than the best: so does the score. The uncertainty is the deviation of
        that mixture, scaled so that it is right about itself on the validation workloads. All
        learn ratios within a workload and none its level: so how far their levels are apart says
        nothing, and is taken out over the candidates at hand. Of one alone nothing is left.
        """
        count = self.config.members
        apart = opinions - opinions.sum(axis=1, keepdims=True) / max(opinions.shape[1], 1)
        score, variance = opinions[:count].mean(axis=0), apart[:count].var(axis=0)
        if self.forest.trees:
            score = (score + opinions[count]) / 2
            difference = apart[:count].mean(axis=0) - apart[count]
            variance = variance / 2 + np.square(difference / 2)
        return score, np.sqrt(variance) * np.float32(self.uncertainty_scale)

    def score(self, encoded: Encoded, share: bool = True) -> Output:
        """What the networks say of a group; with ``share``, equal prefixes are rolled out once."""
        device = self.structured_mean.device
        blocks = torch.from_numpy(encoded.blocks).to(device).unsqueeze(0)
        state = self._start(blocks)
        count = encoded.count
        if self.config.dynamics == "transformer":
            state = self._read(state, torch.from_numpy(encoded.kinds).to(device), encoded)
        elif self._rolls_out:
            steps, last = plan(encoded.actions, count, share)
            state = roll(self._mover(), state, encoded.kinds.tolist(), steps)
            if last is not None:
                state = state[torch.from_numpy(last).to(device)]
        structured = torch.from_numpy(encoded.structured).to(device)
        hardware = torch.from_numpy(encoded.hardware).to(device).unsqueeze(0)
        return self._finish_group(state.expand(count, -1), structured, hardware)

    @property
    def _rolls_out(self) -> bool:
        return self.config.dynamics in ("recurrent", "bag")

    def _read(self, state: Tensor, kinds: Tensor, encoded: Encoded) -> Tensor:
        """The latents of one group by a Transformer, [N, latent]."""
        read = []
        for start in range(0, encoded.count, PIECE):
            rows = range(start, min(start + PIECE, encoded.count))
            tables = [a[rows.start : rows.stop] if len(a) > 1 else a for a in encoded.actions]
            inputs = [
                self._action_inputs(kind, torch.from_numpy(table).to(kinds.device))
                for kind, table in zip(kinds, tables)
            ]
            whole = [one.expand(len(rows), -1) for one in inputs]
            width = state.shape[1]
            sequence = torch.stack(whole, 1) if whole else state.new_zeros(len(rows), 0, width)
            live = torch.ones(sequence.shape[:2], dtype=torch.bool, device=kinds.device)
            read.append(self.sequence(state.expand(len(rows), -1), sequence, live))
        return torch.cat(read)

    def _start(self, blocks: Tensor) -> Tensor:
        """[M, B, P] to the first latent [M, latent]."""
        present = (blocks != 0).any(dim=2, keepdim=True)
        encoded = (self.block_in(blocks) * present).sum(dim=1)
        return torch.tanh(encoded) if self.config.program else torch.zeros_like(encoded)

    def _action_inputs(self, kinds: Tensor, actions: Tensor) -> Tensor:
        return self.kind_in(kinds) + self.action_in(actions * self.action_scale)

    def _mover(self) -> Callable[[int, Tensor, Tensor], Tensor]:
        """What `roll` moves latents by."""
        if self.config.dynamics == "recurrent":
            cell = ScoringCell(self.transition, self.action_in, self.kind_in, self.action_scale)
            return cell.move
        return lambda kind, rows, state: self._added(
            self._action_inputs(self.kind_in.weight.new_tensor(kind, dtype=torch.long), rows), state
        )

    @staticmethod
    def _added(inputs: Tensor, state: Tensor) -> Tensor:
        """The state after an action, where there are no dynamics: actions add up."""
        return state + torch.tanh(inputs) / 8.0

    def _finish(self, state: Tensor, structured: Tensor, hardware: Tensor) -> Output:
        normal = self._normal(structured)
        told = torch.cat([normal, self.piecewise(structured)], dim=1)
        parts = [
            state,
            self.hardware_in(hardware) if self.config.hardware else torch.zeros_like(state),
            told if self.config.structured else torch.zeros_like(told),
        ]
        x = torch.cat(parts, dim=1).unsqueeze(0).expand(self.config.members, -1, -1)
        members, embedding = self._ensemble(self.enter(x))
        return Output(members, embedding, self.consistency(state), normal)

    def _normal(self, structured: Tensor) -> Tensor:
        """Structured features as the networks read them."""
        return _deviations(structured - self.structured_mean, self.structured_scale)

    def _finish_group(self, state: Tensor, structured: Tensor, hardware: Tensor) -> Output:
        """`_finish` for the scores alone: what all candidates share enters once, ``hardware`` with
        one row and many structured features; the rest in pieces that fit a cache."""
        is_read = self.config.structured
        columns = structured.T
        # Not by torch.aminmax, which takes twenty times as long.
        least, most = columns.amin(dim=1), columns.amax(dim=1)
        varying = (least < most) & is_read
        crossed = self.piecewise.crossed(least, most) & is_read
        read = self.piecewise.reader(crossed)
        one = structured[:1]
        same = torch.cat([self._normal(one), self.piecewise(one)], dim=1) * float(is_read)
        told = self.hardware_in(hardware) if self.config.hardware else torch.zeros_like(state[:1])
        mine = torch.ones_like(state[0], dtype=torch.bool)
        own = torch.cat([mine, ~mine, varying, crossed])
        shared = torch.cat([torch.zeros_like(state[:1]), told, same], dim=1) * ~own
        members = self.config.members
        weight = self.enter.weight[:, own]
        bias = torch.baddbmm(self.enter.bias, shared.expand(members, -1, -1), self.enter.weight)
        at = varying.nonzero().squeeze(1)
        mean, scale = self.structured_mean[at, None], self.structured_scale[at, None]
        parts = []
        for latents, here in zip(torch.split(state, _PIECE), torch.split(columns, _PIECE, dim=1)):
            normal = _deviations(here.index_select(0, at).sub_(mean), scale)
            piece = torch.cat([latents.T, normal, read(here)]).T
            entered = torch.baddbmm(bias, piece.expand(members, -1, -1), weight)
            parts.append(self._ensemble(entered))
        scores, embedding = (torch.cat(part, dim=axis) for part, axis in zip(zip(*parts), (1, 0)))
        return Output(scores, embedding, same[:0], same[:0])

    def _ensemble(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [members, M] and the first member's last hidden layer [M, hidden]."""
        for norm, first, second in zip(self.norms, self.widen, self.narrow):
            x = x + second(self.drop(nn.functional.gelu(first(norm(x)))))
        hidden = self.norms[-1](x)
        return self.leave(hidden).squeeze(2), hidden[0]
