from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmhub.errors import InvalidInputError
from wmhub.measure.space import Candidate, DesignSpace, tilings
from wmhub.search.evolve import Evolution, evolve

INSTRUCTIONS: list[Any] = [
    ["GetSBlock", [], ["matmul", "main"], ["b0"]],
    ["SamplePerfectTile", ["l0"], [4, 64], ["v0", "v1", "v2", "v3"]],
    ["SamplePerfectTile", ["l1"], [2, 16], ["v4", "v5"]],
    ["SampleCategorical", [], [[0, 16, 64, 512], [0.25, 0.25, 0.25, 0.25]], ["v6"]],
    ["SampleComputeLocation", ["b0"], [], ["l9"]],
]
DECISIONS: list[Any] = [[1, [8, 4, 2, 8]], [2, [12, 8]], [3, 2], [4, -1]]


def space() -> DesignSpace:
    return DesignSpace(INSTRUCTIONS, DECISIONS)


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
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=60, deadline=None)
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


def test_a_space_without_choices_has_one_candidate() -> None:
    it = DesignSpace(INSTRUCTIONS[:1], [])
    random = np.random.default_rng(0)
    ranked = evolve([it], lambda batch: np.zeros(len(batch)), [], random, Evolution())
    assert ranked == {Candidate(0, ()): 0.0}


def test_evolution_finds_what_random_draws_do_not() -> None:
    it = space()
    scored = 0

    def score(batch: Any) -> np.ndarray:
        nonlocal scored
        scored += len(batch)
        values = [it.decisions(candidate.genes) for candidate in batch]
        best = [16, 2, 1, 16], [6, 16]
        return -np.asarray(
            [
                np.abs(np.log2(v[0][1]) - np.log2(best[0])).sum()
                + np.abs(np.log2(v[1][1]) - np.log2(best[1])).sum()
                + abs(v[2][1] - 3)
                for v in values
            ]
        )

    random = np.random.default_rng(0)
    ranked = evolve([it], score, [], random, Evolution(population=100, generations=6))
    assert len(ranked) == scored <= 600
    scores = np.asarray(list(ranked.values()))
    np.testing.assert_array_equal(scores, score(ranked))
    assert (np.diff(scores) <= 0).all()
    drawn = [Candidate(0, it.draw(random)) for _ in range(600)]
    assert scores[0] == 0.0 > score(drawn).max()


def test_what_does_not_fit_is_neither_scored_nor_a_parent() -> None:
    it = space()
    scored: list[Candidate] = []

    def score(batch: Any) -> np.ndarray:
        scored.extend(batch)
        return np.arange(len(batch), dtype=float)

    def fits(batch: Any) -> np.ndarray:
        return np.asarray([candidate.genes[2] == 1 for candidate in batch])

    random = np.random.default_rng(0)
    ranked = evolve([it], score, [], random, Evolution(population=64, generations=3), fits)
    assert len(ranked) == len(scored) > 64
    assert all(candidate.genes[2] == 1 for candidate in scored)


def test_where_nothing_fits_nothing_is_found() -> None:
    nothing = evolve(
        [space()],
        lambda batch: np.zeros(len(batch)),
        [],
        np.random.default_rng(0),
        Evolution(population=16),
        lambda batch: np.zeros(len(batch), dtype=bool),
    )
    assert nothing == {}


def test_seeds_are_scored_first() -> None:
    it = space()
    seed = Candidate(0, it.genes(DECISIONS))
    first: list[Candidate] = []

    def score(batch: Any) -> np.ndarray:
        first.extend(batch)
        return np.zeros(len(batch))

    evolve([it], score, [seed], np.random.default_rng(0), Evolution(8, 1))
    assert first[0] == seed
    assert len(first) == 8


def test_an_empty_population_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        Evolution(population=0)
