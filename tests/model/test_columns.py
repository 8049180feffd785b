"""The table of columns: shared values, differing ones, and logarithms of both."""

from __future__ import annotations

import numpy as np
import pytest

from wmhub.model import columns as module
from wmhub.model.columns import Columns


def test_values_and_logarithms_shared_and_differing() -> None:
    columns = Columns(3)
    columns.add("number", 2.5)
    columns.add("shared", np.array([True]))
    columns.add("differing", np.array([1, 2, 3]))
    columns.log2("log", np.array([0, 4, 8]))
    columns.log2("log.shared", np.array([0.25]), least=0.5, scale=2.0)
    columns.log2("off", np.array([2.0, 4.0, 8.0]), scale=0.0)
    assert columns.names == ["number", "shared", "differing", "log", "log.shared", "off"]
    table = columns.table()
    assert table.dtype == np.float32
    assert table.tolist() == [
        [2.5, 1.0, 1.0, 0.0, -2.0, 0.0],
        [2.5, 1.0, 2.0, 2.0, -2.0, 0.0],
        [2.5, 1.0, 3.0, 3.0, -2.0, 0.0],
    ]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_pieces_do_not_matter(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = Columns(count)
    for number in range(20):
        columns.log2(str(number), np.arange(1.0, count + 1) * (number + 1))
        columns.add(f"plain{number}", np.arange(count) * number)
    whole = columns.table()
    monkeypatch.setattr(module, "_AT_ONCE", 15)
    assert columns.table().tobytes() == whole.tobytes()
