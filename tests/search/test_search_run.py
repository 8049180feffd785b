from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from measure.sketches import steps

from wmhub.errors import MeasureError
from wmhub.measure import zoo
from wmhub.measure.sources import NamedWorkload
from wmhub.search.history import Budget
from wmhub.search.measuring import Means
from wmhub.search.run import Budgeted, logged, make_contexts
from wmhub.tvm_callbacks import own_errors

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.mark.parametrize("packing", [True, False])
def test_a_search_draws_from_our_own_sketches_unless_told_not_to(packing: bool) -> None:
    from wmhub.tvm_compat import use_target

    task = NamedWorkload("dense", zoo.build("dense-m32-n64-k48-bias"))
    target = use_target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
    (context,) = make_contexts(
        [task], target, None, cores=1, seed=0, log=None, packing=packing
    )  # fmt: skip
    packed = [
        bool(steps(space.trace, "ReindexCacheRead")) for space in context.generate_design_space()
    ]
    assert any(packed) == packing
    assert not all(packed)


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


def test_each_run_has_a_log_of_its_own(tmp_path: Path) -> None:
    from wmhub.tvm_compat import use_target

    task = NamedWorkload("dense", zoo.build("dense-m32-n64-k48-bias"))
    log = tmp_path / "out" / "tvm.log"
    for _ in range(2):
        log.parent.mkdir()
        with logged(log):
            make_contexts([task], use_target(TARGET), None, cores=1, seed=0, log=log)
            contexts = logging.getLogger(f"wmhub.search.tvm.{log}")
            contexts.info("of a task")
            logging.getLogger("tvm.s_tir.meta_schedule").info("of the scheduler")
        lines = log.read_text().splitlines()
        assert [line.partition(" of ")[2] for line in lines] == ["a task", "the scheduler"]
        shutil.rmtree(log.parent)
    # Neither goes on to a file that is closed, nor to the screen.
    assert [type(handler) for handler in contexts.handlers] == [logging.NullHandler]
    contexts.warning("after the end")
    assert not log.parent.exists()
