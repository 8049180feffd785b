"""The loops of a stage as arrays, for what is counted along a whole nest at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmhub.nest import Loop, sizes


@dataclass(frozen=True)
class LoopTable:
    """L loops from outside to inside."""

    sizes: np.ndarray
    """int64 [L, N or 1]: iterations; unknown ones count as 1."""
    is_reduction: np.ndarray
    """bool [L, 1]."""

    @classmethod
    def of(cls, loops: Sequence[Loop]) -> LoopTable:
        """The table of ``loops``."""
        reductions = [loop.is_reduction for loop in loops]
        return cls(sizes(loops), np.array(reductions, dtype=bool).reshape(-1, 1))
