"""Vectors, unrolling, accumulators and tasks, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wmhub.hardware.table import lookup
from wmhub.model.features import structured_features
from wmhub.names import HardwareKey
from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.program import Access, Buffer, Index, Program
from wmhub.records import Scheduler
from wmhub.trajectory import Trajectories

CPU, ARM, GPU = (
    lookup(HardwareKey.parse(key))
    for key in ("llvm-emeraldrapids-2c", "llvm-neoverse-n1-4c", "cuda-v100")
)
ANNOTATIONS = {"meta_schedule.parallel": 32.0, "meta_schedule.vectorize": 64.0,
               "meta_schedule.unroll_explicit": 16.0}  # fmt: skip


def product(i: list[int], j: list[int], k: list[int]) -> Stage:
    """A product tiled as i0 j0 i1 j1 k0 i2 j2 k1 i3 j3."""
    axes = [
        Axis("i", extents(int(np.prod(i))), False),
        Axis("j", extents(int(np.prod(j))), False),
        Axis("k", extents(int(np.prod(k))), True),
    ]
    order = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (1, 2), (2, 1), (0, 3), (1, 3)]
    sizes = (i, j, k)
    loops = [Loop.over(axes[axis], extents(sizes[axis][level])) for axis, level in order]
    return Stage("product", axes, loops)


def features(
    stages: list[Stage], hardware: object = CPU, program: Program | None = None
) -> dict[str, float]:
    candidates = Trajectories(Scheduler.META_SCHEDULE, program, (), (), tuple(stages), 1, ())
    table, names = structured_features(candidates, hardware)  # type: ignore[arg-type]
    return dict(zip(names, table[0].tolist(), strict=True))


def test_what_post_processing_will_do_is_foreseen() -> None:
    stage = product([4, 2, 2, 4], [7, 1, 1, 16], [32, 4])
    stage.annotations = {key: np.array([value]) for key, value in ANNOTATIONS.items()}
    found = features([stage])
    # j3 and i3 are fused to a vector of 64; k1 of 4 and j2, i2 inside 16 steps are unrolled.
    assert found["cpu.vector"] == 6.0
    assert found["cpu.vector.use"] == 1.0
    assert found["cpu.unrolled.reduction"] == 2.0
    assert found["cpu.unrolled.spatial"] == 1.0
    assert found["cpu.accumulators"] == 3.0  # 2 times 64 floats in registers of 16
    assert found["cpu.registers.excess"] == 0.0
    assert found["cpu.tile"] == 7.0
    # i0 and j0 make 28 tasks; that is not more than 32 yet, so i1 joins them.
    assert found["cpu.tasks"] == pytest.approx(np.log2(56))
    assert found["cpu.balance"] == 1.0


def test_a_vector_register_holds_twice_as_many_of_half_the_bytes() -> None:
    stage = product([4, 2, 2, 4], [7, 1, 1, 16], [32, 4])
    stage.annotations = {key: np.array([value]) for key, value in ANNOTATIONS.items()}
    stage.writes = [Access("C", (Index("var", 0), Index("var", 1)))]
    whole, half = (
        features([stage], program=Program((), {"C": Buffer("C", dtype, (32, 112))}))
        for dtype in ("float32", "float16")
    )
    assert whole["cpu.vector"] == half["cpu.vector"] == 4.0
    assert whole["cpu.vector.use"] == 1.0
    assert half["cpu.vector.use"] == 0.5


def test_arm_has_as_many_vector_registers_as_its_profile_says() -> None:
    stage = product([4, 2, 2, 4], [7, 1, 1, 16], [32, 4])
    stage.annotations = {key: np.array([value]) for key, value in ANNOTATIONS.items()}
    # 128 floats, four in a register.
    assert features([stage], ARM)["cpu.accumulators"] == 5.0
    assert features([stage], ARM)["cpu.registers.excess"] == 0.0


def test_tasks_are_those_of_the_stage_around() -> None:
    consumer = Stage("relu", [Axis("i", extents(64), False)], [])
    parallel = Loop.over(consumer.axes[0], extents(8))
    parallel.annotation = "parallel"
    consumer.loops = [parallel, Loop.over(consumer.axes[0], extents(8))]
    stage = product([8, 1, 1, 1], [16, 1, 1, 1], [128, 4])
    stage.host, stage.depth = consumer, 1
    found = features([consumer, stage])
    assert found["cpu.tasks"] == 3.0
    assert found["cpu.task.work"] == pytest.approx(np.log2(8 * 16 * 128 * 4))


def test_the_whole_program_is_as_slow_as_its_stages_together() -> None:
    axes = [Axis("i", extents(64), False), Axis("j", extents(64), False)]
    sum_ = Stage("sum", [*axes, Axis("k", extents(16), True)], [])
    sum_.loops = [Loop.over(axis) for axis in sum_.axes]
    scale = Stage("scale", axes, [Loop.over(axes[0], extents(4)), Loop.over(axes[1])])
    for stage in (sum_, scale):
        stage.annotations = {key: np.array([value]) for key, value in ANNOTATIONS.items()}
    found = features([sum_, scale])
    # 64 rows of scalar code, and 4 vectors of 64 in four registers each, both on two cores.
    assert found["cpu.regions"] == 2.0
    assert found["cpu.cost"] == pytest.approx(np.log2(1 + (64 * 64 * 16 + 4 * 4) / 2))
    assert found["cpu.cost.rest"] == pytest.approx(np.log2(1 + 4 * 4 / 2))
    assert (found["cpu.serial"], found["cpu.scalar"]) == (0.0, np.float32(np.log2(1 + 64**2 * 16)))
    scale.loops[1].annotation = "vectorize"
    found = features([sum_, scale])
    # Now it says itself that it is a vector, and not that it is parallel.
    assert found["cpu.regions"] == 1.0
    assert found["cpu.serial"] == pytest.approx(np.log2(1 + 4 * 64))
    assert found["cpu.cost.rest"] == pytest.approx(np.log2(1 + 4 * 4))


def test_a_clip_over_a_vector_of_48_is_told_from_one_of_64() -> None:
    axes = [Axis("i", extents(4), False), Axis("j", extents(48), False)]
    clip = Stage("clip", axes, [Loop.over(axis) for axis in axes])
    clip.operations = (0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0)
    clip.loops[1].annotation = "vectorize"
    stage = product([4, 2, 2, 4], [7, 1, 1, 16], [32, 4])
    stage.annotations = {key: np.array([value]) for key, value in ANNOTATIONS.items()}
    found = features([stage, clip])
    assert found["cpu.odd"] == np.float32(np.log2(1 + 4 * 48 * (1 + 2)))
    assert found["cpu.odd.comparisons"] == 2.0
    axes[1] = clip.axes[1] = Axis("j", extents(64), False)
    clip.loops[1] = Loop.over(axes[1])
    clip.loops[1].annotation = "vectorize"
    found = features([stage, clip])
    assert (found["cpu.odd"], found["cpu.odd.comparisons"]) == (0.0, 0.0)


def scalars(stages: list[Stage], program: Program | None = None) -> tuple[float, float]:
    """Scalars that sums are taken apart to, and the work of their stages."""
    found = features(stages, program=program)
    return 2 ** found["cpu.scalars"] - 1, 2 ** found["cpu.scalars.work"] - 1


def summed(vector: int, *, rows: int = 4, steps: int = 32, columns: int = 1) -> Stage:
    """A product whose innermost loops are ``columns``, ``steps`` of the sum, ``rows``, a vector."""
    stage = product([1, 1, 1, rows], [2, 1, columns, vector], [2, steps])
    stage.loops[-1].annotation = "vectorize"
    return stage


@pytest.mark.parametrize(
    ("stage", "count"),
    [
        (summed(48), 4 * 48),
        # A power of two stays a vector, and so does what fits one register.
        (summed(64), 0),
        (summed(12), 0),
        # LLVM unrolls few steps, and then what is left are columns: no sum goes around.
        (summed(48, rows=1, steps=8, columns=20), 0),
        (summed(48, rows=1, steps=8, columns=1), 0),
    ],
)
def test_sums_of_vectors_that_llvm_takes_apart(stage: Stage, count: float) -> None:
    work = np.prod([int(loop.extent[0]) for loop in stage.loops]) if count else 0
    assert scalars([stage]) == pytest.approx((count, work), rel=1e-5)


def test_a_sum_on_the_stack_is_as_wide_as_its_widest_access() -> None:
    def taken_over(width: int, rows: int) -> list[Stage]:
        stage = summed(8)
        axes = [Axis("i", extents(rows), False), Axis("j", extents(width), False)]
        copy = Stage("copy", axes, [*stage.loops[:3], *map(Loop.over, axes)], role="cache_write")
        copy.loops[-1].annotation = "vectorize"
        copy.writes = [Access("sum", ())]
        copy.host, copy.depth = stage, 3
        return [stage, copy]

    assert scalars(taken_over(48, 4))[0] == pytest.approx(4 * 8)
    assert scalars(taken_over(32, 4))[0] == 0
    # Too large for the stack: it lies in memory, and each access has its own width.
    assert scalars(taken_over(48, 6))[0] == 0
    half = Program((), {"sum": Buffer("sum", "float16", (6, 48))})
    assert scalars(taken_over(48, 6), half)[0] == pytest.approx(4 * 8)


def test_nothing_on_a_gpu() -> None:
    found = features([product([4, 2, 2, 4], [7, 1, 1, 16], [32, 4])], GPU)
    assert not any(value for name, value in found.items() if name.startswith("cpu."))
