"""The order of results, whoever makes them, and a worker that is lost."""

from __future__ import annotations

import operator
import os

import pytest

from wmhub.dataset.workers import in_order
from wmhub.errors import WmhubError


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    items = ((f"item{n}", (n, n)) for n in range(7))
    found = list(in_order(operator.mul, items, workers, "lost"))
    assert found == [(f"item{n}", n * n) for n in range(7)]


def test_a_lost_worker_is_told_in_the_callers_words() -> None:
    with pytest.raises(WmhubError, match="lost with two"):
        list(in_order(os._exit, ((n, (3,)) for n in range(3)), 2, "lost with two"))
