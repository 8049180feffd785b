"""Features in parts: against numpy's interpolation, and the same whether all or some are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wmhub.model.piecewise import Piecewise, knots_of


def encoding(knots: np.ndarray) -> Piecewise:
    made = Piecewise(len(knots), knots.shape[1] - 1)
    made.knots.copy_(torch.from_numpy(knots))
    return made


def test_parts_hold_as_many_values_each_and_one_of_a_single_value_has_no_width() -> None:
    values = np.stack([np.arange(1000.0), np.repeat([0.0, 7.0], [900, 100])], axis=1)
    knots = knots_of(values.astype(np.float32), 4)
    np.testing.assert_allclose(knots[0], [0, 249.75, 499.5, 749.25, 999], rtol=1e-6)
    assert knots[1].tolist() == [0, 0, 0, 0, 7]
    assert knots.dtype == np.float32


def test_a_value_is_told_by_how_far_it_is_through_each_part() -> None:
    knots = np.array([[0, 1, 3, 3], [-2, 0, 2, 10]], np.float32)
    values = np.array([[-1, -5], [0.25, -1], [2, 1], [9, 11]], np.float32)
    found = encoding(knots)(torch.from_numpy(values)).numpy().reshape(4, 2, 3)
    for feature in range(2):
        for part in range(3):
            ends = knots[feature, part : part + 2]
            told = found[:, feature, part]
            if ends[0] == ends[1]:
                assert told.tolist() == [0] * 4
            else:
                wanted = np.interp(values[:, feature], ends, [-0.5, 0.5])
                np.testing.assert_allclose(told, wanted, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_what_does_not_vary_is_the_same_for_all_and_the_rest_is_read_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = encoding(np.sort(rng.integers(-3, 4, (5, 4)), axis=1).astype(np.float32))
    values = torch.from_numpy(rng.integers(-2, 3, (rng.integers(1, 6), 5)).astype(np.float32))
    values[:, 0] = 1.5
    whole, chosen = made(values), made.crossed(*torch.aminmax(values, dim=0))
    assert torch.equal(whole[:, ~chosen], whole[:1, ~chosen].expand(len(values), -1))
    assert torch.equal(made.reader(chosen)(values.T).T, whole[:, chosen])


def test_what_differs_by_rounding_alone_is_one_value() -> None:
    ends = np.array([[32.0, np.nextafter(np.float32(32), np.float32(40)), 40.0]], np.float32)
    made = encoding(ends)
    assert made(torch.from_numpy(ends.T.copy()))[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert made(torch.from_numpy(ends.T.copy()))[:, 1].tolist() == [-0.5, -0.5, 0.5]


def test_without_parts_nothing_is_told() -> None:
    made, values = Piecewise(3, 0), torch.randn(4, 3)
    assert made(values).shape == (4, 0)
    assert made.crossed(values[0], values[1]).shape == (0,)
    assert knots_of(values.numpy(), 0).shape == (3, 1)
