"""Structured features of scheduled programs, from their loop nests alone.

What a schedule's speed depends on, read off the final nests: tile sizes per axis and level,
parallelism against cores, the innermost loops and how each tensor moves under them, what has to
pass through each cache (`wmhub.model.working_sets`), and what only means something on one kind of
device (`wmhub.model.cpu_features`, `wmhub.model.gpu_features`). Extents and bytes enter as base-2
logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import residency
from wmhub.model.cache_stages import CACHES, copies_of, rounds_of, tile_of, vector_of
from wmhub.model.columns import Columns, total
from wmhub.model.cpu_features import UNROLL_KEYS, cpu_features
from wmhub.model.cpu_schedule import annotation_of
from wmhub.model.gpu_features import GRID, VIRTUAL, first_trips, gpu_features, warps_of
from wmhub.model.inner_loops import inner_loops
from wmhub.model.loop_table import LoopTable, accumulated
from wmhub.model.movement import element_bytes, written_bytes
from wmhub.model.working_sets import working_sets
from wmhub.nest import THREADS, Stage, pipeline_depth, trips
from wmhub.program import OPERATIONS, arithmetic
from wmhub.replay.limits import WARP, threads_of
from wmhub.trajectory import Trajectories

#: Axes described per stage: spatial ones counted from the innermost, then reductions.
_SPATIAL_AXES, _REDUCTION_AXES = 4, 3
#: Levels of a tiled axis, counted from the innermost.
_SPATIAL_LEVELS, _REDUCTION_LEVELS = 5, 3
#: Beginnings of the columns with which a program gets slower, or faster, all else being equal (as
#: many threads store in fewer sectors). What trees find to the contrary in the workloads of a
#: dataset is not so in others.
_SLOWS = ("gpu.ratio.", "gpu.warp.conflict", "gpu.warp.load", "gpu.warp.store")
_HASTENS = ("gpu.tail", "thread_use")


def directions_of(columns: Sequence[str]) -> list[int]:
    """For each structured column 1 where speed may only grow with it, -1 where it may only fall,
    and 0 where it depends."""
    return [name.startswith(_HASTENS) - name.startswith(_SLOWS) for name in columns]


def main_stage(trajectories: Trajectories) -> Stage:
    """The stage that does most of the work: most executed operations, then most loops.

    It depends on the structure alone, so that a candidate's features do not depend on which other
    candidates are looked at together with it.
    """

    def work(stage: Stage) -> tuple[bool, float, int]:
        is_reduction = any(axis.is_reduction for axis in stage.axes)
        weight = 1.0 + arithmetic(stage.operations, is_reduction)
        return (
            stage.role in ("compute", "rfactor"),
            first_trips(stage.axes) * weight,
            len(stage.loops),
        )

    live = [s for s in trajectories.stages if not s.inlined and s.loops]
    return max(live or list(trajectories.stages), key=work)


def structured_features(
    trajectories: Trajectories, hardware: HardwareProfile
) -> tuple[np.ndarray, list[str]]:
    """Features of N candidates of one structure: float32 [N, F], and the F names.

    F and the names are the same for every structure, scheduler and device.
    """
    columns = Columns(trajectories.count)
    stage = main_stage(trajectories)
    loops = LoopTable.of(stage.loops)
    #: How often the body of the stage is executed: float64 [N or 1].
    runs = trips(stage.nest())
    threads = _threads(trajectories)
    sizes = element_bytes(trajectories)
    _axes(columns, stage)
    _parallelism(columns, trajectories, stage, loops, runs, threads, hardware)
    inner_loops(columns, stage, loops)
    working_sets(columns, trajectories, stage, loops, sizes, hardware)
    _caches(columns, trajectories, stage, runs, threads, sizes, hardware)
    _whole(columns, trajectories, stage)
    cpu_features(columns, trajectories, stage, loops, sizes, hardware)
    return columns.table(), columns.names


def _axes(columns: Columns, stage: Stage) -> None:
    #: Steps of each axis per loop that walks it, from the innermost out.
    walked: dict[int, list[np.ndarray]] = {id(axis): [] for axis in stage.axes}
    for loop in stage.loops[::-1]:
        for axis, extent in loop.parts[::-1]:
            walked.setdefault(id(axis), []).append(extent)
    for kind, most, levels in (
        ("spatial", _SPATIAL_AXES, _SPATIAL_LEVELS),
        ("reduction", _REDUCTION_AXES, _REDUCTION_LEVELS),
    ):
        axes = [a for a in stage.axes if bool(a.is_reduction) == (kind == "reduction")]
        # The axes that hold most of the iteration space, in their own order, innermost first.
        largest = sorted(axes, key=lambda a: -int(a.extent[0]))[:most]
        chosen = [a for a in axes if any(a is b for b in largest)][::-1]
        for number in range(most):
            here = chosen[number] if number < len(chosen) else None
            name = f"{kind}{number}"
            columns.log2(f"{name}.extent", here.extent if here else 0.0)
            steps = walked[id(here)] if here else []
            tile: np.ndarray | float = 1.0
            for level in range(levels):
                step = steps[level] if level < len(steps) else None
                columns.log2(f"{name}.step{level}", 1.0 if step is None else step)
                if level < levels - 1:
                    tile = tile if step is None else tile * np.maximum(step, 1)
                    columns.log2(f"{name}.tile{level}", tile)


def _annotated(stage: Stage, words: Sequence[str]) -> np.ndarray:
    return trips([loop for loop in stage.loops if loop.annotation in words])


def _most(trajectories: Trajectories, words: Sequence[str]) -> np.ndarray:
    """Iterations of a stage's loops that are annotated with one of ``words``, of the stage that has
    most; copies do not count. float64 [N or 1]."""
    most = np.ones(1)
    for stage in trajectories.stages:
        if not stage.inlined and stage.role != "cache_read":
            found = [loop for loop in stage.loops if loop.annotation in words]
            most = np.maximum(most, trips(found)) if found else most
    return most


def _threads(trajectories: Trajectories) -> np.ndarray:
    """Threads of a block, of the kernel that has most; copies do not count. float64 [N or 1]."""
    most = np.ones(1)
    for stage in trajectories.stages:
        found = [loop for loop in stage.loops if loop.annotation in THREADS]
        if found and not stage.inlined and stage.role != "cache_read":
            most = np.maximum(most, threads_of(stage, found, trajectories.stages))
    return most


def _parallelism(
    columns: Columns,
    trajectories: Trajectories,
    stage: Stage,
    loops: LoopTable,
    runs: np.ndarray,
    threads: np.ndarray,
    hardware: HardwareProfile,
) -> None:
    grid, virtual = _most(trajectories, GRID), _most(trajectories, VIRTUAL)
    parallel = _most(trajectories, ("parallel",))
    # MetaSchedule leaves the parallel loops to a post-processor, which fuses the outermost
    # spatial loops; so what is parallel is bounded by the leading spatial extents.
    leading = trips(list(takewhile(lambda loop: not loop.is_reduction, stage.nest())))
    # Blocks of a GPU are told, and the loops behind them are its threads.
    is_told = (parallel > 1) | (grid > 1)
    units = np.maximum(np.maximum(grid, parallel), np.where(is_told, 1, leading))
    cores = float(hardware.cores)
    waves = np.ceil(units / cores)
    columns.log2("grid", grid)
    columns.log2("threads", threads)
    columns.log2("virtual", virtual)
    columns.log2("parallel", parallel)
    columns.log2("leading", leading)
    columns.log2("first", stage.loops[0].extent if stage.loops else 1.0)
    columns.log2("waves", waves)
    columns.add("core_use", units / (waves * cores))
    columns.add("thread_use", threads / (warps_of(threads, hardware) * WARP))
    columns.log2("grid.per_core", grid * 16 / cores)
    columns.log2("threads.total", grid * threads)
    columns.log2("work.per_thread", runs / np.maximum(grid * threads, 1))
    columns.log2("vectorize", _annotated(stage, ("vectorize",)))
    columns.log2("unrolled", _annotated(stage, ("unroll",)))
    unroll = annotation_of(trajectories, stage, UNROLL_KEYS)
    depth = np.zeros(1) if unroll is None else unroll
    columns.add("unroll.max_step", np.log2(np.maximum(depth, 0.0) + 1.0))
    first = 0
    if hardware.is_gpu and stage.host is not None and stage.is_whole:
        # The levels of an Ansor tiling before its reduction are those that its host has bound.
        first = next((at for at, loop in enumerate(stage.loops) if loop.is_reduction), 0)
    inner = [
        at >= first and loop.annotation not in GRID + THREADS + VIRTUAL
        for at, loop in enumerate(stage.loops)
    ]
    # Of each inner part of the nest its iterations, from the inside out; all virtual threads of a
    # thread stand in it, as they are written out before loops are unrolled.
    bodies = accumulated(np.multiply, loops.sizes[inner][::-1])
    if hardware.is_gpu:
        bodies = bodies * virtual
    fits = np.where(bodies <= depth, bodies, 1)
    columns.log2("unroll.body", fits.max(axis=0, initial=1))


def _caches(
    columns: Columns,
    trajectories: Trajectories,
    stage: Stage,
    runs: np.ndarray,
    threads: np.ndarray,
    sizes: Mapping[str, float],
    hardware: HardwareProfile,
) -> None:
    """Cache stages: what is copied to faster memory, how often, and how it is spread."""
    copies = copies_of(trajectories.stages)
    shared, loaded = np.zeros(1), np.zeros(1)
    #: What copies to shared memory together, once for all of a block's threads, in loops.
    block = _most(trajectories, THREADS) * _most(trajectories, VIRTUAL)
    for number in range(CACHES):
        name = f"cache{number}"
        if number >= len(copies):
            for what in ("tile", "rounds", "vector", "depth"):
                columns.add(f"{name}.{what}", 0.0)
            continue
        copy = copies[number]
        tile, rounds = tile_of(copy), rounds_of(copy, block)
        columns.log2(f"{name}.tile", tile)
        columns.log2(f"{name}.rounds", rounds)
        columns.log2(f"{name}.vector", vector_of(copy))
        columns.add(f"{name}.depth", float(copy.depth))
        # Fragments of a matrix that a warp holds are in registers.
        if copy.scope.startswith("shared") or not hardware.is_gpu:
            held = tile * written_bytes(copy, sizes)
            shared, loaded = shared + held, loaded + held * rounds
    shared = shared * pipeline_depth(trajectories.stages)
    columns.log2("shared.bytes", shared)
    capacity = max(hardware.shared_memory_bytes, 1)
    most = residency(hardware.key)
    by_shared = np.floor(capacity / np.maximum(shared, capacity / most.blocks))
    resident = np.minimum(by_shared, most.warps // warps_of(threads, hardware))
    columns.log2("occupancy.threads", resident * threads if hardware.is_gpu else 0.0)
    columns.log2("occupancy.blocks", resident if hardware.is_gpu else 0.0)
    columns.log2("shared.loaded", loaded)
    columns.log2("shared.intensity", runs * 16.0 / np.maximum(loaded, 1))
    columns.log2("shared.per_thread", shared / np.maximum(threads, 1))
    gpu_features(columns, trajectories, stage, sizes, shared, hardware)


def _inside(hosted: Stage) -> np.ndarray:
    """Iterations of a hosted stage for one of the loops around it: float64 [N or 1]."""
    if hosted.is_whole:
        return np.asarray(np.maximum(trips(hosted.loops) / trips(hosted.outer_loops()), 1.0))
    return trips(hosted.loops[hosted.depth :])


def _whole(columns: Columns, trajectories: Trajectories, stage: Stage) -> None:
    stages = trajectories.stages
    # One that was made a block stands among them twice.
    live = [s for s in stages if not s.inlined and not s.inner]
    columns.add("stages.live", float(len(live)))
    columns.add("stages.inlined", float(sum(s.inlined for s in stages)))
    for role in ("cache_read", "cache_write", "rfactor", "init", "reindex"):
        columns.add(f"stages.{role}", float(sum(s.role == role for s in live)))
    hosted = [s for s in live if s.host is not None and s.role in ("compute", "cache_write")]
    for number in range(3):
        other = hosted[number] if number < len(hosted) else None
        share = other.depth / max(1, len(other.host.loops)) if other and other.host else -1.0
        columns.add(f"hosted{number}.depth", share)
        columns.log2(f"hosted{number}.size", _inside(other) if other else 1.0)
        columns.log2(f"hosted{number}.trips", trips(other.loops) if other else 1.0)
    rest = total(trips(s.loops) for s in live if s is not stage)
    columns.log2("rest.trips", rest)
    columns.add("loops", float(len(stage.loops)))
    columns.log2("trips", trips(stage.loops))
    operations = stage.operations or (0.0,) * len(OPERATIONS)
    for name, count in zip(OPERATIONS, operations):
        columns.log2(f"operations.{name}", 1.0 + count)
    program = trajectories.program
    columns.log2("flops", 1.0 + program.flops if program else 1.0)
