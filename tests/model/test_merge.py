"""Groups that the network takes together get the scores that they get one by one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from wmhub.model.config import ModelConfig
from wmhub.model.merge import merge

sys.path.insert(0, str(Path(__file__).parent))
from test_network import groups, network


@torch.no_grad()
def test_merged_groups_score_as_they_do_apart() -> None:
    first, second = groups()
    together = merge([first, second, first])
    # The second one lacks the last action.
    assert [numbers for numbers, _ in together] == [[0, 2], [1]]
    both = together[0][1]
    assert both.count == 2 * first.count
    assert [len(a) for a in both.actions] == [
        1 if len(a) == 1 else 2 * len(a) for a in first.actions
    ]
    made = network(ModelConfig(latent=16, hidden=24, layers=1, members=2))
    found, wanted = made.score(both).members, made.score(first).members
    np.testing.assert_allclose(found, torch.cat([wanted, wanted], dim=1), atol=1e-5)
    assert together[1][1] is second


def test_nothing_merges_to_nothing() -> None:
    assert merge([]) == []
