"""Structured features that only mean something on a CPU: vectors, unrolling, accumulators, tasks.

MetaSchedule's ``RewriteParallelVectorizeUnroll`` decides them after sampling, from annotations: it
fuses outer spatial loops into tasks while their number stays within ``meta_schedule.parallel``,
fuses inner ones into a vector within ``meta_schedule.vectorize``, and unrolls what stays below
``meta_schedule.unroll_*`` steps. Here the same is derived from the nest. What is unrolled around a
reduction is what the compiler can keep in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.nest import Loop, Stage, trips
from wmhub.trajectory import Trajectories

#: Vector registers of the instruction sets with wide vectors, and of the others.
_WIDE_REGISTERS, _REGISTERS = 32.0, 16.0
_FLOAT_BITS = 32
#: Annotations that say how many steps are unrolled.
UNROLL_KEYS = ("auto_unroll_max_step", "meta_schedule.unroll_explicit",
               "meta_schedule.unroll_implicit", "pragma_auto_unroll_max_step")  # fmt: skip

if TYPE_CHECKING:
    Add = Callable[[str, "np.ndarray | float"], None]


def cpu_features(
    add: Add, trajectories: Trajectories, main: Stage, around: Sequence[Loop],
    hardware: HardwareProfile,
) -> None:  # fmt: skip
    """Adds the columns for N candidates; all zero for a GPU.

    ``main`` does most of the work; ``around`` are the loops of its hosts that it does not hold
    itself.
    """
    on = float(not hardware.is_gpu)
    lanes = max(hardware.vector_bits // _FLOAT_BITS, 1)
    vector, inside = _vector(trajectories, main)
    add("cpu.vector", np.log2(vector) * on)
    add("cpu.vector.use", vector / (np.ceil(vector / lanes) * lanes) * on)
    unrolled = _unrolled(trajectories, main, inside)
    spatial, reduction = unrolled
    add("cpu.unrolled.spatial", np.log2(spatial) * on)
    add("cpu.unrolled.reduction", np.log2(reduction) * on)
    add("cpu.unrolled", np.log2(spatial * reduction) * on)
    # One vector register for each accumulator that is alive through the unrolled reduction.
    registers = _WIDE_REGISTERS if hardware.vector_bits >= 512 else _REGISTERS
    accumulators = spatial * np.ceil(vector / lanes)
    add("cpu.accumulators", np.log2(accumulators) * on)
    add("cpu.registers.excess", np.log2(np.maximum(accumulators / registers, 1.0)) * on)
    add("cpu.tile", np.log2(_inner_tile(main)) * on)
    nest = [*around, *main.loops]
    tasks = _tasks(trajectories, main, nest)
    add("cpu.tasks", np.log2(tasks) * on)
    add("cpu.balance", tasks / (np.ceil(tasks / hardware.cores) * hardware.cores) * on)
    add("cpu.task.work", np.log2(trips(nest) / tasks) * on)


def _limit(
    trajectories: Trajectories, stage: Stage, keys: Sequence[str], default: float
) -> np.ndarray:
    """An annotation of ``stage``, else of any other; float64 [N or 1]."""
    for one in (stage, *trajectories.stages):
        for key in keys:
            if key in one.annotations:
                return np.asarray(one.annotations[key], np.float64)
    return np.full(1, default)


def _vector(trajectories: Trajectories, stage: Stage) -> tuple[np.ndarray, list[np.ndarray]]:
    """Elements of a vector, and for each loop from the inside whether it is part of it."""
    most = _limit(trajectories, stage, ("meta_schedule.vectorize",), 1.0)
    explicit = any(loop.annotation == "vectorize" for loop in stage.loops)
    vector, going = np.ones(1), np.ones(1, bool)
    inside = []
    for loop in stage.loops[::-1]:
        extent = np.maximum(loop.extent, 1)
        if explicit:
            part = np.full(1, loop.annotation == "vectorize")
        else:
            going = going & (not loop.is_reduction) & (vector * extent <= most)
            part = going
        vector = np.where(part, vector * extent, vector)
        inside.append(part)
    return vector, inside


def _unrolled(
    trajectories: Trajectories, stage: Stage, vectorized: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Spatial and reduction steps that are unrolled, the vector counting as one."""
    depth = _limit(trajectories, stage, UNROLL_KEYS, 0.0)
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


def _tasks(trajectories: Trajectories, stage: Stage, nest: Sequence[Loop]) -> np.ndarray:
    """Iterations of the parallel loop of ``nest``, which is around ``stage``."""
    marked = [loop for loop in nest if loop.annotation == "parallel"]
    if marked:
        return trips(marked)
    most = _limit(trajectories, stage, ("meta_schedule.parallel",), 1.0)
    tasks, going = np.ones(1), np.ones(1, bool)
    for loop in nest:
        extent = np.maximum(loop.extent, 1)
        going = going & (not loop.is_reduction) & (tasks * extent <= most)
        tasks = np.where(going, tasks * extent, tasks)
    return tasks
