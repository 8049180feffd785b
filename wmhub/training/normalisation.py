"""How networks read their inputs: scales, and parts of ranges, as the training data has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wmhub.model.encode import ACTION_COLUMNS
from wmhub.model.network import WorldModel
from wmhub.model.piecewise import knots_of
from wmhub.training.data import Examples, by_group

#: Least scale of a structured feature, in its own units: in most, of a power of two.
_LEAST_SCALE = 0.05
#: Candidates of a dataset that tell how its features are spread.
_KNOT_ROWS = 1 << 14


@dataclass(frozen=True)
class Normalisation:
    """How the networks read F structured features and A action columns."""

    mean: np.ndarray
    """float64 [F]."""
    scale: np.ndarray
    """float64 [F]: standard deviation and a little, 0.05, which is all of it where a
    feature is the same everywhere."""
    actions: np.ndarray
    """float64 [A]: what sizes are multiplied by."""
    knots: np.ndarray
    """float32 [F, parts + 1], see `wmhub.model.piecewise`."""


def normalise(network: WorldModel, training: Sequence[Sequence[Examples]]) -> None:
    """Has a fresh ``network`` read its inputs as the training data, by dataset and workload, has
    them."""
    found = normalisation(training, network.config.parts)
    network.action_scale.copy_(torch.from_numpy(found.actions))
    _read_by(network, found, torch.ones_like(network.structured_scale, dtype=torch.bool))


def adapt(network: WorldModel, training: Sequence[Sequence[Examples]]) -> None:
    """Has a trained ``network`` read what was the same in all that it has seen, and is not in the
    new training data, as that has it.

    As it is, it would take any other value for far away: a GPU's features, which are all zero on a
    CPU, would tell it no more than that they are not zero. The weights behind them are as they were
    drawn, since nothing taught them, and become zero: what it has seen it ranks as before.
    """
    parts = network.config.parts
    found = normalisation(training, parts)
    never = network.structured_scale < _LEAST_SCALE * 1.001
    new = never & torch.from_numpy(found.scale > _LEAST_SCALE * 1.001)
    _read_by(network, found, new)
    latents = torch.zeros(2 * network.config.latent, dtype=torch.bool)
    with torch.no_grad():
        network.enter.weight[:, torch.cat([latents, new, new.repeat_interleave(parts)])] = 0.0


def _read_by(network: WorldModel, found: Normalisation, columns: Tensor) -> None:
    """Has ``network`` read the structured features ``columns``, bool [F], as ``found`` says."""
    for own, new in (
        (network.structured_mean, found.mean),
        (network.structured_scale, found.scale),
        (network.piecewise.knots, found.knots),
    ):
        own[columns] = torch.from_numpy(new).to(own.dtype)[columns]


def normalisation(data: Sequence[Sequence[Examples]], parts: int) -> Normalisation:
    """That of the training data, by dataset and workload.

    Each dataset counts the same, and in it each workload, as in the batches.
    """
    means, squares = [], []
    largest = np.zeros(len(ACTION_COLUMNS))
    for dataset in data:
        moments = []
        for examples in dataset:
            mean, square, most = _moments(examples)
            moments.append((mean, square))
            largest = np.maximum(largest, most)
        mean, square = np.mean(moments, axis=0)
        means.append(mean)
        squares.append(square)
    mean, square = np.mean(means, axis=0), np.mean(squares, axis=0)
    scale = np.sqrt(np.maximum(square - mean**2, 0.0)) + _LEAST_SCALE
    knots = knots_of(np.concatenate([_drawn(dataset) for dataset in data]), parts)
    return Normalisation(mean, scale, 1.0 / np.maximum(largest, 1.0), knots)


def _drawn(dataset: Sequence[Examples]) -> np.ndarray:
    """Structured features of some of a dataset's candidates, of each workload as many."""
    rng = np.random.default_rng(0)
    shares = np.bincount(np.arange(_KNOT_ROWS) % len(dataset), minlength=len(dataset))
    tables = []
    for examples, share in zip(dataset, shares.tolist(), strict=True):
        if not share:
            continue  # There are more workloads than rows.
        rows = rng.integers(0, len(examples.places), share)
        tables += [table for _, _, table in by_group(examples, np.sort(rows))]
    return np.concatenate(tables)


def _moments(examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and mean square of each structured feature, largest size of each action column."""
    total = square = np.zeros(1)
    largest = np.zeros(len(ACTION_COLUMNS))
    for _, actions, structured in by_group(examples, np.arange(len(examples.places))):
        wide = structured.astype(np.float64)
        total, square = total + wide.sum(axis=0), square + (wide**2).sum(axis=0)
        if actions.size:
            largest = np.maximum(largest, np.abs(actions).max(axis=(0, 1)))
    return total / len(examples.places), square / len(examples.places), largest
