"""Tasks are programs of their own, with names that make file names of their own."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm


def test_tasks_do_not_share_a_file_name() -> None:
    from tvm.s_tir.meta_schedule.testing.te_workload import create_te_workload

    from wmhub.search.output import file_stem
    from wmhub.search.tasks import tasks_of
    from wmhub.tvm_compat import llvm_target, tvm, use_target

    program = create_te_workload("GMM", 0)
    long = "x" * 130
    names = ["matmul", "_matmul", "matmul-2", "\u00e4", "\u00f6", long, long + "y"]
    module = tvm.IRModule(
        {name: program.with_attr("global_symbol", name).with_attr("number", number)
         for number, name in enumerate(names)}
    )  # fmt: skip
    tasks = tasks_of(module, use_target(llvm_target(cores=2))).workloads
    assert len({file_stem(task.name) for task in tasks}) == len(tasks) == len(names)
    assert {"matmul", "\u00e4", long} <= {task.name for task in tasks}
    assert max(len(file_stem(task.name)) for task in tasks) <= 120


def test_a_program_that_is_there_twice_is_one_task() -> None:
    from tvm.s_tir.meta_schedule.testing.te_workload import create_te_workload

    from wmhub.search.tasks import tasks_of
    from wmhub.tvm_compat import llvm_target, tvm, use_target

    same = create_te_workload("GMM", 0)
    module = tvm.IRModule({"a": same, "b": create_te_workload("GMM", 1), "c": same})
    found = tasks_of(module, use_target(llvm_target(cores=2)))
    weights = {task.name: task.weight for task in found.workloads}
    assert sorted(weights.values()) == [1, 2]
    assert "b" in weights
    assert not found.skipped


def test_what_is_also_a_program_of_its_own_is_no_mere_operator() -> None:
    torch = pytest.importorskip("torch")

    from wmhub.measure.sources import Found, workloads_of
    from wmhub.search import tasks
    from wmhub.tvm_compat import llvm_target, use_target

    target = use_target(llvm_target(cores=2))
    program = torch.export.export(torch.nn.Linear(8, 8), (torch.randn(8, 8),))
    found = workloads_of(program, target)
    (operator,) = found.workloads
    assert operator.is_operator
    both = Found.of([found, workloads_of(operator.mod, target)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "workloads_of", lambda *_: both)
        (task,) = tasks.tasks_of(both, target).workloads
    assert (task.weight, task.is_operator) == (2, False)


def test_a_module_without_anything_to_tune_says_why() -> None:
    from wmhub.errors import InvalidInputError
    from wmhub.search.tasks import tasks_of
    from wmhub.tvm_compat import llvm_target, relax, tvm, use_target

    target = use_target(llvm_target(cores=2))
    with pytest.raises(InvalidInputError, match=r"could be tuned: main: ExternFunc is no program"):
        tasks_of(tvm.IRModule({"puts": relax.ExternFunc("puts")}), target)
    with pytest.raises(InvalidInputError, match=r"could be tuned$"):
        tasks_of(tvm.IRModule(), target)
