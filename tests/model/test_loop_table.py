"""Loops as arrays, and what is accumulated along them."""

from __future__ import annotations

import numpy as np
import pytest

from wmhub.model.loop_table import LoopTable, accumulated, inclusive
from wmhub.nest import Axis, Loop, extents


def test_unknown_extents_count_as_one() -> None:
    i, k = Axis("i", np.array([4, 0]), False), Axis("k", extents(8), True)
    table = LoopTable.of([Loop.over(i), Loop.over(k)])
    assert table.sizes.tolist() == [[4, 1], [8, 8]]
    assert table.is_reduction.tolist() == [[False], [True]]
    assert inclusive(table.sizes).tolist() == [[1, 1], [4, 1], [32, 8]]


def test_no_loops() -> None:
    table = LoopTable.of([])
    assert table.sizes.shape == (0, 1)
    assert table.is_reduction.shape == (0, 1)
    assert inclusive(table.sizes).tolist() == [[1]]


@pytest.mark.parametrize("operation", [np.multiply, np.add, np.logical_or])
def test_few_and_many_candidates_are_accumulated_alike(operation: np.ufunc) -> None:
    rows = np.random.default_rng(0).integers(0, 3, (5, 1000))
    rows = rows > 1 if operation is np.logical_or else rows
    before = rows.copy()
    assert (accumulated(operation, rows) == operation.accumulate(rows, axis=0)).all()
    assert (rows == before).all()
