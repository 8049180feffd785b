from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import DECISIONS, space

from wmhub.measure.space import tilings


def check(decisions: list[Any]) -> None:
    assert [number for number, _ in decisions] == [1, 2, 3, 4]
    (_, first), (_, second), (_, category), _ = decisions
    assert math.prod(first) == 512
    assert len(first) == 4
    assert first[-1] <= 64
    assert math.prod(second) == 96
    assert second[-1] <= 16
    assert category in range(4)


@given(st.integers(1, 2000), st.integers(1, 4), st.integers(1, 64))
@settings(max_examples=150)
def test_tilings_are_all_the_factorisations(extent: int, levels: int, limit: int) -> None:
    found = tilings(extent, levels, limit)
    assert all(math.prod(factors) == extent and factors[-1] <= limit for factors in found)
    assert len({tuple(factors) for factors in found}) == len(found)
    if levels == 2:
        assert len(found) == sum(extent % d == 0 and d <= limit for d in range(1, extent + 1))


def test_a_huge_set_of_tilings_is_sampled() -> None:
    found = tilings(2**12 * 3**6 * 5**3, 5, 64)
    assert 100 < len(found) <= 1 << 15
    assert all(math.prod(factors) == 2**12 * 3**6 * 5**3 for factors in found)


def test_genes_and_decisions_are_inverse() -> None:
    it = space()
    assert it.decisions(it.genes(DECISIONS)) == DECISIONS


@given(st.integers(0, 2**32))
@settings(max_examples=60)
def test_draws_mutations_and_crossings_stay_inside(seed: int) -> None:
    it, random = space(), np.random.default_rng(seed)
    left, right = it.draw(random), it.genes(DECISIONS)
    check(it.decisions(left))
    mutated = it.mutate(right, random)
    check(it.decisions(mutated))
    assert sum(a != b for a, b in zip(mutated, right, strict=True)) <= 3
    for a, b, child in zip(left, right, it.cross(left, right, random), strict=True):
        assert child in (a, b)


def test_a_location_seen_in_a_replay_becomes_an_option() -> None:
    it = space()
    seen = [*DECISIONS[:3], [4, 7]]
    assert it.decisions(it.genes(seen)) == seen
    random = np.random.default_rng(0)
    assert {it.decisions(it.draw(random))[3][1] for _ in range(50)} == {-1, 7}
