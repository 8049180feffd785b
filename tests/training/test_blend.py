"""What is kept of a training that started from a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from wmhub.hardware.table import lookup
from wmhub.model.config import ModelConfig
from wmhub.model.encode import current_spec, structured_columns
from wmhub.model.forest import Forest, TreeTables
from wmhub.model.network import WorldModel
from wmhub.names import HardwareKey
from wmhub.training import blend as module
from wmhub.training.blend import blend, keep_best
from wmhub.training.evaluate import Ranking
from wmhub.training.store import StoredWorkload


def network(seed: int) -> WorldModel:
    profile = lookup(HardwareKey.parse("cuda-a100"))
    assert profile is not None
    torch.manual_seed(seed)
    config = ModelConfig(latent=16, hidden=32, layers=1, members=3)
    return WorldModel(config, current_spec(structured_columns(profile))).eval()


@pytest.fixture
def base() -> WorldModel:
    return network(0)


@pytest.fixture
def tuned(base: WorldModel) -> WorldModel:
    made = copy.deepcopy(base)
    made.load_state_dict(network(1).state_dict())
    features = len(made.structured_mean)
    tree = TreeTables(np.zeros((1, 255), np.int32), np.zeros((1, 255), np.float32),
                      np.ones((1, 256), np.float32))  # fmt: skip
    made.plant(Forest(0, features).grown(tree))
    return made


def test_half_of_the_weights_are_the_base_s_and_the_trees_stay(
    tuned: WorldModel, base: WorldModel
) -> None:
    mixed = blend(tuned, base, 0.5)
    for name, own in mixed.named_parameters():
        between = (tuned.get_parameter(name) + base.get_parameter(name)) / 2
        assert torch.allclose(own, between), name
    assert (mixed.forest.trees, mixed.config.trees) == (1, 1)


def test_nothing_and_all_of_the_base(tuned: WorldModel, base: WorldModel) -> None:
    for share, whole in ((0.0, tuned), (1.0, base)):
        mixed = blend(tuned, base, share)
        assert mixed.config == whole.config
        for name, value in whole.state_dict().items():
            assert torch.equal(value, mixed.state_dict()[name]), name
    assert base.forest.trees == 0


@pytest.mark.parametrize("best", [0.0, 0.5, 1.0])
def test_validation_workloads_choose(
    tuned: WorldModel, base: WorldModel, best: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = blend(tuned, base, best).state_dict()

    def told(shown: WorldModel, workloads: Sequence[StoredWorkload]) -> list[Ranking]:
        """Ranked rightly by what is to be kept, and wrongly by all else."""
        assert not workloads
        held = shown.state_dict()
        is_it = held.keys() == wanted.keys() and all(
            held[k].shape == v.shape and torch.equal(held[k], v) for k, v in wanted.items()
        )
        latency = np.arange(1.0, 9.0)
        score = (-latency if is_it else latency).astype(np.float32)
        return [Ranking("w0", latency, score, np.zeros(8, np.float32))]

    monkeypatch.setattr(module, "rank_stored", told)
    kept = keep_best(tuned, base, [])
    assert kept.share == best
    assert kept.rankings[0].score[0] == -1.0
    assert kept.network.config.trees == (0 if best == 1 else 1)
