"""``DesignSpace``: the free decisions of one design-space trace, drawn and changed without TVM.

A trace's sampling instructions are slots; each slot has a table of options, and a candidate is one
option number per slot. The slots of one trace are independent, so any combination is a candidate;
whether it survives post-processing is found out by replaying the few that are chosen.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from wmhub.replay.meta_schedule import hashable, structural

#: Most factorisations of one loop that are listed; of a larger set this many are drawn.
_MOST_TILINGS = 1 << 15
#: How many slots of a candidate change at once, each as often.
_CHANGES = (1, 1, 2, 3)


class Candidate(NamedTuple):
    """One setting of all slots of one design space."""

    space: int
    """Number of the design space."""
    genes: tuple[int, ...]
    """Option number of each slot, in the order of the slots."""


@dataclass(frozen=True)
class Slot:
    """One sampling instruction."""

    instruction: int
    """Its number in the trace."""
    options: list[Any]
    """Decisions it can take, as JSON values. Grows where a replay shows another one."""
    numbers: dict[Any, int]
    """Option (lists as tuples) -> its number."""
    is_tiling: bool
    """Whether options are the factors of a loop, outermost first."""

    @classmethod
    def of(cls, instruction: int, options: list[Any], is_tiling: bool = False) -> Slot:
        """The slot of ``instruction`` with ``options``."""
        numbers = {hashable(option): number for number, option in enumerate(options)}
        return cls(instruction, options, numbers, is_tiling)

    def number(self, option: Any) -> int:
        """Number of ``option``, which is added where it is new."""
        key = hashable(option)
        if key not in self.numbers:
            self.numbers[key] = len(self.options)
            self.options.append(option)
        return self.numbers[key]

    def changed(self, gene: int, random: np.random.Generator) -> int:
        """Another option: for tilings mostly one that moves a prime factor between two levels."""
        if self.is_tiling and random.random() < 0.7:
            moved = self._moved(self.options[gene], random)
            if moved is not None:
                return moved
        if len(self.options) == 1:
            return gene
        other = below(len(self.options) - 1, random)
        return other + (other >= gene)

    def _moved(self, factors: Sequence[int], random: np.random.Generator) -> int | None:
        movable = [level for level, factor in enumerate(factors) if factor > 1]
        if not movable or len(factors) < 2:
            return None
        source = movable[below(len(movable), random)]
        target = (source + 1 + below(len(factors) - 1, random)) % len(factors)
        primes = prime_factors(factors[source])
        prime = primes[below(len(primes), random)]
        moved = list(factors)
        moved[source] //= prime
        moved[target] *= prime
        # None for an innermost factor above the instruction's limit.
        return self.numbers.get(tuple(moved))


class DesignSpace:
    """The slots of one trace; see the module."""

    def __init__(self, instructions: list[Any], decisions: Sequence[Sequence[Any]]) -> None:
        self.instructions = instructions
        self.slots = [
            _slot(int(number), instructions[int(number)], value) for number, value in decisions
        ]
        deciding = set(structural(instructions))
        self._deciding = [at for at, slot in enumerate(self.slots) if slot.instruction in deciding]

    def structure(self, genes: Sequence[int]) -> tuple[int, ...]:
        """What candidates have to share to be replayed together."""
        return tuple(genes[at] for at in self._deciding)

    def genes(self, decisions: Sequence[Sequence[Any]]) -> tuple[int, ...]:
        """The genes of ``decisions``, each ``[instruction number, value]`` in the slots' order."""
        return tuple(
            slot.number(value) for slot, (_, value) in zip(self.slots, decisions, strict=True)
        )

    def decisions(self, genes: Sequence[int]) -> list[list[Any]]:
        """The inverse of ``genes``, as ``WorkloadScorer.score_decisions`` takes it."""
        return [
            [slot.instruction, slot.options[gene]]
            for slot, gene in zip(self.slots, genes, strict=True)
        ]

    def draw(self, random: np.random.Generator) -> tuple[int, ...]:
        """Every slot at random, each option alike."""
        shares = random.random(len(self.slots)).tolist()
        return tuple(
            int(share * len(slot.options)) for share, slot in zip(shares, self.slots, strict=True)
        )

    def mutate(self, genes: Sequence[int], random: np.random.Generator) -> tuple[int, ...]:
        """One to three slots changed."""
        mutated = list(genes)
        if not mutated:
            return ()
        for _ in range(_CHANGES[below(len(_CHANGES), random)]):
            at = below(len(mutated), random)
            mutated[at] = self.slots[at].changed(mutated[at], random)
        return tuple(mutated)

    def cross(
        self, left: Sequence[int], right: Sequence[int], random: np.random.Generator
    ) -> tuple[int, ...]:
        """Each slot from one of two parents."""
        from_left = random.random(len(left)) < 0.5
        return tuple(a if own else b for a, b, own in zip(left, right, from_left, strict=True))


