from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from measure.sketches import steps

from wmhub.measure import zoo
from wmhub.measure.sources import NamedWorkload
from wmhub.search.contexts import logged, make_contexts, workload_in

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

TARGET = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}


@pytest.mark.parametrize("packing", [True, False])
def test_a_search_draws_from_our_own_sketches_unless_told_not_to(packing: bool) -> None:
    from wmhub.tvm_compat import use_target

    task = NamedWorkload("dense", zoo.build("dense-m32-n64-k48-bias"))
    (context,) = make_contexts(
        [task], use_target(TARGET), None, cores=1, seed=0, log=None, packing=packing
    )
    packed = [
        bool(steps(space.trace, "ReindexCacheRead")) for space in context.generate_design_space()
    ]
    assert any(packed) == packing
    assert not all(packed)


def test_a_workload_is_another_for_each_target() -> None:
    from wmhub.tvm_compat import use_target

    task = NamedWorkload("dense", zoo.build("dense-m32-n64-k48-bias"))
    found = [
        workload_in(make_contexts([task], target, None, cores=1, seed=0, log=None)[0])
        for target in map(use_target, (TARGET, {**TARGET, "num-cores": 4}, TARGET))
    ]
    assert found[0] == found[2]
    assert found[0].id != found[1].id
    assert found[0].program == found[1].program


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
