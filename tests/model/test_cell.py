"""Moving latents for scores alone ends where the layers of training lead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wmhub.model import cell as under_test
from wmhub.model.cell import ScoringCell, roll
from wmhub.model.rollout import Step

LATENT, NUMBERS, KINDS = 6, 4, 3


class Layers(nn.Module):
    """What training moves latents by."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(LATENT, LATENT)
        self.action_in = nn.Linear(NUMBERS, LATENT)
        self.kind_in = nn.Embedding(KINDS, LATENT)
        self.scale = torch.rand(NUMBERS) + 0.5

    def forward(self, kind: int, rows: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        inputs = self.kind_in(torch.tensor(kind)) + self.action_in(rows * self.scale)
        moved: torch.Tensor = self.cell(inputs.expand(len(state), -1), state)
        return moved


@pytest.fixture
def layers() -> Layers:
    torch.manual_seed(0)
    return Layers()


@torch.no_grad()
def test_one_matrix_moves_as_both_layers_do(layers: Layers) -> None:
    made = ScoringCell(layers.cell, layers.action_in, layers.kind_in, layers.scale)
    state = torch.randn(5, LATENT)
    for rows in (torch.randn(5, NUMBERS), torch.randn(1, NUMBERS)):
        for kind in range(KINDS):
            expected = layers(kind, rows, state)
            torch.testing.assert_close(made.move(kind, rows, state), expected)


@torch.no_grad()
def test_a_rollout_in_pieces_is_that_of_all_at_once(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)

    def numbers(count: int) -> np.ndarray:
        return rng.standard_normal((count, NUMBERS)).astype(np.float32)

    start = torch.randn(1, LATENT)
    steps = [
        Step(numbers(1), None),
        Step(numbers(7), np.zeros(7, np.int64)),
        Step(numbers(1), None),
        Step(numbers(20), rng.integers(0, 7, 20)),
        Step(numbers(20), None),
    ]
    kinds = [1, 0, 2, 2, 1]
    state = start
    for kind, step in zip(kinds, steps, strict=True):
        if step.parents is not None:
            state = state[torch.from_numpy(step.parents)]
        state = layers(kind, torch.from_numpy(step.rows), state)
    monkeypatch.setattr(under_test, "_PIECE", 3)
    torch.testing.assert_close(roll(layers, start, kinds, steps), state)


@torch.no_grad()
def test_nothing_done_leaves_the_latent(layers: Layers) -> None:
    start = torch.randn(1, LATENT)
    assert roll(layers, start, [], []) is start
