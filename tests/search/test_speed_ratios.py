from __future__ import annotations

import numpy as np

from wmhub.search.learner import SpeedRatios


def test_the_best_stays_the_same_between_measurements() -> None:
    ratios = SpeedRatios()
    assert ratios.of("a", np.array([0.0, -1.0])).tolist() == [1.0, np.exp(-1.0)]
    assert ratios.of("a", np.array([1.0])).tolist() == [np.exp(1.0)]
    assert ratios.of("b", np.array([1.0])).tolist() == [1.0]
    ratios.forget("a")
    assert ratios.of("a", np.array([9.0])).tolist() == [1.0]


def test_what_is_no_number_is_positive_and_last() -> None:
    found = SpeedRatios().of("a", np.array([np.nan, 2.0, -np.inf, 1e9]))
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert found.argmax() == 3
