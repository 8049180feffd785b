"""Structured features that only mean something on a GPU: registers, coalescing, occupancy.

The stage that is bound to threads tells how many accumulators each thread holds (its spatial loops
inside ``threadIdx`` and all its virtual threads), and which elements the threads of a warp touch
together. Limits are those of CUDA's occupancy calculator: 255 registers a thread, in units of 8,
65,536 a block, and the device's own number of warps and blocks; a warp that is not full takes as
much as a full one. A warp is 32 threads on every device; where more go in step, such as AMD's
wavefronts of 64, they take as many warps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import residency
from wmhub.model.cache_stages import (
    CACHES,
    copied_by,
    copies_of,
    rounds_of,
    tile_of,
    vector_of,
)
from wmhub.model.columns import Columns
from wmhub.model.gpu_time import Launch, time_features
from wmhub.model.gpu_warp import Operand, dealt, run_of, warp_features
from wmhub.model.movement import written_bytes
from wmhub.nest import THREADS, Axis, Loop, Stage, extents, steps_of, trips
from wmhub.replay.limits import WARP, threads_of
from wmhub.trajectory import Trajectories

GRID = ("blockIdx.x", "blockIdx.y", "blockIdx.z")
VIRTUAL = ("vthread.x", "vthread.y", "vthread.z")

_BLOCK_REGISTERS, _THREAD_REGISTERS = 65536.0, 255.0
_REGISTER_UNIT = 8.0
#: Registers that a kernel needs beside its accumulators, and per accumulator (operands, addresses).
_BASE_REGISTERS, _PER_ACCUMULATOR = 24.0, 1.25
#: Bytes of a memory sector, and of the widest load of one thread.
_SECTOR_BYTES, _WIDEST_LOAD_BYTES = 32.0, 16.0
#: Loads that a vector of CUDA's may take (``double4``).
_MOST_LOADS = 2.0
#: Axes of which the share of threads is described, from the innermost.
_AXES = 3


def gpu_features(
    columns: Columns,
    trajectories: Trajectories,
    main: Stage,
    sizes: Mapping[str, float],
    shared_bytes: np.ndarray,
    hardware: HardwareProfile,
) -> None:
    """Adds the columns for N candidates; all zero for a CPU.

    ``main`` does most of the work, ``sizes`` are the bytes of an element of each buffer,
    ``shared_bytes`` is what a block keeps in shared memory, float64 [N or 1].
    """
    if hardware.is_gpu:
        bound = _bound_stage(trajectories.stages)
        stages, shapes = trajectories.stages, trajectories.shapes
        _describe(columns, bound, stages, main, sizes, shared_bytes, hardware, shapes)
    else:
        for name in _names(hardware):
            columns.add(name, 0.0)


@lru_cache(maxsize=16)
def _names(hardware: HardwareProfile) -> list[str]:
    """Names of the columns."""
    columns = Columns(1)
    _describe(columns, None, (), Stage("", [], []), {}, np.zeros(1), hardware, {})
    return columns.names


def _describe(
    columns: Columns,
    bound: Stage | None,
    stages: Sequence[Stage],
    main: Stage,
    sizes: Mapping[str, float],
    shared_bytes: np.ndarray,
    hardware: HardwareProfile,
    shapes: Mapping[str, Sequence[int]],
) -> None:
    grid, virtual, threads, inner = _levels(bound) if bound else ([], [], [], [])
    thread_count = threads_of(bound, threads, stages) if bound else np.ones(1)
    # What a warp holds as a whole is dealt to its lanes.
    lanes = thread_count / trips(threads)
    accumulators = trips(virtual) * trips(inner) / lanes
    warps = warps_of(thread_count, hardware)
    _registers(columns, accumulators, thread_count, warps, bound is not None)
    _coalescing(columns, bound, (virtual, threads, inner), sizes)
    blocks, resident = trips(grid), _resident(accumulators, warps, shared_bytes, hardware)
    slots = max(hardware.cores, 1) * resident
    waves = np.ceil(blocks / slots)
    on = float(bound is not None)
    columns.log2("gpu.resident_blocks", resident, scale=on)
    columns.log2("gpu.resident_warps", resident * warps, scale=on)
    columns.log2("gpu.waves", waves, scale=on)
    tail = blocks / (waves * slots)
    columns.add("gpu.tail", tail * on)
    copies = copies_of(stages)
    _reductions(columns, copies, main, on)
    _copies(columns, copies, shapes, sizes, on)
    _kernels(columns, stages, on)
    levels = []
    if bound is not None and (bound is main or main.host is bound):
        levels = dealt(main, bound, (virtual, threads, inner))
    block = trips(threads) * trips(virtual)
    operands = _operands(main, copies, shapes, sizes, block) if levels else []
    touched = warp_features(columns, main, levels, operands, thread_count, sizes, shapes)
    launch = Launch(blocks, thread_count, warps, block, waves, tail)
    own = [copy for copy in copies if bound is not None and _is_of(copy, bound)]
    runs = trips(main.nest())
    time_features(columns, runs, _iterations(main, runs), touched, own, launch, hardware)


def warps_of(threads: np.ndarray, hardware: HardwareProfile) -> np.ndarray:
    """Warps that a block of so many threads takes, the last of which may not be full: float64, as
    ``threads``. Where twice as many threads go in step, a lone one takes two; where half, half."""
    in_step = max(hardware.vector_bits // 32, 1) if hardware.is_gpu else WARP
    return np.maximum(np.ceil(threads / in_step), 1.0) * (in_step / WARP)


def _iterations(main: Stage, runs: np.ndarray) -> np.ndarray:
    """How often the program runs the body of ``main``, without what splits reach over an end:
    float64 [N or 1]. ``runs``: with it, of candidates of which an axis is not known."""
    known = np.ones(1, dtype=bool)
    for axis in main.axes:
        known = known & (axis.extent > 0)
    return np.where(known, trips([Loop.over(axis) for axis in main.axes]), runs)


def _is_of(copy: Stage, bound: Stage) -> bool:
    """Whether a copy is made in the kernel of ``bound``."""
    # Of a nest that was made a block, both stages have the outer loops.
    return any(one is bound or one.index(bound.loops[0]) >= 0 for one in copy.chain())


def _bound_stage(stages: Sequence[Stage]) -> Stage | None:
    """The stage with the most work among those whose loops are bound to threads."""
    found = [
        stage
        for stage in stages
        if not stage.inlined
        and stage.role != "cache_read"
        and any(loop.annotation in THREADS for loop in stage.loops)
    ]
    return max(found, key=lambda stage: first_trips(stage.axes), default=None)


def first_trips(axes: Sequence[Axis]) -> float:
    """Iterations of the first candidate: the same for all of a structure."""
    product = 1.0
    for axis in axes:
        product *= max(1, int(axis.extent[0]))
    return product


def _levels(stage: Stage) -> tuple[list[Loop], list[Loop], list[Loop], list[Loop]]:
    """Loops over blocks, virtual threads, threads, and the spatial ones inside a thread."""
    grid = [loop for loop in stage.loops if loop.annotation in GRID]
    virtual = [loop for loop in stage.loops if loop.annotation in VIRTUAL]
    threads = [loop for loop in stage.loops if loop.annotation in THREADS]
    bound = {id(loop) for loop in (*grid, *virtual, *threads)}
    inner = [loop for loop in stage.loops if id(loop) not in bound and not loop.is_reduction]
    return grid, virtual, threads, inner


def _demand(accumulators: np.ndarray) -> np.ndarray:
    return _BASE_REGISTERS + _PER_ACCUMULATOR * accumulators


def _registers(
    columns: Columns, accumulators: np.ndarray, threads: np.ndarray, warps: np.ndarray,
    is_bound: bool,
) -> None:  # fmt: skip
    limit = np.minimum(_THREAD_REGISTERS, _BLOCK_REGISTERS / (warps * WARP))
    on = float(is_bound)
    columns.log2("gpu.accumulators", accumulators, scale=on)
    columns.log2("gpu.register_limit", limit, least=0.0, scale=on)
    columns.log2("gpu.pressure", accumulators * threads, scale=on)
    # What does not fit is spilled to memory, again and again in the innermost loops.
    columns.log2("gpu.spill", _demand(accumulators) / limit, scale=on)


def _coalescing(
    columns: Columns,
    bound: Stage | None,
    levels: tuple[list[Loop], list[Loop], list[Loop]],
    sizes: Mapping[str, float],
) -> None:
    virtual, threads, inner = levels
    sector = _SECTOR_BYTES / written_bytes(bound, sizes) if bound else 1.0
    axes = [axis for axis in bound.axes if not axis.is_reduction][::-1] if bound else []
    for number in range(_AXES):
        axis = axes[number] if number < len(axes) else None
        thread, own = steps_of(threads, axis), steps_of(inner, axis)
        block = steps_of(virtual, axis) * thread * own
        on = float(axis is not None)
        extent = np.maximum(axis.extent, 1) if axis is not None else extents(1)
        columns.log2(f"gpu.axis{number}.threads", thread, scale=on)
        columns.log2(f"gpu.axis{number}.own", own, scale=on)
        columns.log2(f"gpu.axis{number}.block", block, scale=on)
        columns.add(f"gpu.axis{number}.is_whole", (block >= extent) * on)
        if number == 0:
            # Sectors that one store of a warp touches, when its threads stand along the last axis.
            together = np.minimum(thread, WARP)
            rows = WARP / together
            sectors = rows * np.ceil(together * own / sector)
            columns.log2("gpu.store_sectors", np.minimum(sectors, WARP), scale=on)


def _resident(
    accumulators: np.ndarray, warps: np.ndarray, shared: np.ndarray, hardware: HardwareProfile
) -> np.ndarray:
    """Blocks that a multiprocessor holds at once, at least 1."""
    registers = np.minimum(_demand(accumulators), _THREAD_REGISTERS)
    each = np.ceil(registers / _REGISTER_UNIT) * _REGISTER_UNIT * WARP * warps
    by_registers = (hardware.register_bytes / 4.0) // each
    by_shared = max(hardware.shared_memory_bytes, 1) // np.maximum(shared, 1.0)
    most = residency(hardware.key)
    least = np.minimum(np.minimum(by_registers, by_shared), most.warps // warps)
    return np.asarray(np.clip(least, 1.0, most.blocks))


def _reductions(columns: Columns, copies: Sequence[Stage], main: Stage, on: float) -> None:
    """How the reduction is cut: outside the copies to shared memory, inside, and innermost."""
    depth = max((copy.depth for copy in copies if copy.host is main), default=0)
    outer = [loop for loop in main.loops[:depth] if loop.is_reduction]
    inside = [loop for loop in main.loops[depth:] if loop.is_reduction]
    columns.log2("gpu.reduction.rounds", trips(outer), scale=on)
    columns.log2("gpu.reduction.step", trips(inside), scale=on)


def _copies(
    columns: Columns,
    copies: Sequence[Stage],
    shapes: Mapping[str, Sequence[int]],
    sizes: Mapping[str, float],
    on: float,
) -> None:
    """How the threads of a block load what they copy to shared memory."""
    for number in range(CACHES):
        copy = copies[number] if number < len(copies) else None
        vector = vector_of(copy) if copy else np.ones(1)
        each = written_bytes(copy, sizes) if copy else 1.0
        sector = _SECTOR_BYTES / each
        # Powers of two are whole loads, or two; others are taken apart, and strided.
        loads = vector * each / _WIDEST_LOAD_BYTES
        whole = (loads <= _MOST_LOADS) & (np.exp2(np.round(np.log2(vector))) == vector)
        cost = np.where(whole, np.maximum(loads, 1.0), np.minimum(vector, sector))
        columns.log2(f"gpu.cache{number}.load_cost", cost, scale=on)
        dimensions = copied_by(copy, shapes) if copy else ()
        run = run_of(dimensions)
        # Neighbours in a copy are neighbours in memory as far as a run goes; behind it, another
        # sector is loaded, of which the copy may need a single float.
        waste = np.ceil(run / sector) * sector / run
        columns.log2(f"gpu.cache{number}.run", run, scale=on)
        columns.log2(f"gpu.cache{number}.waste", waste, scale=on if dimensions else 0.0)


def _operands(
    main: Stage,
    copies: Sequence[Stage],
    shapes: Mapping[str, Sequence[int]],
    sizes: Mapping[str, float],
    block: np.ndarray,
) -> list[Operand]:
    """What ``main`` reads through copies in shared memory, in the order of its reads."""
    found: list[tuple[int, Operand]] = []
    for copy in copies:
        dimensions = copied_by(copy, shapes)
        written = [access.buffer for access in copy.writes]
        # Ansor's copies have the access itself.
        named = written if copy.copied is None else [access.buffer for access in copy.reads]
        for place, access in enumerate(main.reads):
            is_it = access.buffer in named and len(access.indices) == len(dimensions)
            is_it &= copy.copied is None or copy.host is main
            if is_it and copy.scope.startswith("shared"):
                loaded = tile_of(copy) * rounds_of(copy, block)
                one = Operand(access, dimensions, vector_of(copy), loaded, sizes[access.buffer])
                found.append((place, one))
                break
    return [operand for _, operand in sorted(found, key=lambda item: item[0])]


def _kernels(columns: Columns, stages: Sequence[Stage], on: float) -> None:
    """All kernels, not that with the most work alone: a pooling divides in one of its own."""
    least, count = np.full(1, np.inf), 0.0
    for stage in stages:
        threads = [loop for loop in stage.loops if loop.annotation in THREADS]
        if threads and stage.host is None and not stage.inlined and stage.role != "cache_read":
            least = np.minimum(least, threads_of(stage, threads, stages))
            count += 1.0
    columns.add("gpu.kernels", count * on)
    columns.log2("gpu.least_threads", np.where(np.isinf(least), 1.0, least), scale=on)
