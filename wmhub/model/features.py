"""Structured features of scheduled programs, from their loop nests alone.

What a schedule's speed depends on, read off the final nests: tile sizes per axis and level,
parallelism against cores, the innermost loops and how each tensor moves under them, what has to
pass through each cache (`wmhub.model.working_sets`), and what only means something on one kind of
device (`wmhub.model.cpu_features`, `wmhub.model.gpu_features`). Extents and bytes enter as base-2
logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.model.columns import ACCESSES, ELEMENT_BYTES, INNER_LOOPS, Columns, log2
from wmhub.model.cpu_features import UNROLL_KEYS, cpu_features
from wmhub.model.gpu_features import CACHES, GRID, THREADS, VIRTUAL, gpu_features
from wmhub.model.working_sets import working_sets
from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.program import OPERATIONS
from wmhub.trajectory import Trajectories

#: Axes described per stage: spatial ones counted from the innermost, then reductions.
SPATIAL_AXES, REDUCTION_AXES = 4, 3
#: Levels of a tiled axis, counted from the innermost.
SPATIAL_LEVELS, REDUCTION_LEVELS = 5, 3


def main_stage(trajectories: Trajectories) -> Stage:
    """The stage that does most of the work: most executed operations, then most loops.

    It depends on the structure alone, so that a candidate's features do not depend on which other
    candidates are looked at together with it.
    """

    def work(stage: Stage) -> tuple[bool, float, int]:
        trips = 1.0
        for axis in stage.axes:
            trips *= max(1, int(axis.extent[0]))
        weight = 1.0 + sum(stage.operations[:-1]) if stage.operations else 1.0
        return stage.role in ("compute", "rfactor"), trips * weight, len(stage.loops)

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
    _axes(columns, stage)
    _parallelism(columns, trajectories, stage, hardware)
    _inner_loops(columns, stage)
    working_sets(columns, trajectories, stage, hardware)
    _caches(columns, trajectories, stage, hardware)
    _whole(columns, trajectories, stage)
    cpu_features(columns.add, trajectories, stage, hardware)
    return columns.table(), columns.names


def _levels(stage: Stage, axis: Axis) -> list[np.ndarray]:
    """Steps of ``axis`` per loop that walks it, from the innermost out."""
    found = [extent for loop in stage.loops for owner, extent in loop.parts if owner is axis]
    return found[::-1]


def _axes(columns: Columns, stage: Stage) -> None:
    for kind, most, levels in (
        ("spatial", SPATIAL_AXES, SPATIAL_LEVELS),
        ("reduction", REDUCTION_AXES, REDUCTION_LEVELS),
    ):
        axes = [a for a in stage.axes if bool(a.is_reduction) == (kind == "reduction")]
        # The axes that hold most of the iteration space, in their own order, innermost first.
        largest = sorted(axes, key=lambda a: -int(a.extent[0]))[:most]
        chosen = [a for a in axes if any(a is b for b in largest)][::-1]
        for number in range(most):
            axis = chosen[number] if number < len(chosen) else None
            name = f"{kind}{number}"
            columns.add(f"{name}.extent", log2(axis.extent) if axis else 0.0)
            steps = _levels(stage, axis) if axis else []
            tile = extents(1)
            for level in range(levels):
                step = steps[level] if level < len(steps) else extents(1)
                columns.add(f"{name}.step{level}", log2(step))
                tile = tile * np.maximum(step, 1)
                if level < levels - 1:
                    columns.add(f"{name}.tile{level}", log2(tile))


def _product(loops: Sequence[Loop]) -> np.ndarray:
    product = extents(1)
    for loop in loops:
        product = product * np.maximum(loop.extent, 1)
    return product


def _annotated(stage: Stage, words: Sequence[str]) -> np.ndarray:
    return _product([loop for loop in stage.loops if loop.annotation in words])


def _parallelism(
    columns: Columns, trajectories: Trajectories, stage: Stage, hardware: HardwareProfile
) -> None:
    around = [*stage.outer_loops(), *stage.loops]
    grid = threads = virtual = parallel = extents(1)
    for other in trajectories.stages:
        if other.inlined or other.role == "cache_read":
            continue
        grid = np.maximum(grid, _annotated(other, GRID))
        threads = np.maximum(threads, _annotated(other, THREADS))
        virtual = np.maximum(virtual, _annotated(other, VIRTUAL))
        parallel = np.maximum(parallel, _annotated(other, ("parallel",)))
    # MetaSchedule leaves the parallel loops to a post-processor, which fuses the outermost
    # spatial loops; so what is parallel is bounded by the leading spatial extents.
    leading = extents(1)
    for loop in around:
        if loop.is_reduction:
            break
        leading = leading * np.maximum(loop.extent, 1)
    first = np.maximum(stage.loops[0].extent, 1) if stage.loops else extents(1)
    units = np.maximum(np.maximum(grid, parallel), np.where(parallel > 1, 1, leading))
    cores = float(hardware.cores)
    waves = np.ceil(units / cores)
    columns.add("grid", log2(grid))
    columns.add("threads", log2(threads))
    columns.add("virtual", log2(virtual))
    columns.add("parallel", log2(parallel))
    columns.add("leading", log2(leading))
    columns.add("first", log2(first))
    columns.add("waves", log2(waves))
    columns.add("core_use", units / (waves * cores))
    columns.add("thread_use", threads / (np.ceil(threads / 32.0) * 32.0))
    columns.add("grid.per_core", log2(grid * 16 / cores))
    columns.add("threads.total", log2(grid * threads))
    work = _product(around)
    columns.add("work.per_thread", log2(work / np.maximum(grid * threads, 1)))
    columns.add("vectorize", log2(_annotated(stage, ("vectorize",))))
    columns.add("unrolled", log2(_annotated(stage, ("unroll",))))
    unroll = [stage.annotations[key] for key in UNROLL_KEYS if key in stage.annotations]
    if not unroll:
        everywhere = [s.annotations for s in trajectories.stages]
        unroll = [a[key] for a in everywhere for key in UNROLL_KEYS if key in a]
    depth = unroll[0] if unroll else np.zeros(1)
    columns.add("unroll.max_step", np.log2(depth + 1.0))
    inner = [loop for loop in stage.loops if loop.annotation not in GRID + THREADS]
    body = extents(1)
    fits = extents(1)
    for loop in inner[::-1]:
        body = body * np.maximum(loop.extent, 1)
        fits = np.where(body <= depth, body, fits)
    columns.add("unroll.body", log2(fits))


def _movement(stage: Stage, loop: Loop, variables: Sequence[Sequence[int]]) -> int:
    """0: an access does not move with ``loop``; 1: along its last dimension; 2: else.

    ``variables``: numbers of the axes in each dimension's index.
    """
    owners = [owner for owner, _ in loop.parts]
    moving = {number for number, axis in enumerate(stage.axes) if axis in owners}
    moved = -1
    for dimension, used in enumerate(variables):
        if not moving.isdisjoint(used):
            moved = dimension
    if moved < 0:
        return 0
    return 1 if moved == len(variables) - 1 else 2


def _inner_loops(columns: Columns, stage: Stage) -> None:
    """The innermost loops that really iterate (unit loops differ by candidate), one by one."""
    nest = stage.loops[::-1]
    accesses = [
        [index.variables() for index in access.indices]
        for access in [*stage.writes, *stage.reads][:ACCESSES]
    ]
    rows = np.ones((len(nest) + 1, columns.count), dtype=np.int64)
    for row, loop in zip(rows, nest):
        row[:] = np.maximum(loop.extent, 1)
    runs = rows > 1
    number_of = np.cumsum(runs, axis=0)
    reduction = np.array([loop.is_reduction for loop in nest] + [False])
    movement = np.array(
        [[_movement(stage, loop, access) for access in accesses] for loop in nest]
        + [[0] * len(accesses)]
    ).reshape(len(nest) + 1, len(accesses))
    every = np.arange(columns.count)
    for number in range(INNER_LOOPS):
        here = runs & (number_of == number + 1)
        at = np.where(here.any(axis=0), here.argmax(axis=0), len(nest))
        name = f"inner{number}"
        extent = rows[at, every]
        columns.add(f"{name}.extent", log2(extent))
        columns.add(f"{name}.odd", log2(extent // (extent & -extent)))
        columns.add(f"{name}.is_reduction", reduction[at])
        for k in range(ACCESSES):
            moved = movement[at, k] if k < len(accesses) else np.zeros(1)
            columns.add(f"{name}.access{k}.contiguous", moved == 1)
            columns.add(f"{name}.access{k}.strided", moved == 2)
    # How far the contiguous spatial work reaches before the first reduction loop.
    inside = np.cumsum(runs & reduction[:, None], axis=0) == 0
    run = np.where(inside, rows, 1).prod(axis=0)
    columns.add("innermost.spatial_run", log2(run))
    # Vectors of 24 or 48 elements are taken apart by code generators: 10 to 30 times slower.
    columns.add("innermost.spatial_run.odd", log2(run // (run & -run)))


def _caches(
    columns: Columns, trajectories: Trajectories, stage: Stage, hardware: HardwareProfile
) -> None:
    """Cache stages: what is copied to faster memory, how often, and how it is spread."""
    copies = [s for s in trajectories.stages if s.role == "cache_read" and not s.inlined]
    shared, loaded = np.zeros(1), np.zeros(1)
    trips_of_host = _product([*stage.outer_loops(), *stage.loops])
    for number in range(CACHES):
        copy = copies[number] if number < len(copies) else None
        name = f"cache{number}"
        own = copy.loops if copy else []
        if copy is not None and copy.host is not None:
            own = [loop for loop in copy.loops if copy.host.index(loop) < 0]
        tile = _product(own)
        rounds = _product([*copy.outer_loops(), *copy.host.loops[: copy.depth]]
                          if copy is not None and copy.host is not None else [])  # fmt: skip
        cooperative = copy.annotations.get("meta_schedule.cooperative_fetch") if copy else None
        vector = cooperative if cooperative is not None else (
            _annotated(copy, ("vectorize",)) if copy else extents(1)
        )  # fmt: skip
        columns.add(f"{name}.tile", log2(tile) if copy else 0.0)
        columns.add(f"{name}.rounds", log2(rounds))
        columns.add(f"{name}.vector", log2(vector))
        columns.add(f"{name}.depth", float(copy.depth) if copy else 0.0)
        if copy is not None:
            shared = shared + tile * ELEMENT_BYTES
            loaded = loaded + tile.astype(np.float64) * rounds * ELEMENT_BYTES
    columns.add("shared.bytes", log2(shared))
    capacity = max(hardware.shared_memory_bytes, 1)
    threads = extents(1)
    for other in trajectories.stages:
        if other.role != "cache_read" and not other.inlined:
            threads = np.maximum(threads, _annotated(other, THREADS))
    by_shared = np.floor(capacity / np.maximum(shared, capacity / 32.0))
    resident = np.minimum(by_shared, np.floor(2048.0 / np.maximum(threads, 64)))
    columns.add("occupancy.threads", log2(resident * threads) if hardware.is_gpu else 0.0)
    columns.add("occupancy.blocks", log2(resident) if hardware.is_gpu else 0.0)
    columns.add("shared.loaded", log2(loaded))
    columns.add("shared.intensity", log2(trips_of_host * 16.0 / np.maximum(loaded, 1)))
    columns.add("shared.per_thread", log2(shared / np.maximum(threads, 1)))
    gpu_features(columns.add, trajectories, stage, shared, hardware)


def _whole(columns: Columns, trajectories: Trajectories, stage: Stage) -> None:
    stages = trajectories.stages
    live = [s for s in stages if not s.inlined]
    columns.add("stages.live", float(len(live)))
    columns.add("stages.inlined", float(len(stages) - len(live)))
    for role in ("cache_read", "cache_write", "rfactor", "init", "reindex"):
        columns.add(f"stages.{role}", float(sum(s.role == role for s in live)))
    hosted = [s for s in live if s.host is not None and s.role in ("compute", "cache_write")]
    for number in range(3):
        other = hosted[number] if number < len(hosted) else None
        share = other.depth / max(1, len(other.host.loops)) if other and other.host else -1.0
        columns.add(f"hosted{number}.depth", share)
        size = _product(other.loops[other.depth :]) if other else extents(1)
        columns.add(f"hosted{number}.size", log2(size))
        rounds = _product(other.loops) if other else extents(1)
        columns.add(f"hosted{number}.trips", log2(rounds))
    rest = sum((_product(s.loops).astype(np.float64) for s in live if s is not stage), np.zeros(1))
    columns.add("rest.trips", log2(rest))
    columns.add("loops", float(len(stage.loops)))
    columns.add("trips", log2(_product(stage.loops)))
    operations = stage.operations or (0.0,) * len(OPERATIONS)
    for name, count in zip(OPERATIONS, operations):
        columns.add(f"operations.{name}", float(np.log2(1.0 + count)))
    program = trajectories.program
    columns.add("flops", float(np.log2(1.0 + program.flops)) if program else 0.0)
