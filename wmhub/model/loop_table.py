"""The loops of a stage as arrays, for what is counted along a whole nest at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmhub.nest import Loop, sizes

#: From so many candidates on, going from row to row is faster than ``accumulate``, which goes
#: down one column after the other.
_MANY = 256


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


def accumulated(operation: np.ufunc, rows: np.ndarray) -> np.ndarray:
    """Each of ``rows`` [R, N] put together with all before it."""
    if rows.shape[1] < _MANY:
        return operation.accumulate(rows, axis=0)
    found = rows.copy()
    for place in range(1, len(found)):
        operation(found[place - 1], found[place], out=found[place])
    return found


def inclusive(rows: np.ndarray) -> np.ndarray:
    """Iterations of none, the first, the first two ... of R loops: [R + 1, N], as ``rows``."""
    one = np.ones((1, rows.shape[1]), dtype=rows.dtype)
    return accumulated(np.multiply, np.concatenate([one, rows]))
