"""The table that structured features are collected in, one named column after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

#: Loops described one by one from the inside of the nest.
INNER_LOOPS = 6
#: Tensors described one by one: what is written, then what is read.
ACCESSES = 4

#: Numbers whose logarithms are taken at once: few enough for a core's own cache.
_AT_ONCE = 1 << 14


def log2(values: np.ndarray) -> np.ndarray:
    """Base-2 logarithm of counts; 0 for what is unknown or empty."""
    return np.log2(np.maximum(values, 1)).astype(np.float32)


def total(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of arrays of numbers of candidates: float64 [N or 1], zero of none."""
    return sum(arrays, np.zeros(1))


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
        self.names.append(name)
        self._values.append(value)

    def table(self) -> np.ndarray:
        """float32 [N, F]."""
        table = np.empty((len(self._values), self.count), dtype=np.float32)
        shared: list[int] = []
        plain: list[int] = []
        logarithms: list[int] = []
        for row, value in enumerate(self._values):
            if not isinstance(value, np.ndarray) or value.size == 1:
                shared.append(row)
            elif row in self._logarithms:
                logarithms.append(row)
            else:
                plain.append(row)
        # What is the same for all candidates is a number, and one call does for all numbers.
        values = [self._values[row] for row in shared]
        numbers = [value.item() if isinstance(value, np.ndarray) else value for value in values]
        column = np.array(numbers, dtype=np.float64)[:, None]
        places = [place for place, row in enumerate(shared) if row in self._logarithms]
        column[places] = self._logarithm(column[places], [shared[place] for place in places])
        table[shared] = column
        most = max(_AT_ONCE // max(self.count, 1), 1)
        for rows in _pieces(plain, most):
            table[rows] = self._block(rows)
        for rows in _pieces(logarithms, most):
            table[rows] = self._logarithm(self._block(rows), rows)
        return table.T

    def _block(self, rows: list[int]) -> np.ndarray:
        """float64 [R, N]: values of ``rows``, in which candidates differ."""
        values = np.concatenate([self._values[row] for row in rows], dtype=np.float64)
        return values.reshape(len(rows), self.count)

    def _logarithm(self, block: np.ndarray, rows: list[int]) -> np.ndarray:
        """``block``, float64 [R, N or 1], holds the values of ``rows`` and is overwritten."""
        told = np.array([self._logarithms[row] for row in rows]).reshape(-1, 2)
        np.maximum(block, told[:, :1], out=block)
        np.log2(block, out=block)
        block *= told[:, 1:]
        return block


def _pieces(rows: list[int], most: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), most):
        yield rows[start : start + most]
