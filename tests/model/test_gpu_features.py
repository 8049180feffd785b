"""Registers, coalescing and occupancy, against numbers worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import lookup
from wmhub.model.cache_stages import copied_by
from wmhub.model.features import structured_features
from wmhub.model.gpu_features import _is_of, _iterations
from wmhub.model.gpu_warp import run_of
from wmhub.names import HardwareKey
from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.program import Access, Buffer, Index, Program
from wmhub.records import Scheduler
from wmhub.replay.limits import threads_of
from wmhub.trajectory import Trajectories

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_replay_ansor import CONV, STEPS
from test_replay_operators import MATMUL, product

from wmhub.replay.ansor import replay_steps

V100, K80, MI50, CPU = (
    lookup(HardwareKey.parse(key))
    for key in ("cuda-v100", "cuda-k80", "rocm-mi50", "llvm-emeraldrapids-2c")
)


def bound(
    threads: tuple[int, int],
    own: tuple[int, int],
    virtual: int = 1,
    hardware: HardwareProfile | None = V100,
) -> dict[str, float]:
    """Features of a 4096 by 4096 product whose blocks are cut in this way."""
    axes = [Axis("i", extents(4096), False), Axis("j", extents(4096), False)]
    blocks = [4096 // (t * o) for t, o in zip(threads, own, strict=True)]
    blocks[0] //= virtual

    def loop(sizes: tuple[int, int] | list[int], annotation: str) -> Loop:
        parts = [(axis, extents(size)) for axis, size in zip(axes, sizes, strict=True)]
        return Loop(extents(sizes[0] * sizes[1]), parts, annotation)

    loops = [
        loop(blocks, "blockIdx.x"),
        loop((virtual, 1), "vthread.x"),
        loop(threads, "threadIdx.x"),
        Loop.over(axes[0], extents(own[0])),
        Loop.over(axes[1], extents(own[1])),
    ]
    stage = Stage("matmul", axes, loops)
    candidates = Trajectories(Scheduler.META_SCHEDULE, None, (), (), (stage,), 1, ())
    assert hardware is not None
    table, names = structured_features(candidates, hardware)
    return dict(zip(names, table[0].tolist(), strict=True))


def test_accumulators_count_virtual_threads_and_too_many_are_spilled() -> None:
    few = bound((8, 32), own=(2, 2), virtual=2)
    assert few["gpu.accumulators"] == 3.0
    assert few["gpu.spill"] == 0.0
    assert few["gpu.register_limit"] == pytest.approx(np.log2(255.0))
    many = bound((16, 64), own=(8, 8), virtual=2)
    assert many["gpu.register_limit"] == 6.0  # 65,536 registers for 1,024 threads
    assert many["gpu.spill"] == pytest.approx(np.log2((24 + 1.25 * 128) / 64))
    assert many["gpu.resident_blocks"] == 0.0


def test_threads_along_the_last_axis_store_together() -> None:
    assert bound((1, 64), own=(4, 1))["gpu.store_sectors"] == 2.0  # 32 floats are 4 sectors
    assert bound((1, 64), own=(1, 4))["gpu.store_sectors"] == 4.0
    assert bound((64, 1), own=(4, 4))["gpu.store_sectors"] == 5.0  # each thread in a row of its own


def test_a_warp_that_is_not_full_takes_as_much_as_a_full_one() -> None:
    found = bound((2, 49), own=(4, 4))
    # 4 warps of 32 lanes with 24 + 1.25 * 16 registers, in units of 8, of 65,536.
    assert found["gpu.resident_blocks"] == pytest.approx(np.log2(65536 // (4 * 32 * 48)))
    assert found["gpu.resident_warps"] == pytest.approx(np.log2(4 * 10))
    assert found["thread_use"] == pytest.approx(98 / 128)


def test_a_wavefront_of_64_that_is_half_empty_takes_two_warps() -> None:
    half, whole = (bound((2, n), own=(4, 4), hardware=MI50) for n in (16, 32))
    assert (half["thread_use"], whole["thread_use"]) == (0.5, 1.0)
    # 40 wavefronts of 64 on a core, but 16 blocks; of 256 threads, 8 by their registers.
    assert half["gpu.resident_blocks"] == whole["gpu.resident_blocks"] == 4.0
    assert half["gpu.resident_warps"] == whole["gpu.resident_warps"] == 5.0
    assert bound((8, 32), (1, 1), 1, MI50)["gpu.resident_blocks"] == pytest.approx(np.log2(8))


def test_blocks_alone_are_dealt_to_multiprocessors() -> None:
    axes = [Axis("i", extents(81 * 256), False)]
    loops = [Loop.over(axes[0], extents(81)), Loop.over(axes[0], extents(256))]
    loops[0].annotation, loops[1].annotation = "blockIdx.x", "threadIdx.x"
    candidates = Trajectories(
        Scheduler.META_SCHEDULE, None, (), (), (Stage("add", axes, loops),), 1, ()
    )
    assert V100 is not None
    table, names = structured_features(candidates, V100)
    found = dict(zip(names, table[0].tolist(), strict=True))
    assert found["waves"] == 1.0
    assert found["core_use"] == pytest.approx(81 / 160)


def ansor(steps: list[Any], key: str = MATMUL) -> dict[str, float]:
    (group,) = replay_steps(key, [steps])
    assert V100 is not None
    table, names = structured_features(group.trajectories, V100)
    return dict(zip(names, table[0].tolist(), strict=True))


def test_copies_of_short_rows_waste_sectors() -> None:
    found = ansor(product([1, 32, 8, 1], [4, 32, 2, 2], [4, 1]))
    # Of the right operand rows of 512 elements, of the left ones of 4, which is half a sector.
    assert [found[f"cache{n}.tile"] for n in range(2)] == [11.0, 10.0]
    assert [found[f"gpu.cache{n}.run"] for n in range(3)] == [9.0, 2.0, 0.0]
    assert [found[f"gpu.cache{n}.waste"] for n in range(3)] == [0.0, 1.0, 0.0]
    assert found["shared.bytes"] == pytest.approx(np.log2(4 * (2048 + 1024)))


def test_no_number_of_a_damaged_log_is_infinite() -> None:
    steps = product([1, 32, 8, 1], [4, 32, 2, 2], [4, 1])
    for at, step in enumerate(steps):
        if step[:2] == ["SP", 1]:
            steps[at] = ["SP", 1, 0, 32, [1 << 59], 1]
    assert np.isfinite(list(ansor(steps).values())).all()


def test_a_product_beyond_whole_numbers_is_a_number() -> None:
    found = ansor(product([1 << 32, 32, 1, 1 << 32], [1, 1, 1, 1], [4, 1]))
    assert np.isfinite(list(found.values())).all()


def test_rows_of_a_copy_join_where_they_are_whole() -> None:
    four, eight, all_of = extents(4), extents(8), extents(16)
    for dimensions, run in (
        ([(four, all_of), (eight, all_of)], 8),
        ([(four, all_of), (eight, eight)], 32),
        ([(four, all_of), (eight, eight), (extents(3), extents(3))], 96),
        ([], 1),
    ):
        stage = Stage("copy", [], [], copied=tuple(dimensions))
        assert run_of(copied_by(stage, {})).tolist() == [run]


def test_what_is_unrolled_is_what_a_thread_does_for_all_its_virtual_ones() -> None:
    steps = product([1, 32, 8, 1], [4, 32, 2, 2], [4, 1])

    def body(limit: int) -> float:
        return ansor([*steps, ["PR", 4, 0, f"auto_unroll_max_step${limit}"]])["unroll.body"]

    # Inside the reduction's outer loop 4 steps of 8 by 4 products, 4 virtual threads of each.
    assert body(512) == 9.0
    assert body(511) == 7.0
    assert body(0) == 0.0


def test_a_pooling_has_two_kernels() -> None:
    def kernel(stage: int, threads: int) -> list[Any]:
        return [
            ["FU", stage, [0, 1, 2, 3]], ["SP", stage, 0, 37933056, [threads], 1],
            ["AN", stage, 0, 5], ["AN", stage, 1, 6],
        ]  # fmt: skip

    key = '["pool_layer", "avg", 128, 168, 42, 42, 3, 3, 1, "SAME"]'
    found = ansor([["CI", 1], *kernel(3, 4), *kernel(2, 64)], key)
    assert found["gpu.kernels"] == 2.0
    assert (found["threads"], found["gpu.least_threads"]) == (6.0, 2.0)


def test_nothing_on_a_cpu_and_something_of_a_real_log_line() -> None:
    assert CPU is not None
    assert K80 is not None
    (group,) = replay_steps(CONV, [STEPS])
    for hardware, is_gpu in ((CPU, False), (K80, True)):
        table, names = structured_features(group.trajectories, hardware)
        found = [v for name, v in zip(names, table[0], strict=True) if name.startswith("gpu.")]
        assert any(found) == is_gpu


def fragment(sizes: dict[str, int], **annotations: float) -> dict[str, float]:
    """Features on a V100 of a product of which each thread, or warp, computes 64 by 32 elements."""
    axes = [Axis("i", extents(1024), False), Axis("j", extents(1024), False)]
    loops = [Loop.over(axes[0], extents(size)) for size in sizes.values()]
    for loop, annotation in zip(loops, sizes, strict=True):
        loop.annotation = annotation
    inner = [Loop.over(axes[0], extents(64)), Loop.over(axes[1], extents(32))]
    stage = Stage("matmul", axes, [*loops, *inner])
    twin = Stage("matmul_o", axes, loops, inner=inner)
    twin.annotations = {key: np.array([value]) for key, value in annotations.items()}
    candidates = Trajectories(Scheduler.META_SCHEDULE, None, (), (), (stage, twin), 1, ())
    assert V100 is not None
    table, names = structured_features(candidates, V100)
    return dict(zip(names, table[0].tolist(), strict=True))


def test_a_warp_that_executes_a_block_has_its_lanes_in_no_loop() -> None:
    sizes = {"blockIdx.x": 4, "threadIdx.y": 8}
    alone, warp = fragment(sizes), fragment(sizes, warp_execution=1.0)
    assert (alone["threads"], warp["threads"]) == (3.0, 8.0)
    assert (alone["thread_use"], warp["thread_use"]) == (0.25, 1.0)
    assert warp["work.per_thread"] == alone["work.per_thread"] - 5.0
    # 2048 accumulators of a warp are 64 of a thread.
    assert (alone["gpu.accumulators"], warp["gpu.accumulators"]) == (11.0, 6.0)
    assert warp["gpu.spill"] == 0.0
    assert warp["gpu.pressure"] == alone["gpu.pressure"] == 14.0
    # 256 threads with 24 + 1.25 * 64 registers each, of 65,536.
    assert warp["gpu.resident_blocks"] == 1.0
    assert warp["gpu.resident_warps"] == 4.0
    assert (alone["gpu.least_threads"], warp["gpu.least_threads"]) == (3.0, 8.0)


def copying(dtype: str, vector: float, *, in_kernel: bool = True) -> dict[str, float]:
    """Features on a V100 of additions whose threads copy what they read, 64 numbers a block."""
    axis, other = Axis("i", extents(4096), False), Axis("j", extents(4096), False)
    here = (Index("var", 0),)
    loops = [Loop.over(axis, extents(64)), Loop.over(axis, extents(64))]
    twins = [Loop.over(other, extents(4096)), Loop.over(other, extents(1))]
    for nest in (loops, twins):
        for loop, annotation in zip(nest, ("blockIdx.x", "threadIdx.x"), strict=True):
            loop.annotation = annotation
    program = Program((), {"A": Buffer("A", dtype, (4096,)), "C": Buffer("C", dtype, (4096,))})
    add = Stage("add", [axis], loops, [Access("A.shared.1", here)], [Access("C", here)])
    second = Stage("second", [other], twins, [Access("A.shared.1", here)], [Access("B", here)])
    host = add if in_kernel else second
    own = Axis("a", extents(4096), False)
    copy = Stage(
        "copy", [own], [*host.loops[:1], Loop.over(own, extents(64))], [Access("A", here)],
        [Access("A.shared.1", here)], "cache_read", "shared", host=host, depth=1,
    )  # fmt: skip
    copy.annotations["meta_schedule.cooperative_fetch"] = np.array([vector])
    stages = (copy, add, second)
    candidates = Trajectories(Scheduler.META_SCHEDULE, program, (), (), stages, 1, ())
    assert V100 is not None
    table, names = structured_features(candidates, V100)
    return dict(zip(names, table[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("dtype", "vector", "loads"),
    [
        ("float32", 1.0, 1.0), ("float32", 4.0, 1.0), ("float32", 3.0, 3.0), ("float32", 8.0, 2.0),
        ("float16", 8.0, 1.0), ("float16", 6.0, 6.0), ("int8", 16.0, 1.0), ("int8", 12.0, 12.0),
        ("float64", 2.0, 1.0), ("float64", 4.0, 2.0), ("float64", 8.0, 4.0),
    ],
)  # fmt: skip
def test_powers_of_two_are_loaded_as_a_whole(dtype: str, vector: float, loads: float) -> None:
    assert copying(dtype, vector)["gpu.cache0.load_cost"] == pytest.approx(np.log2(loads))


def test_what_another_kernel_copies_is_no_part_of_this_one() -> None:
    here, there = copying("float32", 1.0), copying("float32", 1.0, in_kernel=False)
    assert here["gpu.time.waiting"] > 0.0
    assert here["gpu.ratio.waiting"] > there["gpu.ratio.waiting"]
    assert there["gpu.time.waiting"] == 0.0


def test_hosts_that_are_each_other_s_end() -> None:
    axis = Axis("i", extents(64), False)
    add = Stage("add", [axis], [Loop.over(axis)])
    copy, other = (Stage(name, [axis], [Loop.over(axis)]) for name in ("copy", "other"))
    copy.host, other.host = other, copy
    assert not _is_of(copy, add)
    other.host = add
    assert _is_of(copy, add)


def test_a_warp_of_one_kernel_is_none_of_another() -> None:
    axis = Axis("i", extents(4096), False)
    other = Stage("relu", [axis], [Loop.over(axis, extents(64)), Loop.over(axis, extents(64))])
    for loop, annotation in zip(other.loops, ("blockIdx.x", "threadIdx.x"), strict=True):
        loop.annotation = annotation
    whole = Stage("matmul", [axis], [Loop.over(axis)])
    whole.annotations["warp_execution"] = np.ones(1)
    assert threads_of(other, other.loops[1:], [other, whole]).tolist() == [64.0]
    assert threads_of(whole, [], [other, whole]).tolist() == [32.0]


def test_what_is_not_known_of_one_candidate_changes_no_other() -> None:
    axes = [Axis("i", np.asarray([8, 0, 8]), False), Axis("k", extents(5), True)]
    stage = Stage("s", axes, [Loop.over(axis) for axis in axes])
    runs = np.asarray([48.0, 30.0, 64.0])
    assert _iterations(stage, runs).tolist() == [40.0, 30.0, 40.0]
    assert _iterations(Stage("s", axes[1:], []), np.ones(1)).tolist() == [5.0]
