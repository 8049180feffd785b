"""Datasets as the trainer and the evaluation see them: candidates, their gains, and batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from wmhub.dataset.reader import Dataset
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.encode import ACTION_COLUMNS, BLOCK_COLUMNS, Encoded, encode
from wmhub.model.network import Batch
from wmhub.records import Workload
from wmhub.training.encoding import rankable
from wmhub.training.packing import PackedGroup, parse_trace, replay, sound
from wmhub.training.store import EncodedStore, StoredWorkload
from wmhub.trajectory import Group


@dataclass(frozen=True)
class Candidates:
    """All candidates of one workload."""

    workload: Workload
    groups: tuple[Encoded, ...]
    """One for each structure."""
    group_of: np.ndarray
    """int64 [N]: group of each candidate."""
    row_of: np.ndarray
    """int64 [N]: row in its group."""
    latency: np.ndarray
    """float64 [N] in seconds, ``inf`` for failed ones."""
    positions: np.ndarray
    """int64 [N]: place of each among the workload's records; damaged ones are not here. Of a store,
    which does not know them, among its candidates."""


def load_candidates(
    dataset: Dataset,
    split: str | None,
    hardware: HardwareProfile,
    without: frozenset[str] = frozenset(),
) -> Iterator[Candidates]:
    """The workloads of a split that can be ranked (see ``rankable``), encoded one by one.

    ``without``: identities of workloads that are left out.
    """
    for one in rankable(dataset, split):
        if one.workload.identities & without:
            continue
        groups = replay(one.workload, [parse_trace(trace) for trace in one.traces])
        candidates = from_groups(one.workload, groups, one.latency, hardware)
        candidates = replace(candidates, positions=one.rows[candidates.positions])
        if np.isfinite(candidates.latency).sum() >= 2:
            yield candidates


def from_groups(
    workload: Workload, groups: Sequence[Group], latency: np.ndarray, hardware: HardwareProfile
) -> Candidates:
    """Encodes replayed groups; whoever is in none is left out, with a warning."""
    positions, found = sound(workload, len(latency), [group.members for group in groups])
    group_of = np.zeros(len(positions), dtype=np.int64)
    row_of = np.zeros(len(positions), dtype=np.int64)
    for number, members in enumerate(found):
        group_of[members] = number
        row_of[members] = np.arange(len(members))
    encoded = tuple(encode(group.trajectories, hardware) for group in groups)
    return Candidates(workload, encoded, group_of, row_of, latency[positions], positions)


def from_store(stored: StoredWorkload) -> Candidates:
    """The same candidates from a store."""
    places = stored.places
    numbers, group_of = np.unique(places[:, 0], return_inverse=True)
    hardware = stored.store.hardware
    groups = tuple(stored.store.group(int(number)).unpack(hardware) for number in numbers)
    positions = np.arange(stored.count)
    return Candidates(stored.workload, groups, group_of, places[:, 1], stored.latency, positions)


@dataclass(frozen=True)
class Examples:
    """What of one workload is trained on."""

    store: EncodedStore
    places: np.ndarray
    """int64 [N, 2]: group in the store, and row in it."""
    gains: np.ndarray
    """float32 [N]: log(best latency / latency), floored; failed candidates at the floor."""


def examples_of(stored: StoredWorkload, worst: float, chosen: np.ndarray | None) -> Examples:
    """Examples of the candidates ``chosen`` (int64 positions), or of all.

    Gains refer to the best that was chosen: nothing else is known of the workload.
    """
    places, latency = stored.places, stored.latency
    if chosen is not None:
        places, latency = places[chosen], latency[chosen]
    with np.errstate(divide="ignore"):
        gains = np.log(latency.min()) - np.log(latency)
    return Examples(stored.store, places, np.maximum(gains, worst).astype(np.float32))


def few(
    workloads: Sequence[StoredWorkload], samples: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Positions of ``samples`` candidates, drawn over the workloads as evenly as their sizes allow.

    A workload gets none or at least two that ran: one alone cannot be ranked.
    """
    order = rng.permutation(len(workloads))[: max(1, samples // 2)]
    shares = np.zeros(len(workloads), dtype=np.int64)
    shares[order] = even_shares([workloads[number].count for number in order], samples)
    positions = []
    for workload, share in zip(workloads, shares, strict=True):
        drawn = rng.permutation(workload.count)
        ran = np.isfinite(workload.latency[drawn])
        # Two that ran come first, then whatever was drawn.
        first = np.flatnonzero(ran)[:2]
        drawn = np.concatenate([drawn[first], np.delete(drawn, first)])
        positions.append(np.sort(drawn[:share]))
    return positions


def even_shares(counts: Sequence[int], most: int) -> np.ndarray:
    """How many of each to take, int64 [W]: ``most`` in all, as even as their counts allow."""
    shares = np.zeros(len(counts), dtype=np.int64)
    left = most
    for rank, number in enumerate(np.argsort(counts, kind="stable").tolist()):
        # The small ones first: what they cannot take goes to the others.
        shares[number] = min(counts[number], left // (len(counts) - rank))
        left -= int(shares[number])
    return shares


class Sampler:
    """Draws training batches: lists of candidates, each of one workload.

    Each dataset has the same chance, and in it each workload, however many candidates it has.
    """

    def __init__(self, data: Sequence[Sequence[Examples]], lists: int, length: int) -> None:
        self._data = data
        self._lists, self._length = lists, length

    def draw(
        self, rng: np.random.Generator, rank: int = 0, world: int = 1
    ) -> tuple[Batch, torch.Tensor]:
        """A batch of W lists of L candidates, and their gains, float32 [W, L].

        Of several processes each draws the same and takes every ``world``-th list.
        """
        lists = []
        for number in range(self._lists):
            dataset = self._data[int(rng.integers(len(self._data)))]
            examples = dataset[int(rng.integers(len(dataset)))]
            chosen = rng.integers(0, len(examples.gains), self._length)
            if number % world == rank:
                # Of one structure all at once.
                chosen = chosen[np.argsort(examples.places[chosen, 0], kind="stable")]
                lists.append((examples, chosen))
        gains = np.stack([examples.gains[chosen] for examples, chosen in lists])
        return gather(lists), torch.from_numpy(gains)


def gather(lists: Sequence[tuple[Examples, np.ndarray]]) -> Batch:
    """Puts chosen examples, those of one group next to each other, into one padded batch."""
    parts: list[tuple[PackedGroup, np.ndarray, np.ndarray]] = []
    for examples, chosen in lists:
        places = examples.places[chosen]
        starts = np.flatnonzero(np.diff(places[:, 0], prepend=-1))
        for rows in np.split(places, starts[1:]):
            group = examples.store.group(int(rows[0, 0]))
            parts.append((group, rows[:, 1], examples.store.hardware))
    total = sum(len(rows) for _, rows, _ in parts)
    steps = max(len(group.kinds) for group, _, _ in parts)
    most_blocks = max(len(group.blocks) for group, _, _ in parts)
    first, _, hardware_of_first = parts[0]
    features = len(first.template) - len(first.kinds) * len(ACTION_COLUMNS)
    blocks = np.zeros((total, most_blocks, len(BLOCK_COLUMNS)), dtype=np.float32)
    hardware = np.empty((total, len(hardware_of_first)), dtype=np.float32)
    kinds = np.zeros((total, steps), dtype=np.int64)
    actions = np.zeros((total, steps, len(ACTION_COLUMNS)), dtype=np.float32)
    structured = np.empty((total, features), dtype=np.float32)
    at = 0
    for group, rows, of in parts:
        here = slice(at, at + len(rows))
        at += len(rows)
        blocks[here, : len(group.blocks)] = group.blocks
        hardware[here] = of
        kinds[here, : len(group.kinds)] = group.kinds
        actions[here, : len(group.kinds)], structured[here] = group.dense(rows)
    return Batch(*map(torch.from_numpy, (blocks, hardware, kinds, actions, structured)))


def by_group(
    examples: Examples, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The examples at positions ``rows`` (int64 [R]), one group of the store after the other.

    Where each stands in ``rows``, int64 [n]; action columns float32 [n, T, A]; structured features
    float32 [n, F].
    """
    places = examples.places[rows]
    order = np.argsort(places[:, 0], kind="stable")
    starts = np.flatnonzero(np.diff(places[order, 0], prepend=-1))
    for members in np.split(order, starts[1:]):
        group = examples.store.group(int(places[members[0], 0]))
        yield members, *group.dense(places[members, 1])
