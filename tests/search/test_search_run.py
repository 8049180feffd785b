from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from wmhub.errors import MeasureError
from wmhub.measure import zoo
from wmhub.measure.sources import NamedWorkload
from wmhub.search.contexts import make_contexts
from wmhub.search.history import Budget
from wmhub.search.measuring import Means
from wmhub.search.run import Budgeted
from wmhub.tvm_callbacks import own_errors

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


TARGET = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}


def giving(batch: Callable[[], None]) -> SimpleNamespace:
    """A strategy whose batches are what ``batch`` returns."""
    inner = SimpleNamespace(
        _initialize_with_tune_context=lambda _: None,
        generate_measure_candidates=batch,
        clone=lambda: inner,
    )
    return inner


def test_the_builder_knows_of_which_task_the_next_batch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.tvm_compat import use_target

    named: list[str] = []
    monkeypatch.setattr("wmhub.search.run.name_task", lambda builder, task: named.append(task))
    tasks = [
        NamedWorkload("first", zoo.build("matmul-m8-n8-k8")),
        NamedWorkload("second", zoo.build("matmul-m8-n8-k16")),
    ]
    means = Means(None, None, lambda: None)
    strategy = Budgeted(giving(lambda: None), Budget(), means, SimpleNamespace(tasks_=()))
    contexts = make_contexts(tasks, use_target(TARGET), strategy, cores=1, seed=0, log=None)
    for context in (contexts[1], contexts[0]):
        context.search_strategy.generate_measure_candidates()
    assert named == ["second", "first"]


def test_the_first_batch_is_searched_for_while_the_workers_start() -> None:
    from wmhub.tvm_compat import use_target

    order: list[str] = []

    def ready() -> None:
        order.append("ready")
        raise MeasureError("no worker could start")

    task = NamedWorkload("main", zoo.build("matmul-m8-n8-k8"))
    inner, means = giving(lambda: order.append("batch")), Means(SimpleNamespace(), None, ready)

    def batch(budget: Budget) -> None:
        strategy = Budgeted(inner, budget, means, SimpleNamespace(tasks_=()))
        (context,) = make_contexts([task], use_target(TARGET), strategy, cores=1, seed=0, log=None)
        context.search_strategy.generate_measure_candidates()

    # What raises it is TVM's, which knows no such kind: the run's caller sees ours.
    with pytest.raises(MeasureError, match="no worker could start"), own_errors():
        batch(Budget())
    assert order == ["batch", "ready"]
    spent = Budget()
    spent.interrupted = True
    batch(spent)
    assert order == ["batch", "ready"]


def test_an_empty_batch_of_tvms_search_does_not_end_it() -> None:
    from wmhub.tvm_compat import use_target

    batches: list[Any] = [[], None]
    task = NamedWorkload("main", zoo.build("matmul-m8-n8-k8"))
    means = Means(SimpleNamespace(), None, lambda: None)
    inner = giving(lambda: batches.pop(0))
    strategy = Budgeted(inner, Budget(), means, SimpleNamespace(tasks_=()))
    (context,) = make_contexts([task], use_target(TARGET), strategy, cores=1, seed=0, log=None)
    first = context.search_strategy.generate_measure_candidates()
    assert first is not None
    assert len(first) == 0
    assert context.search_strategy.generate_measure_candidates() is None
