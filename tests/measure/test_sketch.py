from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmhub.measure import zoo
from wmhub.measure.sketch import Sketch
from wmhub.replay.limits import BlockLimits

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

TARGET = {"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2}


@pytest.fixture(scope="module")
def context() -> Any:
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    return ms.TuneContext(
        mod=zoo.build("matmul-m64-n64-k64"),
        target=use_target(TARGET),
        space_generator="post-order-apply",
        task_name="sketch",
        rand_state=1,
        num_threads=1,
    )


def sketch(context: Any, limits: BlockLimits | None = None) -> Sketch:
    (trace, *_) = [space.trace for space in context.generate_design_space()]
    return Sketch(context.mod, trace, list(context.space_generator.postprocs), limits)


def test_a_replay_makes_the_decisions_that_its_genes_mean(context: Any) -> None:
    it = sketch(context)
    it.learn_locations(0)
    genes = it.space.draw(np.random.default_rng(0))
    schedule = it.replay(genes)
    assert schedule is not None
    assert it.genes_of(schedule.trace) == genes


def test_without_limits_everything_fits(context: Any) -> None:
    it = sketch(context)
    genes = [it.space.draw(np.random.default_rng(seed)) for seed in range(5)]
    assert it.fits(genes).tolist() == [True] * 5
    assert it.fits([]).tolist() == []


def test_what_our_replay_cannot_follow_is_left_to_tvm(context: Any) -> None:
    it = sketch(context, BlockLimits(threads=1, shared_bytes=1))
    genes = [it.space.draw(np.random.default_rng(0))]
    # A nest of the CPU binds no thread, so even these limits let it pass.
    assert it.fits(genes).tolist() == [True]
    it.space.instructions[0] = ["GetSBlock", "no list", [], ["b0"]]
    assert it.fits(genes).tolist() == [True]
