"""The table that structured features are collected in, one named column after the other."""

from __future__ import annotations

import numpy as np

#: Loops described one by one from the inside of the nest.
INNER_LOOPS = 6
#: Tensors described one by one: what is written, then what is read.
ACCESSES = 4
#: Of one number; all tensors are taken for float32.
ELEMENT_BYTES = 4.0


def log2(values: np.ndarray) -> np.ndarray:
    """Base-2 logarithm of counts; 0 for what is unknown or empty."""
    return np.log2(np.maximum(values, 1)).astype(np.float32)


class Columns:
    """Named feature columns; values of shape [N] or [1]."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.names: list[str] = []
        self.values: list[np.ndarray] = []

    def add(self, name: str, value: np.ndarray | float) -> None:
        """Adds one column."""
        self.names.append(name)
        self.values.append(np.asarray(value, dtype=np.float32).reshape(-1))

    def table(self) -> np.ndarray:
        """float32 [N, F]."""
        table = np.empty((len(self.values), self.count), dtype=np.float32)
        for row, value in zip(table, self.values):
            row[:] = value
        return table.T
