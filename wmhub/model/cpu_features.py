"""Structured features that only mean something on a CPU: vectors, unrolling, accumulators, tasks.

What post-processing will make of each nest is foreseen (`wmhub.model.cpu_schedule`). What is
unrolled around a reduction is what the compiler can keep in registers; each nest that runs in
parallel costs one meeting of all threads, which rules programs of a few microseconds; and a program
of several stages, such as a softmax, is as fast as the slowest of them. LLVM takes a vector of 24
or 48 elements apart where it is clipped from both sides, and where a sum of such vectors stays in
registers from one iteration to the next, which makes either the slowest by ten times: a value that
goes from block to block, fills more than a register and has no power of two elements is as many
scalars (``TargetLoweringBase::getVectorTypeBreakdown``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.model.columns import Columns, total
from wmhub.model.cpu_schedule import CpuSchedule, annotation_of, cpu_schedules
from wmhub.model.loop_table import LoopTable, accumulated
from wmhub.model.movement import written_bytes
from wmhub.nest import Stage, trips
from wmhub.program import OPERATIONS
from wmhub.trajectory import Trajectories

_BYTE_BITS = 8
#: Annotations that say how many steps are unrolled.
UNROLL_KEYS = ("auto_unroll_max_step", "meta_schedule.unroll_explicit",
               "meta_schedule.unroll_implicit", "pragma_auto_unroll_max_step")  # fmt: skip
#: Cycles of an operation by its class (``OPERATIONS``), roughly, and of a block's rest.
_CYCLES = (1.0, 1.0, 4.0, 1.0, 1.0, 16.0, 1.0)
_REST_CYCLES = 1.0
#: Where a stage's operations count comparisons.
_COMPARE = OPERATIONS.index("compare")
#: Steps up to which LLVM unrolls a loop of its own accord, roughly.
_LLVM_UNROLLS = 16.0
#: Up to so many bytes TVM puts a buffer on the stack (``kMaxStackAlloca``).
_STACK_BYTES = 1024.0
#: Cycles of an element that is moved on its own into or out of a vector, its address included.
_GATHER_CYCLES = 8.0


def cpu_features(
    columns: Columns,
    trajectories: Trajectories,
    main: Stage,
    loops: LoopTable,
    sizes: Mapping[str, float],
    hardware: HardwareProfile,
) -> None:
    """Adds the columns for N candidates; all zero for a GPU.

    ``main`` does most of the work, ``loops`` are its loops, ``sizes`` the bytes of an element of
    each buffer.
    """
    on = float(not hardware.is_gpu)
    nests = [] if hardware.is_gpu else cpu_schedules(trajectories)
    own = next((found for stage, found in nests if stage is main), None)
    if own is None:
        runs = trips(main.nest())
        none = np.zeros((len(main.loops), 1), dtype=bool)
        own = CpuSchedule(runs, np.ones(1), np.ones(1), none, np.zeros(1))
    lanes = _lanes(main, sizes, hardware)
    vector = own.vector
    vectors = np.ceil(vector / lanes)
    columns.log2("cpu.vector", vector, scale=on)
    columns.log2("cpu.vector.odd", _odd(vector), scale=on)
    columns.add("cpu.vector.use", vector / (vectors * lanes) * on)
    columns.add("cpu.vector.gathers", own.gathers * on)
    steps = _steps(trajectories, main, loops, own.in_vector, 1.0)
    spatial, reduction = steps.spatial, steps.reduction
    columns.log2("cpu.unrolled.spatial", spatial, scale=on)
    columns.log2("cpu.unrolled.reduction", reduction, scale=on)
    columns.log2("cpu.unrolled", spatial * reduction, scale=on)
    columns.log2("cpu.body", spatial * reduction * vectors, scale=on)
    # One vector register for each accumulator that is alive through the unrolled reduction.
    registers = hardware.register_bytes * _BYTE_BITS / hardware.vector_bits
    accumulators = spatial * vectors
    columns.log2("cpu.accumulators", accumulators, scale=on)
    columns.log2("cpu.registers.excess", accumulators / registers, scale=on)
    columns.log2("cpu.tile", _inner_tile(loops), scale=on)
    widths = _widths(nests, sizes)
    scalars = {
        id(stage): _scalars(
            trajectories, stage, nest, widths[id(stage)], _lanes(stage, sizes, hardware)
        )
        for stage, nest in nests
    }
    columns.log2("cpu.scalars", 1.0 + scalars.get(id(main), np.zeros(1)))
    columns.log2("cpu.tasks", own.tasks, scale=on)
    columns.add("cpu.balance", _parallelism(own.tasks, hardware.cores) / hardware.cores * on)
    columns.log2("cpu.task.work", own.runs / own.tasks, least=0.0, scale=on)
    _whole_program(columns, trajectories, main, nests, scalars, sizes, hardware)


def _lanes(stage: Stage, sizes: Mapping[str, float], hardware: HardwareProfile) -> float:
    """Elements of what ``stage`` writes that a vector register holds."""
    return max(hardware.vector_bits // (_BYTE_BITS * written_bytes(stage, sizes)), 1.0)


def _whole_program(
    columns: Columns,
    trajectories: Trajectories,
    main: Stage,
    nests: Sequence[tuple[Stage, CpuSchedule]],
    scalars: Mapping[int, np.ndarray],
    sizes: Mapping[str, float],
    hardware: HardwareProfile,
) -> None:
    """What all stages cost together, in cycles of a core that finds its data in registers.

    ``scalars``: of each stage, by its identity, as `_scalars` tells them.
    """
    lanes = _lanes(main, sizes, hardware)
    stages, found = [stage for stage, _ in nests], [schedule for _, schedule in nests]
    work = [nest.runs * _cycles(stage) for stage, nest in nests]
    moved = [nest.runs * nest.gathers for nest in found]
    costs = [
        (each * _share(nest.vector, _lanes(stage, sizes, hardware)) + _GATHER_CYCLES * gathers)
        / _parallelism(nest.tasks, hardware.cores)
        for stage, nest, each, gathers in zip(stages, found, work, moved)
    ]
    cost = total(costs)
    rest = total(each for stage, each in zip(stages, costs) if stage is not main)
    serial = total(np.where(nest.tasks > 1, 0.0, each) for nest, each in zip(found, work))
    scalar = total(np.where(nest.vector > 1, 0.0, each) for nest, each in zip(found, work))
    odd = [_odd(nest.vector) > 1 for nest in found]
    comparisons = [stage.operations[_COMPARE] if stage.operations else 0.0 for stage in stages]
    #: The stages that stand on their own; those that share an outermost loop are one region.
    regions = {id(stage.loops[0]): nest for stage, nest in nests[::-1] if stage.host is None}
    program = trajectories.program
    least = (program.flops if program else 0.0) / (lanes * hardware.cores)
    columns.log2("cpu.cost", 1.0 + cost)
    columns.log2("cpu.cost.rest", 1.0 + rest)
    columns.add("cpu.cost.rest.share", rest / np.maximum(cost, 1.0))
    excess = (1.0 + cost) / (1.0 + least) if nests else 1.0
    columns.log2("cpu.cost.excess", excess, least=0.0)
    columns.log2("cpu.serial", 1.0 + serial)
    columns.log2("cpu.scalar", 1.0 + scalar)
    columns.log2("cpu.gathered", 1.0 + total(moved))
    columns.add("cpu.regions", total(nest.tasks > 1 for nest in regions.values()))
    columns.log2("cpu.odd", 1.0 + total(np.where(is_odd, w, 0.0) for is_odd, w in zip(odd, work)))
    compared = (np.where(is_odd, count, 0.0) for is_odd, count in zip(odd, comparisons))
    columns.add("cpu.odd.comparisons", reduce(np.maximum, compared, np.zeros(1)))
    apart = total(np.where(scalars[id(stage)] > 0, each, 0.0) for stage, each in zip(stages, work))
    columns.log2("cpu.scalars.work", 1.0 + apart)


def _share(vector: np.ndarray, lanes: float) -> np.ndarray:
    """Operations for each element that is handled in vectors of so many: 1 for scalar code."""
    return np.where(vector > 1, np.ceil(vector / lanes) / vector, 1.0)


def _cycles(stage: Stage) -> float:
    """Of one execution of its body."""
    return _REST_CYCLES + sum(n * each for n, each in zip(stage.operations, _CYCLES))


def _parallelism(tasks: np.ndarray, cores: int) -> np.ndarray:
    """How many cores work on average while ``tasks`` of equal length are done."""
    return tasks / np.ceil(tasks / cores)


def _odd(values: np.ndarray) -> np.ndarray:
    """The odd factor of each whole number."""
    whole = values.astype(np.int64)
    return whole // (whole & -whole)


@dataclass(frozen=True)
class _Steps:
    """What is unrolled around the body of a stage, a vector counting as one step."""

    spatial: np.ndarray
    """float64 [N or 1]: spatial steps."""
    reduction: np.ndarray
    """float64 [N or 1]: reduction steps."""
    in_reduction: np.ndarray
    """bool [N or 1]: whether the innermost loop that is left is a reduction, so that what is summed
    goes from one of its iterations to the next in registers."""


def _steps(
    trajectories: Trajectories,
    stage: Stage,
    loops: LoopTable,
    in_vector: np.ndarray,
    least: float,
) -> _Steps:
    """``in_vector`` as in ``CpuSchedule``; ``least`` steps are unrolled without an annotation."""
    found = annotation_of(trajectories, stage, UNROLL_KEYS)
    depth = np.full(1, least) if found is None else np.maximum(found, least)
    sizes = np.where(in_vector, 1.0, loops.sizes[::-1])
    goes = accumulated(np.multiply, sizes) <= depth
    is_reduction = loops.is_reduction[::-1]
    stays = ~goes & (sizes > 1)
    before = np.logical_or.accumulate(stays, axis=0)
    before = np.vstack([np.zeros_like(before[:1]), before[:-1]])
    return _Steps(
        spatial=np.where(goes & ~is_reduction, sizes, 1.0).prod(axis=0),
        reduction=np.where(goes & is_reduction, sizes, 1.0).prod(axis=0),
        in_reduction=(stays & ~before & is_reduction).any(axis=0),
    )


def _widths(
    nests: Sequence[tuple[Stage, CpuSchedule]], sizes: Mapping[str, float]
) -> dict[int, np.ndarray]:
    """Elements of the values that each stage works on, by the stage's identity: float64 [N or 1].

    Those of its own vectors, or of a stage in its nest that gives or takes them through the stack:
    the compiler sees one value there, as wide as its widest access.
    """
    widths = {id(stage): nest.vector for stage, nest in nests}
    for stage, nest in nests:
        host = stage.host
        if host is None or id(host) not in widths or stage.role == "cache_read" or stage.is_whole:
            continue
        held = trips(stage.loops[stage.depth :]) * written_bytes(stage, sizes)
        is_small = held <= _STACK_BYTES
        wider = np.maximum(nest.vector, widths[id(host)])
        widths[id(host)] = np.where(is_small, wider, widths[id(host)])
    return widths


def _scalars(
    trajectories: Trajectories,
    stage: Stage,
    nest: CpuSchedule,
    width: np.ndarray,
    lanes: float,
) -> np.ndarray:
    """Scalars that the values of a sum are taken apart to, 0 where they stay vectors: float64 [N or
    1]. ``width`` as in `_widths`."""
    loops = LoopTable.of(stage.loops)
    steps = _steps(trajectories, stage, loops, nest.in_vector, _LLVM_UNROLLS)
    is_apart = steps.in_reduction & (_odd(width) > 1) & (width > lanes)
    return np.where(is_apart, steps.spatial * nest.vector, 0.0)


def _inner_tile(loops: LoopTable) -> np.ndarray:
    """Spatial elements inside the outermost reduction loop that iterates: written again and again
    by it, unless they fit the registers. float64 [N or 1]."""
    begun = accumulated(np.logical_or, loops.is_reduction & (loops.sizes > 1))
    return np.where(begun & ~loops.is_reduction, loops.sizes, 1.0).prod(axis=0)
