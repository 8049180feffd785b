"""What parts of a nest touch, and which part each level of memory holds.

For each cache the data that has to pass through it: the largest inner part of the nest whose
working set fits, as often as it runs; an analytical model as in Low et al., "Analytical Modeling Is
Enough for High-Performance BLIS", TOMS 2016. And what a reduction holds in registers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.model.columns import ACCESSES, ELEMENT_BYTES, INNER_LOOPS, Columns, log2
from wmhub.nest import Stage, extents, span
from wmhub.trajectory import Trajectories


def working_sets(
    columns: Columns, trajectories: Trajectories, stage: Stage, hardware: HardwareProfile
) -> None:
    """For each cache: the traffic through it, and the nest's part that fits."""
    caches = {
        "register": hardware.register_bytes / 2,
        "l1": hardware.l1_bytes,
        "l2": hardware.l2_bytes,
        "l3": hardware.l3_bytes or hardware.l2_bytes * 4,
    }
    depths = range(len(stage.loops) + 1)
    known = bool(stage.reads or stage.writes)
    prints = _footprints(trajectories, stage) if known else []
    totals = np.zeros((len(depths), columns.count))
    moved = np.zeros((len(depths), columns.count))
    trips = extents(1)
    for depth in depths if known else ():
        if depth:
            trips = trips * np.maximum(stage.loops[depth - 1].extent, 1)
        totals[depth] = sum(prints[depth], np.zeros(1)) * ELEMENT_BYTES
        # A tensor that does not move with the loops just outside stays in the cache.
        moved[depth] = trips.astype(np.float64) * totals[depth]
    compulsory = totals[0] if known else np.ones(1)
    every = np.arange(columns.count)
    for name, size in caches.items():
        traffic, tile, reuse = np.zeros(1), np.zeros(1), np.ones(1)
        if known:
            fits = totals <= size
            outermost = fits.argmax(axis=0)
            some = fits[outermost, every]
            passed = moved[outermost, every]
            traffic = np.where(some, passed, traffic)
            tile = np.where(some, totals[outermost, every], tile)
            reuse = np.where(some, trips.astype(np.float64) / np.maximum(passed, 1), reuse)
        columns.add(f"{name}.traffic", log2(traffic))
        columns.add(f"{name}.traffic.excess", log2(traffic / np.maximum(compulsory, 1)))
        columns.add(f"{name}.tile", log2(tile))
        columns.add(f"{name}.reuse", np.log2(np.maximum(reuse, 1e-3)))
    for k in range(ACCESSES):
        for level in range(1, INNER_LOOPS + 1):
            depth = len(stage.loops) - 2 * level
            inside = known and depth >= 0 and k < len(prints[0])
            columns.add(f"access{k}.footprint{level}", log2(prints[depth][k]) if inside else 0.0)
    columns.add("compulsory", log2(compulsory))
    _held(columns, stage, prints)


def _footprints(trajectories: Trajectories, stage: Stage) -> list[list[np.ndarray]]:
    """Elements of each tensor touched by the loops from each depth inward."""
    buffers = trajectories.program.buffers if trajectories.program else {}
    accesses = []
    for access in [*stage.writes, *stage.reads]:
        buffer = buffers.get(access.buffer.split(".")[0])
        limits = buffer.shape if buffer is not None else ()
        known = [v for index in access.indices for v in index.variables() if v < len(stage.axes)]
        accesses.append((access.indices, limits, known))
    found: list[list[np.ndarray]] = []
    outer: list[np.ndarray] = []
    for tiles in stage.tiles_by_depth():
        sizes = []
        for number, (indices, limits, walked) in enumerate(accesses):
            # Most loops leave most tensors alone: their axes' tiles are those one loop outside.
            if outer and all(tiles[v] is outer[v] for v in walked):
                sizes.append(found[-1][number])
                continue
            size = np.ones(1)
            for dimension, index in enumerate(indices):
                width = span(index, tiles)
                if dimension < len(limits):
                    width = np.minimum(width, limits[dimension])
                size = size * width
            sizes.append(size)
        found.append(sizes)
        outer = tiles
    return found


def _held(columns: Columns, stage: Stage, prints: Sequence[Sequence[np.ndarray]]) -> None:
    """What the innermost reduction loop that iterates holds: accumulators that live through it and
    the reduction loops around it, and elements of each tensor that each of its steps touches."""
    within = np.full(columns.count, len(stage.loops))
    tile, steps = np.ones(1), np.ones(1)
    found, adjacent = np.zeros(1, bool), np.ones(1, bool)
    for depth, loop in reversed(list(enumerate(stage.loops, 1))):
        extent = np.maximum(loop.extent, 1)
        if loop.is_reduction:
            within = np.where(~found & (extent > 1), depth, within)
            found = found | (extent > 1)
            steps = np.where(found & adjacent, steps * extent, steps)
        else:
            tile = np.where(found, tile, tile * extent)
            adjacent = adjacent & (~found | (extent == 1))
    columns.add("held.tile", log2(tile))
    columns.add("held.steps", log2(steps))
    touched = np.zeros((ACCESSES, columns.count))
    for depth in np.unique(within) if prints else ():
        at = within == depth
        for row, size in zip(touched, prints[depth]):
            row[at] = size[at] if len(size) > 1 else size
    for k in range(ACCESSES):
        columns.add(f"held.access{k}", log2(touched[k]))
    loaded = touched[1:].sum(axis=0)
    columns.add("held.intensity", np.log2(np.maximum(tile / np.maximum(loaded, 1.0), 1e-3)))
