from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm


def test_the_fastest_of_the_last_measuring_wins_and_not_the_luckiest_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database holds the run's own trials, too."""
    from wmhub.search import outcome
    from wmhub.search.history import Budget

    monkeypatch.setattr(outcome, "fastest_measured", lambda *_: [(1e-3, "lucky")])
    job: Any = SimpleNamespace(context=lambda task: None)
    task: Any = SimpleNamespace(name="dense")
    history: Any = SimpleNamespace(finalists={"dense": [(2e-3, "steady"), (3e-3, "lucky")]})
    found = outcome._best(job, task, history, Budget(), lambda: "database")
    assert found == (2e-3, "steady", None)
    history.finalists.clear()
    assert outcome._best(job, task, history, Budget(), lambda: "database") == (1e-3, "lucky", None)
