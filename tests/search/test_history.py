from __future__ import annotations

import time

from wmhub.search.history import Budget


def test_all_tasks_share_the_trials() -> None:
    budget = Budget(trials=20)
    assert [len(budget.allotted(range(16))) for _ in range(3)] == [16, 4, 0]
    assert budget.spent


def test_what_was_searched_for_too_long_is_not_measured() -> None:
    budget = Budget(seconds=60.0)
    assert len(budget.allotted("abc")) == 3
    late = Budget(seconds=60.0, started=time.monotonic() - 61)
    assert late.allotted("abc") == ()
    budget.interrupt()
    assert budget.allotted("abc") == ()
