"""Structured features that only mean something on a CPU: vectors, unrolling, accumulators, tasks.

What post-processing will make of each nest is foreseen (`wmhub.model.cpu_schedule`). What is
unrolled around a reduction is what the compiler can keep in registers; each nest that runs in
parallel costs one meeting of all threads, which rules programs of a few microseconds; and a program
of several stages, such as a softmax, is as fast as the slowest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.model.cpu_schedule import CpuSchedule, annotation_of, cpu_schedules
from wmhub.nest import Stage, trips
from wmhub.trajectory import Trajectories

#: Vector registers of the instruction sets with wide vectors, and of the others.
_WIDE_REGISTERS, _REGISTERS = 32.0, 16.0
_FLOAT_BITS = 32
#: Annotations that say how many steps are unrolled.
UNROLL_KEYS = ("auto_unroll_max_step", "meta_schedule.unroll_explicit",
               "meta_schedule.unroll_implicit", "pragma_auto_unroll_max_step")  # fmt: skip
#: Cycles of an operation by its class (``OPERATIONS``), roughly, and of a block's rest.
_CYCLES = (1.0, 1.0, 4.0, 1.0, 1.0, 16.0, 1.0)
_REST_CYCLES = 1.0
#: Cycles of an element that is moved on its own into or out of a vector, its address included.
_GATHER_CYCLES = 8.0

if TYPE_CHECKING:
    Add = Callable[[str, "np.ndarray | float"], None]


def cpu_features(
    add: Add, trajectories: Trajectories, main: Stage, hardware: HardwareProfile
) -> None:
    """Adds the columns for N candidates; all zero for a GPU. ``main`` does most of the work."""
    on = float(not hardware.is_gpu)
    nests = [] if hardware.is_gpu else cpu_schedules(trajectories)
    own = next((found for stage, found in nests if stage is main), None)
    if own is None:
        own = CpuSchedule(
            np.ones(1), np.ones(1), (np.zeros(1, bool),) * len(main.loops), np.zeros(1)
        )
    lanes = max(hardware.vector_bits // _FLOAT_BITS, 1)
    vector = own.vector
    add("cpu.vector", np.log2(vector) * on)
    add("cpu.vector.odd", np.log2(_odd(vector)) * on)
    add("cpu.vector.use", vector / (np.ceil(vector / lanes) * lanes) * on)
    add("cpu.vector.gathers", own.gathers * on)
    unrolled = _unrolled(trajectories, main, own.in_vector)
    spatial, reduction = unrolled
    add("cpu.unrolled.spatial", np.log2(spatial) * on)
    add("cpu.unrolled.reduction", np.log2(reduction) * on)
    add("cpu.unrolled", np.log2(spatial * reduction) * on)
    add("cpu.body", np.log2(spatial * reduction * np.ceil(vector / lanes)) * on)
    # One vector register for each accumulator that is alive through the unrolled reduction.
    registers = _WIDE_REGISTERS if hardware.vector_bits >= 512 else _REGISTERS
    accumulators = spatial * np.ceil(vector / lanes)
    add("cpu.accumulators", np.log2(accumulators) * on)
    add("cpu.registers.excess", np.log2(np.maximum(accumulators / registers, 1.0)) * on)
    add("cpu.tile", np.log2(_inner_tile(main)) * on)
    add("cpu.tasks", np.log2(own.tasks) * on)
    add("cpu.balance", _parallelism(own.tasks, hardware.cores) / hardware.cores * on)
    work = trips([*main.outer_loops(), *main.loops])
    add("cpu.task.work", np.log2(work / own.tasks) * on)
    _whole_program(add, trajectories, main, nests, hardware)


def _whole_program(
    add: Add,
    trajectories: Trajectories,
    main: Stage,
    nests: Sequence[tuple[Stage, CpuSchedule]],
    hardware: HardwareProfile,
) -> None:
    """What all stages cost together, in cycles of a core that finds its data in registers."""
    lanes = float(max(hardware.vector_bits // _FLOAT_BITS, 1))
    total, rest, serial, scalar, gathered, regions = (np.zeros(1) for _ in range(6))
    seen: set[int] = set()
    for stage, found in nests:
        runs = trips([*stage.outer_loops(), *stage.loops])
        work = runs * _cycles(stage)
        vectors = np.where(found.vector > 1, np.ceil(found.vector / lanes) / found.vector, 1.0)
        moved = runs * found.gathers
        cost = (work * vectors + _GATHER_CYCLES * moved) / _parallelism(found.tasks, hardware.cores)
        gathered = gathered + moved
        total = total + cost
        if stage is not main:
            rest = rest + cost
        serial = serial + np.where(found.tasks > 1, 0.0, work)
        scalar = scalar + np.where(found.vector > 1, 0.0, work)
        if stage.host is None and id(stage.loops[0]) not in seen:
            seen.add(id(stage.loops[0]))
            regions = regions + (found.tasks > 1)
    program = trajectories.program
    least = (program.flops if program else 0.0) / (lanes * hardware.cores)
    add("cpu.cost", np.log2(1.0 + total))
    add("cpu.cost.rest", np.log2(1.0 + rest))
    add("cpu.cost.rest.share", rest / np.maximum(total, 1.0))
    add("cpu.cost.excess", np.log2((1.0 + total) / (1.0 + least)) if nests else 0.0)
    add("cpu.serial", np.log2(1.0 + serial))
    add("cpu.scalar", np.log2(1.0 + scalar))
    add("cpu.gathered", np.log2(1.0 + gathered))
    add("cpu.regions", regions)


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


def _unrolled(
    trajectories: Trajectories, stage: Stage, vectorized: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Spatial and reduction steps that are unrolled, the vector counting as one."""
    found = annotation_of(trajectories, stage, UNROLL_KEYS)
    depth = np.zeros(1) if found is None else found
    steps, going = np.ones(1), np.ones(1, bool)
    spatial, reduction = np.ones(1), np.ones(1)
    for loop, is_vector in zip(stage.loops[::-1], vectorized):
        extent = np.where(is_vector, 1, np.maximum(loop.extent, 1))
        going = going & (steps * extent <= np.maximum(depth, 1.0))
        steps = np.where(going, steps * extent, steps)
        if loop.is_reduction:
            reduction = np.where(going, reduction * extent, reduction)
        else:
            spatial = np.where(going, spatial * extent, spatial)
    return spatial, reduction


def _inner_tile(stage: Stage) -> np.ndarray:
    """Spatial elements inside the outermost reduction loop that iterates: written again and again
    by it, unless they fit the registers."""
    tile, begun = np.ones(1), np.zeros(1, bool)
    for loop in stage.loops:
        extent = np.maximum(loop.extent, 1)
        if loop.is_reduction:
            begun = begun | (extent > 1)
        else:
            tile = np.where(begun, tile * extent, tile)
    return tile
