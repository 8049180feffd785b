"""Tasks and vectors against TVM's own post-processing, and against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wmhub.actions import Action, ActionKind
from wmhub.model.cpu_schedule import CpuSchedule, cpu_schedules
from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.program import Access, Buffer, Index, Program
from wmhub.records import Scheduler
from wmhub.replay.meta_schedule import replay_traces
from wmhub.trajectory import Trajectories
from wmhub.tvm_json import parse_program

TARGET = {"kind": "llvm", "mcpu": "sapphirerapids", "num-cores": 2}
ANNOTATIONS = {"meta_schedule.parallel": 32.0, "meta_schedule.vectorize": 64.0}


def var(axis: int) -> Index:
    return Index("var", axis)


def schedules(stages: list[Stage], shapes: dict[str, tuple[int, ...]]) -> list[CpuSchedule]:
    buffers = {name: Buffer(name, "float32", shape) for name, shape in shapes.items()}
    program = Program((), buffers)
    for stage in stages:
        stage.annotations = {key: np.array([value]) for key, value in ANNOTATIONS.items()}
    given = Trajectories(Scheduler.META_SCHEDULE, program, (), (), tuple(stages), 1, ())
    return [found for _, found in cpu_schedules(given)]


def elementwise(shape: tuple[int, ...], reads: tuple[Index, ...]) -> Stage:
    """A copy of ``X[reads]`` to ``Y``."""
    axes = [Axis(f"i{n}", extents(extent), False) for n, extent in enumerate(shape)]
    loops = [Loop.over(axis) for axis in axes]
    writes = tuple(var(n) for n in range(len(shape)))
    return Stage("copy", axes, loops, [Access("X", reads)], [Access("Y", writes)])


def test_a_block_of_contiguous_loops_becomes_vectors_of_one_parallel_loop() -> None:
    shape = (8, 100, 48)
    (found,) = schedules([elementwise(shape, (var(0), var(1), var(2)))], {"X": shape, "Y": shape})
    assert found.tasks[0] == 8 * 100 * 48 / 64
    assert found.vector[0] == 64
    # The vectors run across rows of 48, but what they touch lies side by side all the same.
    assert found.gathers[0] == 0


def test_a_transposition_is_no_vector_and_its_rows_are_tasks() -> None:
    stage = elementwise((40, 30), (var(1), var(0)))
    (found,) = schedules([stage], {"X": (30, 40), "Y": (40, 30)})
    # The last loop walks X in steps of 40: the loop alone may be a vector, gathered.
    assert (found.tasks[0], found.vector[0], found.gathers[0]) == (40, 30, 1)


def test_an_index_that_divides_hides_a_gather() -> None:
    halved = Index("//", 0, (var(1), Index("const", 2)))
    stage = elementwise((64, 16), (var(0), halved))
    (found,) = schedules([stage], {"X": (64, 8), "Y": (64, 16)})
    assert found.gathers[0] == 1


def test_a_vector_within_a_panel_is_no_gather() -> None:
    """``X[j // 16, i, j % 16]``, walked along j in steps of the tile's last loop."""
    column = [Index(op, 0, (var(1), Index("const", 16))) for op in ("//", "%")]
    gathered = []
    for inner in (8, 16, 24, 32):
        stage = elementwise((4, 96), (column[0], var(0), column[1]))
        axis = stage.axes[1]
        sizes = (extents(96 // inner), extents(inner))
        stage.loops[1:] = [Loop(size, ((axis, size),)) for size in sizes]
        (found,) = schedules([stage], {"X": (6, 4, 16), "Y": (4, 96)})
        assert found.vector[0] == inner
        gathered.append(int(found.gathers[0]))
    assert gathered == [0, 0, 1, 1]


def test_a_copy_beside_the_next_loop_ends_what_is_parallel() -> None:
    axes = [Axis("i", extents(4), False), Axis("j", extents(4), False), Axis("k", extents(8), True)]
    i, j, k = (Loop.over(axis) for axis in axes)
    product = Stage("product", axes, [i, j, k], [Access("X", (var(0), var(2)))],
                    [Access("Y", (var(0), var(1)))])  # fmt: skip
    row = Axis("r", extents(4), False)
    copy = Stage("copy", [axes[0], row], [i, Loop.over(row)], [Access("Y", (var(0), var(1)))],
                 [Access("Z", (var(0), var(1)))], host=product, depth=1)  # fmt: skip
    shapes = {"X": (4, 8), "Y": (4, 4), "Z": (4, 4)}
    alone, = schedules([product], shapes)  # fmt: skip
    assert alone.tasks[0] == 16
    first, second = schedules([product, copy], shapes)
    assert first.tasks[0] == second.tasks[0] == 4
    assert (first.vector[0], second.vector[0]) == (1, 4)


def test_what_a_nest_says_itself_counts() -> None:
    axis = Axis("i", extents(64), False)
    loops = [Loop(extents(8), ((axis, extents(8)),), mark) for mark in ("parallel", "vectorize")]
    given = Trajectories(
        Scheduler.AUTO_SCHEDULER, None, (), (), (Stage("s", [axis], loops),), 1, ()
    )
    ((_, found),) = cpu_schedules(given)
    assert (found.tasks[0], found.vector[0]) == (8, 8)
    assert [bool(part[0]) for part in found.in_vector] == [True, False]


def test_unknown_shapes_and_extents_are_no_vectors() -> None:
    stage = elementwise((16, 16), (var(0), var(1)))
    stage.loops[0] = Loop(extents(0))
    (found,) = schedules([stage], {})
    assert (found.tasks[0], found.vector[0]) == (16, 1)


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize(
    "workload",
    [
        "GMM", "C2D", "DEP", "DIL", "T2D", "CBR", "SFM", "NRM",
        # Operands packed, padded, both, neither; and a result turned.
        "dense-m32-n96-k48-bias-relu", "matmul-m31-n64-k24", "scores-b2-m37-n37-d16",
        "bmm-b3-m16-n24-k40", "conv2d-h9-w9-ci6-co24-k3-s1-p1-nchw-bias-relu",
    ],
)  # fmt: skip
def test_it_is_what_tvm_makes_of_it(workload: str) -> None:
    tvm = pytest.importorskip("tvm")
    from wmhub.measure.rules import space_generator
    from wmhub.tvm_compat import Schedule, Trace, normalize, plain, use_target
    from wmhub.tvm_compat import meta_schedule as ms

    target = use_target(TARGET)
    module = normalize(_module(workload))
    program = parse_program(tvm.ir.save_json(module))
    context = ms.TuneContext(
        module, target=target, space_generator=space_generator(target), rand_state=1
    )
    agreed = blocks = 0
    for sketch in context.generate_design_space():
        traces, theirs = [], []
        for seed in range(12):
            schedule = Schedule(module, seed=seed + 1)
            Trace(sketch.trace.insts, {}).apply_to_schedule(schedule, remove_postproc=False)
            traces.append(plain(schedule.trace.as_json()))
            ms.postproc.RewriteParallelVectorizeUnroll().apply(schedule)
            theirs.append(_loops(schedule))
        for group in replay_traces(program, traces):
            for stage, found in cpu_schedules(group.trajectories):
                ours = np.broadcast_arrays(found.tasks, found.vector, np.zeros(len(group.members)))
                for row, member in enumerate(group.members):
                    if stage.name not in theirs[member]:
                        continue
                    blocks += 1
                    agreed += theirs[member][stage.name] == (ours[0][row], ours[1][row])
    assert agreed == blocks > 0


def _module(workload: str) -> Any:
    import tvm
    from tvm import te
    from tvm.s_tir.meta_schedule.testing.te_workload import CONFIGS

    from wmhub.measure import zoo

    if workload not in CONFIGS:
        return zoo.build(workload)
    build, configurations = CONFIGS[workload]
    return tvm.IRModule({"main": te.create_prim_func(build(*configurations[0]))})


def _loops(schedule: Any) -> dict[str, tuple[int, int]]:
    """Iterations of the parallel and of the vectorised loops around each block."""
    import tvm

    found = {}
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        loops = [schedule.get(loop) for loop in schedule.get_loops(block)]
        if not all(isinstance(loop.extent, tvm.tirx.IntImm) for loop in loops):
            continue  # Padding that is only made where it is looked at.
        tasks = vector = 1
        for loop in loops:
            tasks *= int(loop.extent) if loop.kind == tvm.tirx.ForKind.PARALLEL else 1
            vector *= int(loop.extent) if loop.kind == tvm.tirx.ForKind.VECTORIZED else 1
        found[str(schedule.get(block).name_hint)] = (tasks, vector)
    return found


def test_a_block_that_becomes_an_instruction_is_a_vector_of_what_is_in_it() -> None:
    """As a product of bytes, 16 sums of 4 at once; TVM calls that block ``dense_o``."""
    axes = [Axis(n, extents(size), n == "k") for n, size in (("i", 32), ("j", 64), ("k", 128))]
    sizes = [(0, 32), (1, 4), (2, 32), (1, 16), (2, 4)]
    loops = [Loop.over(axes[axis], extents(size)) for axis, size in sizes]
    dense = Stage("dense", axes, loops, operations=(0.0,) * 6 + (6.0,))
    block = Stage("dense_o", axes, loops[:3], inner=loops[3:])
    for stage in (dense, block):
        stage.annotations = {key: np.array([value]) for key, value in ANNOTATIONS.items()}

    def found(stages: list[Stage], *annotated: int) -> list[tuple[Stage, CpuSchedule]]:
        actions = tuple(
            Action(ActionKind.ANNOTATE, "Annotate", at, text="meta_schedule.auto_tensorize")
            for at in annotated
        )
        return cpu_schedules(
            Trajectories(Scheduler.META_SCHEDULE, None, (), actions, tuple(stages), 1, ())
        )

    ((stage, one),) = found([dense, block], 1)
    assert stage is dense
    assert (one.runs[0], one.tasks[0], one.vector[0]) == (32 * 64 * 128, 128, 64)
    assert one.in_vector[:, 0].tolist() == [True, True, False, False, False]
    # A block that is none, and one of other loops.
    for stages, annotated in (([dense, block], ()), ([dense, replace(block, inner=[])], (1,))):
        assert found(stages, *annotated)[0][1].vector[0] == 1
