"""What a thread block holds, against hand-made nests and against TVM's own verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmhub.nest import PIPELINE, Axis, Loop, Stage, extents
from wmhub.records import Scheduler
from wmhub.replay.limits import BlockLimits, fits
from wmhub.trajectory import Trajectories

LIMITS = BlockLimits(threads=1024, shared_bytes=4096)
CUDA = {
    "kind": "cuda",
    "arch": "sm_90",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 48 << 10,
    "registers_per_block": 64 << 10,
    "thread_warp_size": 32,
}


def loop(size: np.ndarray, annotation: str = "", is_reduction: bool = False) -> Loop:
    axis = Axis("i", size, is_reduction)
    return Loop(size, ((axis, size),), annotation)


def of(*stages: Stage, count: int = 1) -> Trajectories:
    return Trajectories(Scheduler.META_SCHEDULE, None, (), (), stages, count, ())


def verdict(*stages: Stage, count: int = 1) -> list[bool]:
    return [bool(one) for one in fits(of(*stages, count=count), LIMITS)]


def test_more_threads_than_a_block_has_do_not_fit() -> None:
    threads = np.array([512, 1024, 2048])
    stage = Stage("s", [], [loop(threads, "threadIdx.x")])
    assert verdict(stage, count=3) == [True, True, False]
    twice = Stage("s", [], [loop(threads, "threadIdx.x"), loop(extents(2), "threadIdx.y")])
    assert verdict(twice, count=3) == [True, False, False]


def test_a_tiling_says_how_many_threads_it_is_made_for() -> None:
    stage = Stage("s", [], [loop(np.array([16, 32, 256, 512]), "threadIdx.x")])
    stage.annotations["meta_schedule.thread_extent_low_inclusive"] = np.array([32.0])
    stage.annotations["meta_schedule.thread_extent_high_inclusive"] = np.array([256.0])
    assert verdict(stage, count=4) == [False, True, True, False]


def test_shared_memory_is_what_one_iteration_of_the_host_loads_for_each_pipeline_stage() -> None:
    outer = loop(extents(64))
    host = Stage("main", [], [outer])
    copy = Stage("copy", [], [outer, loop(np.array([512, 1024, 1025]))], role="cache_read")
    copy.scope, copy.host, copy.depth = "shared", host, 1
    assert verdict(host, copy, count=3) == [True, True, False]
    host.annotations[PIPELINE] = np.array([2.0])
    assert verdict(host, copy, count=3) == [True, False, False]


def test_a_reduction_is_no_part_of_what_is_kept_and_an_inlined_stage_is_nothing() -> None:
    reduced = Stage("sum", [], [loop(extents(64)), loop(extents(4096), is_reduction=True)])
    reduced.scope = "shared"
    gone = Stage("gone", [], [loop(extents(4096), "threadIdx.x")], inlined=True)
    assert verdict(reduced, gone, count=2) == [True, True]


@pytest.mark.tvm
def test_limits_are_those_of_the_target() -> None:
    tvm = pytest.importorskip("tvm")
    assert BlockLimits.of(tvm.target.Target(CUDA)) == BlockLimits(1024, 48 << 10, 32)
    assert BlockLimits.of(tvm.target.Target({"kind": "llvm", "num-cores": 2})) is None


def test_a_block_that_a_warp_executes_counts_the_warp() -> None:
    stage = Stage("s", [], [loop(np.array([1, 8, 32, 33]), "threadIdx.y")])
    stage.annotations["meta_schedule.thread_extent_low_inclusive"] = np.array([32.0])
    stage.annotations["meta_schedule.thread_extent_high_inclusive"] = np.array([1024.0])
    stage.annotations["warp_execution"] = np.array([1.0])
    assert verdict(stage, count=4) == [True, True, True, False]


def test_kernels_do_not_share_their_memory() -> None:
    kernels = []
    for name in "ab":
        host = Stage(name, [], [loop(extents(64))])
        copy = Stage(f"{name}_shared", [], [host.loops[0], loop(extents(600))], role="cache_read")
        copy.scope, copy.host, copy.depth = "shared", host, 1
        kernels += [host, copy]
    assert verdict(*kernels) == [True]


@pytest.mark.tvm
@pytest.mark.slow
def test_nothing_of_a_tensor_core_space_is_refused_that_tvm_takes() -> None:
    pytest.importorskip("tvm")
    from tvm.s_tir.meta_schedule.testing import te_workload

    from wmhub.measure.sampling import Sampler
    from wmhub.tvm_compat import normalize, tvm

    made = te_workload.matmul(256, 256, 256, in_dtype="float16", out_dtype="float32")
    random = np.random.default_rng(0)
    taken = 0
    for sketch in Sampler(normalize(tvm.te.create_prim_func(made)), CUDA, 1)._sketches:
        genes = [sketch.space.draw(random) for _ in range(40)]
        for number in np.flatnonzero(~sketch.fits(genes))[:10]:
            assert sketch.replay(genes[number]) is None, sketch.space.decisions(genes[number])
        taken += sum(sketch.replay(one) is not None for one in genes[:10])
    assert taken > 0


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "matmul-m512-n512-k512",
        "conv2d-n1-h56-w56-ci64-co64-k3-s1-p1-bn-relu",
        "bmm-b12-m200-n200-k40-nt",
        "softmax-m300-n900",
    ],
)
def test_who_fits_is_taken_by_tvm_and_who_does_not_is_refused(name: str) -> None:
    pytest.importorskip("tvm")
    from wmhub.measure import zoo
    from wmhub.measure.sampling import Sampler

    random = np.random.default_rng(0)
    sketches: list[Any] = Sampler(zoo.build(name), CUDA, 1)._sketches
    assert len(sketches) >= 2
    seen = set()
    for sketch in sketches:
        genes = [sketch.space.draw(random) for _ in range(200)]
        fitting = sketch.fits(genes)
        some = [*np.flatnonzero(fitting)[:4], *np.flatnonzero(~fitting)[:6]]
        for number in some:
            taken = sketch.replay(genes[number]) is not None
            assert taken == fitting[number], sketch.space.decisions(genes[number])
            seen.add(taken)
    assert seen == ({True} if name.startswith("softmax") else {True, False})
