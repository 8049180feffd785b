"""One call of ``tune``: which tasks cannot be searched, and what a result is compared with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wmhub.measure import zoo
from wmhub.measure.sources import NamedWorkload
from wmhub.measure.targets import target_of
from wmhub.names import HardwareKey

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm
WORKLOAD = "dense-m32-n48-k64-bias-relu"


def context_for(hardware: HardwareKey) -> Any:
    from wmhub.search.contexts import make_contexts
    from wmhub.tvm_compat import use_target

    # TVM parses the intrinsics of CUDA for eleven seconds.
    target = use_target(target_of(hardware), intrinsics=False)
    task = NamedWorkload("main", zoo.build(WORKLOAD))
    (context,) = make_contexts([task], target, None, cores=1, seed=0, log=None)
    return context


def test_a_program_as_it_came_is_bound_to_the_threads_of_a_gpu() -> None:
    from wmhub.search.job import _as_it_came

    context = context_for(HardwareKey("cuda", "h200"))
    assert "thread_binding" not in context.mod.script()
    bound = _as_it_came(context).script()
    # Each of its three blocks, a reduction with its initialisation.
    for thread in ("blockIdx.x", "threadIdx.x"):
        assert bound.count(f'thread="{thread}"') == 3
    context = context_for(HardwareKey("llvm", "znver4", 2))
    assert _as_it_came(context).script() == context.mod.script()


def test_an_interruption_is_not_taken_for_an_unfit_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.search.job import Job

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def search_of(context: Any) -> None:
        context.generate_design_space()

    monkeypatch.setattr("wmhub.measure.rules.Product.of", interrupt)
    context = context_for(HardwareKey("llvm", "znver4", 2))
    job: Any = SimpleNamespace(tasks=["main"], context=lambda task: context, search_of=search_of)
    with pytest.raises(KeyboardInterrupt):
        Job.unfit(job)
