"""The table that structured features are collected in, one named column after the other."""

from __future__ import annotations

import numpy as np

#: Loops described one by one from the inside of the nest.
INNER_LOOPS = 6
#: Tensors described one by one: what is written, then what is read.
ACCESSES = 4
#: Of one number; all tensors are taken for float32.
ELEMENT_BYTES = 4.0

#: Numbers whose logarithms are taken at once: few enough for a core's own cache.
_AT_ONCE = 1 << 14


def log2(values: np.ndarray) -> np.ndarray:
    """Base-2 logarithm of counts; 0 for what is unknown or empty."""
    return np.log2(np.maximum(values, 1)).astype(np.float32)


class Columns:
    """Named feature columns for ``count`` candidates (N); values of shape [N] or [1]."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.names: list[str] = []
        self._values: list[np.ndarray | float] = []
        #: Row -> ``(least, scale)``, of columns that hold ``log2(max(value, least)) * scale``.
        self._logarithms: dict[int, tuple[float, float]] = {}

    def add(self, name: str, value: np.ndarray | float) -> None:
        """Adds one column."""
        self.names.append(name)
        self._values.append(value)

    def log2(
        self, name: str, value: np.ndarray | float, least: float = 1.0, scale: float = 1.0
    ) -> None:
        """Adds the base-2 logarithm of ``value``, of ``least`` where that is more, times ``scale``.

        By default 0 for what is unknown or empty.
        """
        self._logarithms[len(self.names)] = (least, scale)
        self.add(name, value)

    def table(self) -> np.ndarray:
        """float32 [N, F]."""
        table = np.empty((len(self._values), self.count), dtype=np.float32)
        # What is the same for all candidates is a number, and one call does for all numbers.
        numbers: list[float] = []
        shared: list[int] = []
        differing: list[int] = []
        for row, value in enumerate(self._values):
            if not isinstance(value, np.ndarray):
                shared.append(row)
                numbers.append(value)
            elif value.size == 1:
                shared.append(row)
                numbers.append(value.item())
            elif row in self._logarithms:
                differing.append(row)
            else:
                table[row] = value
        column = np.array(numbers, dtype=np.float64)[:, None]
        places = [place for place, row in enumerate(shared) if row in self._logarithms]
        column[places] = self._logarithm(column[places], [shared[place] for place in places])
        table[shared] = column
        most = max(_AT_ONCE // max(self.count, 1), 1)
        for start in range(0, len(differing), most):
            rows = differing[start : start + most]
            block = np.empty((len(rows), self.count))
            for target, row in zip(block, rows):
                target[:] = self._values[row]
            table[rows] = self._logarithm(block, rows)
        return table.T

    def _logarithm(self, block: np.ndarray, rows: list[int]) -> np.ndarray:
        """``block``, float64 [R, N or 1], holds the values of ``rows`` and is overwritten."""
        told = np.array([self._logarithms[row] for row in rows]).reshape(-1, 2)
        np.maximum(block, told[:, :1], out=block)
        np.log2(block, out=block)
        block *= told[:, 1:]
        return block
