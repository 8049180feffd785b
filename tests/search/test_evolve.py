from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from spaces import DECISIONS, INSTRUCTIONS, space

from wmhub.errors import InvalidInputError
from wmhub.measure.space import Candidate, DesignSpace
from wmhub.search.evolve import Evolution, evolve


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


def test_seeds_are_the_first_parents() -> None:
    it = space()
    random = np.random.default_rng(0)
    seed = Candidate(0, it.draw(random))
    evolution = Evolution(population=50, generations=1, fresh=0.0)
    ranked = evolve([it], lambda batch: np.zeros(len(batch)), [seed], random, evolution)
    # One to three slots apart, and most of them one.
    apart = [sum(a != b for a, b in zip(seed.genes, one.genes, strict=True)) for one in ranked]
    assert len(ranked) > 10
    assert max(apart) <= 3
    assert sum(count <= 1 for count in apart) > len(apart) / 3


def test_a_generation_has_few_structures() -> None:
    # The tiles are part of the structure where there is an RFactor.
    it = DesignSpace([*INSTRUCTIONS, ["RFactor", ["l1"], [0], ["b9"]]], DECISIONS)
    batches: list[list[Candidate]] = []

    def score(batch: Any) -> np.ndarray:
        batches.append(list(batch))
        return np.asarray([-sum(candidate.genes) for candidate in batch], float)

    seeds = [Candidate(0, it.draw(np.random.default_rng(n))) for n in range(20)]
    few = Evolution(population=100, generations=4, structures=7)
    evolve([it], score, seeds, np.random.default_rng(0), few)
    assert len(batches) == 4
    for batch in batches:
        assert 1 <= len({it.structure(candidate.genes) for candidate in batch}) <= 7
    assert batches[0][0] == seeds[0]
    batches.clear()
    evolve([space()], score, [], np.random.default_rng(0), few)
    assert min(len(batch) for batch in batches) > 90


def test_an_empty_population_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        Evolution(population=0)
