"""Tasks have names that make file names of their own."""

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
    tasks = tasks_of(module, use_target(llvm_target(cores=2)))
    assert len({file_stem(task.name) for task in tasks}) == len(tasks) == len(names)
    assert {"matmul", "\u00e4", long} <= {task.name for task in tasks}
    assert max(len(file_stem(task.name)) for task in tasks) <= 120
