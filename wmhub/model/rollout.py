"""Which steps of a rollout candidates share: equal prefixes of actions are moved once.

Candidates that come from the same parents agree in many of their first actions, numbers included.
`plan` finds the distinct prefixes after each action; the network keeps one latent for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Below so many candidates looking for shared prefixes costs more than it saves.
_FEWEST = 64
#: Share of distinct prefixes from which on every candidate is rolled out on its own.
_WORTH = 0.8


@dataclass(frozen=True)
class Step:
    """One action of the rollout, for P distinct prefixes."""

    rows: np.ndarray
    """float32 [P or 1, A]: its numbers; one row where all prefixes agree."""
    parents: np.ndarray | None
    """int64 [P]: the state before it from which each prefix goes on; ``None``: the same ones."""


def plan(
    actions: Sequence[np.ndarray], count: int, share: bool = True
) -> tuple[list[Step], np.ndarray | None]:
    """The steps of ``count`` candidates, and the final state of each (``None``: in their order).

    ``actions`` as in `Encoded`. The rollout starts with one state.
    """
    prefix: np.ndarray | None = np.zeros(count, dtype=np.int64)
    if not share:
        prefix = None
        actions = [np.repeat(rows, count, axis=0) if len(rows) == 1 else rows for rows in actions]
    states = 1
    steps = []
    for rows in actions:
        if len(rows) == 1:
            steps.append(Step(rows, None))
            continue
        finer = None
        if prefix is not None and count >= _FEWEST:
            finer = _refined(prefix, rows)
        if finer is not None and len(finer[0]) < _WORTH * count:
            first, finer_prefix = finer
            assert prefix is not None
            steps.append(Step(rows[first], prefix[first]))
            prefix, states = finer_prefix, len(first)
            continue
        parents = prefix if prefix is not None else np.zeros(count, dtype=np.int64)
        steps.append(Step(rows, parents if states != count or prefix is not None else None))
        prefix, states = None, count
    return steps, prefix


def _refined(prefix: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Prefixes told apart by one more action: a candidate with each, and each candidate's number.

    ``None`` where two that differ got the same key by chance.
    """
    varying = rows[:, (rows != rows[0]).any(axis=0)]
    # A sum with irrational weights is a key that sorts fast; what it finds equal is checked.
    weights = np.sqrt(np.arange(2.0, 2.0 + varying.shape[1]))
    keys = varying @ weights + prefix * np.pi * 64.0
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    number = number.reshape(-1)
    if (prefix[first][number] == prefix).all() and (varying[first][number] == varying).all():
        return first, number
    return None
