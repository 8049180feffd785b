"""Ranking losses: lowest for the right order, and most concerned with the best candidates."""

from __future__ import annotations

import pytest
import torch

from wmhub.model.losses import RANKINGS, ranking_loss

GAINS = torch.log(torch.tensor([[1.0, 0.8, 0.5, 0.2, 0.05]]))


def loss(scores: list[float], kind: str) -> float:
    return float(ranking_loss(torch.tensor([scores]), GAINS, 2.0, kind))


@pytest.mark.parametrize("kind", RANKINGS)
def test_the_right_order_costs_least_and_a_swap_at_the_top_most(kind: str) -> None:
    right = loss([5.0, 4.0, 3.0, 2.0, 1.0], kind)
    swapped_first = loss([4.0, 5.0, 3.0, 2.0, 1.0], kind)
    swapped_last = loss([5.0, 4.0, 3.0, 1.0, 2.0], kind)
    backwards = loss([1.0, 2.0, 3.0, 4.0, 5.0], kind)
    assert right < swapped_last < swapped_first < backwards


@pytest.mark.parametrize("kind", RANKINGS)
def test_only_differences_of_scores_count_and_lists_are_apart(kind: str) -> None:
    scores = torch.randn(3, 2, 5)
    gains = GAINS.expand(3, 2, 5)
    together = ranking_loss(scores, gains, 2.0, kind)
    assert torch.allclose(ranking_loss(scores + 7.0, gains, 2.0, kind), together, atol=1e-5)
    apart = torch.stack([ranking_loss(s, GAINS[0], 2.0, kind) for s in scores.reshape(6, 5)])
    assert torch.allclose(apart.mean(), together, atol=1e-5)


@pytest.mark.parametrize("kind", RANKINGS)
def test_descending_the_loss_sorts(kind: str) -> None:
    torch.manual_seed(0)
    scores = torch.randn(1, 5, requires_grad=True)
    optimiser = torch.optim.Adam([scores], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        ranking_loss(scores, GAINS, 2.0, kind).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert scores.detach().argsort(dim=-1, descending=True).tolist() == [[0, 1, 2, 3, 4]]
