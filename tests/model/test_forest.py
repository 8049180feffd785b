from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import InvalidInputError
from wmhub.model.forest import DEPTH, Forest, TreeTables

FEATURES = 7


def forest(trees: int, seed: int, bias: float = 0.5) -> Forest:
    random = np.random.default_rng(seed)
    nodes = (trees, 2**DEPTH - 1)
    tables = TreeTables(
        random.integers(0, FEATURES, nodes).astype(np.int32),
        random.normal(size=nodes).astype(np.float32),
        random.normal(size=(trees, 2**DEPTH)).astype(np.float32),
    )
    return Forest.of(tables, bias, FEATURES)


def walked(made: Forest, row: np.ndarray) -> list[int]:
    """The leaves of one candidate, one tree, one node at a time."""
    leaves = []
    for tree in range(made.trees):
        node = 0
        while node < 2**DEPTH - 1:
            is_left = row[made.feature[tree, node]] < made.threshold[tree, node]
            node = 2 * node + (1 if is_left else 2)
        leaves.append(node - (2**DEPTH - 1))
    return leaves


@given(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_all_walks_at_once_end_where_each_alone_does(count: int, trees: int, seed: int) -> None:
    made = forest(trees, seed)
    rows = np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)
    scores, leaves = made.judge(rows)
    wanted = [walked(made, row) for row in rows]
    assert leaves.tolist() == wanted
    totals = [made.leaf[np.arange(trees), ends].sum() + made.bias for ends in wanted]
    np.testing.assert_allclose(scores, totals, atol=1e-4)
    np.testing.assert_array_equal(made.predict(rows), scores)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_walks_over_values_at_thresholds_end_there_too(trees: int, seed: int) -> None:
    made, random = forest(trees, seed), np.random.default_rng(seed)
    made.threshold[:] = made.threshold.round()
    rows = random.integers(-2, 3, (9, FEATURES)).astype(np.float32)
    assert made.judge(rows)[1].tolist() == [walked(made, row) for row in rows]


def test_long_inputs_go_in_pieces() -> None:
    made = forest(3, 0)
    rows = np.random.default_rng(1).normal(size=(1300, FEATURES)).astype(np.float32)
    scores, leaves = made.judge(rows)
    for row in (0, 511, 512, 1299):
        alone, ends = made.judge(rows[row : row + 1])
        assert scores[row] == pytest.approx(alone[0], abs=1e-5)
        assert leaves[row].tolist() == ends[0].tolist()


def test_a_value_at_the_threshold_goes_right() -> None:
    made = Forest(1, FEATURES)
    made.threshold[0, 0] = 1.0
    made.leaf[0, 0], made.leaf[0, 2 ** (DEPTH - 1)] = -1.0, 1.0
    rows = np.zeros((2, FEATURES), np.float32)
    rows[1, 0] = 1.0
    assert made.predict(rows).tolist() == [-1.0, 1.0]


def test_a_forest_grows() -> None:
    first, second = forest(2, 0), forest(3, 1, bias=0.0)
    tables = TreeTables(second.feature.numpy(), second.threshold.numpy(), second.leaf.numpy())
    rows = np.random.default_rng(2).normal(size=(9, FEATURES)).astype(np.float32)
    both = first.grown(tables)
    assert both.trees == 5
    np.testing.assert_allclose(
        both.predict(rows), first.predict(rows) + second.predict(rows), atol=1e-5
    )


@pytest.mark.parametrize("feature", [-1, FEATURES, 30000])
def test_a_feature_that_does_not_exist_is_refused(feature: int) -> None:
    made = forest(2, 0)
    made.require_sound()
    made.feature[1, 17] = feature
    with pytest.raises(InvalidInputError, match="a tree looks at none of the 7 features"):
        made.require_sound()


def test_a_file_of_it_holds_numbers_alone() -> None:
    state = forest(2, 0).state_dict()
    assert {name: tensor.dtype for name, tensor in state.items()} == {
        "bias": torch.float32,
        "feature": torch.int32,
        "threshold": torch.float32,
        "leaf": torch.float32,
    }
