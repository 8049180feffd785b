"""Trajectories: a workload's initial program, the actions taken on it, and the nest they end in.

Candidates are handled in groups that share one structure, because everything that is derived
from a structure is derived once for the whole group (see `wmhub.nest`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmhub.actions import Action
from wmhub.nest import Stage
from wmhub.program import Program
from wmhub.records import Scheduler


@dataclass(frozen=True)
class Trajectories:
    """N candidates of one workload that share a structure."""

    scheduler: Scheduler
    program: Program | None
    """The initial program; ``None`` where the log does not hold it (Ansor)."""
    shape: tuple[int, ...]
    """Numbers of the workload key (Ansor), as far as it has any."""
    actions: tuple[Action, ...]
    """What was done, in order, without queries."""
    stages: tuple[Stage, ...]
    """Where it ended, in program order; `Action.stage` counts in this order of creation."""
    count: int
    """N."""
    unknown: tuple[str, ...]
    """Names of primitives that this version does not know."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the program's tensors by their names; none where there is no program."""
        buffers = self.program.buffers if self.program else {}
        return {name: buffer.shape for name, buffer in buffers.items()}


@dataclass(frozen=True)
class Group:
    """Candidates of one structure within a list of candidates."""

    members: np.ndarray
    """int64 [N]: positions in the list."""
    trajectories: Trajectories


def group_by(keys: Sequence[Any]) -> Iterator[tuple[Any, np.ndarray]]:
    """Each distinct key with the positions that have it, in order of first appearance."""
    positions: dict[Any, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    for key, members in positions.items():
        yield key, np.asarray(members, dtype=np.int64)