def of_few_structures(
    spaces: Sequence[DesignSpace], candidates: Iterable[Candidate], most: int
) -> Iterator[Candidate]:
    """The candidates, in their order, without those of any structure beyond the first ``most``."""
    met: set[tuple[int, tuple[int, ...]]] = set()
    for candidate in candidates:
        structure = candidate.space, spaces[candidate.space].structure(candidate.genes)
        if structure in met or len(met) < most:
            met.add(structure)
            yield candidate


def _slot(number: int, instruction: Sequence[Any], value: Any) -> Slot:
    name, _, attributes, _ = instruction
    if name == "SamplePerfectTile" and all(isinstance(factor, int) for factor in value):
        limit = int(attributes[1])
        options = tilings(math.prod(value), len(value), limit if limit > 0 else math.prod(value))
        slot = Slot.of(number, options, is_tiling=True)
    elif name == "SampleCategorical":
        slot = Slot.of(number, list(range(len(attributes[0]))))
    else:
        # What a compute location can be depends on the program: options come from replays.
        slot = Slot.of(number, [value])
    slot.number(value)
    return slot


def tilings(extent: int, levels: int, most_innermost: int) -> list[list[int]]:
    """All ordered factorisations of ``extent`` into ``levels`` with a bounded innermost factor.

    Where there are more than ``_MOST_TILINGS``, as many distinct ones are drawn.
    """
    count = 1
    for _, power in _prime_powers(extent):
        count *= math.comb(power + levels - 1, levels - 1)
    if count <= _MOST_TILINGS:
        listed: list[tuple[int, ...]] = []
        _enumerate(extent, levels, (), listed)
    else:
        random = np.random.default_rng(extent)
        primes = np.asarray(prime_factors(extent))
        drawn = set()
        for places in random.integers(levels, size=(_MOST_TILINGS, len(primes))):
            drawn.add(tuple(int(primes[places == level].prod()) for level in range(levels)))
        listed = sorted(drawn)
    return [list(factors) for factors in listed if factors[-1] <= most_innermost]


def _enumerate(
    extent: int, levels: int, chosen: tuple[int, ...], into: list[tuple[int, ...]]
) -> None:
    if levels == 1:
        into.append((*chosen, extent))
        return
    for factor in _divisors(extent):
        _enumerate(extent // factor, levels - 1, (*chosen, factor), into)


def below(bound: int, random: np.random.Generator) -> int:
    """A number from 0 to ``bound`` - 1. ``Generator.integers`` takes ten times as long for one."""
    return int(random.random() * bound)


@functools.cache
def _prime_powers(number: int) -> tuple[tuple[int, int], ...]:
    powers = []
    divisor = 2
    while divisor * divisor <= number:
        power = 0
        while number % divisor == 0:
            number //= divisor
            power += 1
        if power:
            powers.append((divisor, power))
        divisor += 1
    if number > 1:
        powers.append((number, 1))
    return tuple(powers)


@functools.cache
def prime_factors(number: int) -> tuple[int, ...]:
    """Prime factors with their multiplicity, ascending."""
    return tuple(prime for prime, power in _prime_powers(number) for _ in range(power))


@functools.cache
def _divisors(number: int) -> tuple[int, ...]:
    found = [1]
    for prime, power in _prime_powers(number):
        found = [divisor * prime**exponent for divisor in found for exponent in range(power + 1)]
    return tuple(sorted(found))
