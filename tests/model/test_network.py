"""Scoring one group gives what the padded batches of training give, whatever the dynamics."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wmhub.hardware.table import lookup
from wmhub.model.config import ModelConfig
from wmhub.model.encode import Encoded, current_spec, encode, structured_columns
from wmhub.model.network import WorldModel
from wmhub.names import HardwareKey
from wmhub.replay.meta_schedule import replay_traces

sys.path.insert(0, str(Path(__file__).parents[1]))
from model.collating import collate
from test_replay_meta_schedule import TILED, matmul

CPU = lookup(HardwareKey.parse("llvm-emeraldrapids-2c"))


def groups() -> list[Encoded]:
    """Two structures; enough candidates that some share prefixes."""
    assert CPU is not None
    traces = [
        [TILED[:end], [[3, [2**i, 8 >> i]], [5, [2**j, 16 >> j]]]]
        for end in (len(TILED), len(TILED) - 1)
        for i in range(4)
        for j in range(5)
        for _ in range(4)
    ]
    return [encode(group.trajectories, CPU) for group in replay_traces(matmul(), traces)]


def network(config: ModelConfig) -> WorldModel:
    assert CPU is not None
    torch.manual_seed(0)
    made = WorldModel(config, current_spec(structured_columns(CPU))).eval()
    made.structured_mean.normal_()
    made.piecewise.knots.copy_(torch.rand(made.piecewise.knots.shape).mul(8).sort(dim=1).values)
    made.action_scale.uniform_(0.5, 2.0)
    return made


@pytest.mark.parametrize(
    "parts",
    [
        {"dynamics": "recurrent"},
        {"dynamics": "transformer"},
        {"dynamics": "bag"},
        {"dynamics": "none"},
        {"structured": False},
        {"parts": 0},
        {"parts": 3},
        {"hardware": False, "program": False},
    ],
)
@torch.no_grad()
def test_scores_are_those_of_the_padded_batch(parts: dict[str, str | bool]) -> None:
    made = network(ModelConfig(latent=16, hidden=24, layers=1, members=2, **parts))  # type: ignore[arg-type]
    encoded = groups()
    batch = collate([(e, torch.arange(e.count)) for e in encoded], None)
    wanted = made(batch)
    for share in (True, False):
        found = [made.score(e, share) for e in encoded]
        members = torch.cat([f.members for f in found], dim=1)
        embedding = torch.cat([f.embedding for f in found])
        np.testing.assert_allclose(members, wanted.members, atol=1e-5)
        np.testing.assert_allclose(embedding, wanted.embedding, atol=1e-5)
    assert wanted.members.std() > 0


@torch.no_grad()
def test_a_transformer_sees_the_order_of_actions() -> None:
    made = network(ModelConfig(latent=16, hidden=24, layers=1, members=2, dynamics="transformer"))
    state, inputs = torch.zeros(1, 16), torch.randn(1, 5, 16)
    live = torch.ones(1, 5, dtype=torch.bool)
    there, back = (made.sequence(state, i, live) for i in (inputs, inputs.flip(1)))
    assert not torch.allclose(there, back)
    # What stands behind the end does not matter.
    padded = torch.cat([inputs, torch.randn(1, 2, 16)], dim=1)
    mask = torch.tensor([[True] * 5 + [False] * 2])
    assert torch.allclose(made.sequence(state, padded, mask), there, atol=1e-5)
