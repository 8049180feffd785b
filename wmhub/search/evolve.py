"""Evolution of candidates by their scores alone: nothing is replayed, built or measured here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from wmhub.errors import InvalidInputError
from wmhub.measure.space import Candidate, DesignSpace, below, of_few_structures

#: Scores candidates, float64 [N], higher is better.
ScoreCandidates = Callable[[Sequence[Candidate]], np.ndarray]
#: Which candidates can run at all, bool [N].
Fits = Callable[[Sequence[Candidate]], np.ndarray]
#: How often a generation asks for the candidates that it still lacks, as of those drawn for a GPU
#: one in ten fits; and what share has to be new, as small spaces run out of new ones.
_ROUNDS, _LEAST_NEW = 24, 0.02


@dataclass(frozen=True)
class Evolution:
    """How candidates evolve."""

    population: int = 1024
    """Candidates scored in each generation."""
    generations: int = 6
    """Generations, the first of which is drawn at random where nothing is measured."""
    structures: int = 128
    """Most structures in a generation: each is replayed by itself, which takes as long as scoring a
    hundred candidates of one. Only softmax and its like have so many; a generation of theirs is
    smaller."""
    elite: float = 0.15
    """Share of the best so far that become parents."""
    fresh: float = 0.15
    """Share of each generation that is drawn at random."""
    crossed: float = 0.35
    """Share of the other children that have two parents."""

    def __post_init__(self) -> None:
        if min(self.population, self.generations, self.structures) < 1:
            raise InvalidInputError("population, generations, structures must be at least 1")


def evolve(
    spaces: Sequence[DesignSpace],
    score: ScoreCandidates,
    seeds: Sequence[Candidate],
    random: np.random.Generator,
    evolution: Evolution,
    fits: Fits = lambda candidates: np.ones(len(candidates), dtype=bool),
) -> dict[Candidate, float]:
    """All candidates that were scored, with their scores, best first.

    ``seeds``, best first, join the first generation and are its parents; without any it is drawn at
    random. What of those drawn does not fit is neither scored nor a parent.
    """
    known: dict[Candidate, float] = {}
    parents = list(seeds)
    most = evolution.structures
    for generation in range(evolution.generations):
        first = of_few_structures(spaces, seeds, most) if generation == 0 else ()
        wanted: dict[Candidate, None] = dict.fromkeys(first)
        for _ in range(_ROUNDS):
            missing = evolution.population - len(wanted)
            if missing <= 0:
                break
            children = [_child(spaces, parents, random, evolution) for _ in range(missing)]
            new = [child for child in dict.fromkeys(children) if child not in known]
            kept = list(of_few_structures(spaces, [*wanted, *new], most))[len(wanted) :]
            wanted.update(dict.fromkeys(itertools.compress(kept, fits(kept))))
            if len(new) <= _LEAST_NEW * missing or len(kept) < len(new):
                break
        if not wanted:
            break
        batch = list(wanted)
        known.update(zip(batch, score(batch).tolist(), strict=True))
        parents = sorted(known, key=known.__getitem__, reverse=True)
        parents = parents[: max(2, int(evolution.elite * evolution.population))]
    return dict(sorted(known.items(), key=itemgetter(1), reverse=True))


def by_chance(
    ranked: Mapping[Candidate, float], greedy: int, temperature: float, random: np.random.Generator
) -> Iterator[Candidate]:
    """The ``greedy`` best of ``ranked``, then the others at random in proportion to
    exp(score / temperature).

    The very best of thousands are all of one kind, and the kind whose score errs most in its
    favour. Drawn by Gumbel's trick (Kool, van Hoof and Welling, ICML 2019), other kinds stay in the
    choice.
    """
    candidates = list(ranked)
    noise = temperature * random.gumbel(size=len(candidates))
    noise[:greedy] = np.inf
    order = np.argsort(-(np.asarray(list(ranked.values())) + noise), kind="stable")
    return (candidates[number] for number in order)


def _child(
    spaces: Sequence[DesignSpace],
    parents: Sequence[Candidate],
    random: np.random.Generator,
    evolution: Evolution,
) -> Candidate:
    if not parents or random.random() < evolution.fresh:
        number = below(len(spaces), random)
        return Candidate(number, spaces[number].draw(random))
    # The square prefers the better ones: the list is sorted.
    parent = parents[int(len(parents) * random.random() ** 2)]
    space, genes = spaces[parent.space], parent.genes
    if random.random() < evolution.crossed:
        other = parents[below(len(parents), random)]
        if other.space == parent.space:
            genes = space.cross(genes, other.genes, random)
            if random.random() < 0.5:
                return Candidate(parent.space, genes)
    return Candidate(parent.space, space.mutate(genes, random))
