"""What parts of a nest touch, and which part each level of memory holds.

For each cache the data that has to pass through it: the largest inner part of the nest whose
working set fits, as often as it runs; an analytical model as in Low et al., "Analytical Modeling Is
Enough for High-Performance BLIS", TOMS 2016. And what a reduction holds in registers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.model.columns import ACCESSES, INNER_LOOPS, Columns, total
from wmhub.model.loop_table import LoopTable, accumulated, inclusive
from wmhub.model.movement import elements_of
from wmhub.nest import Stage
from wmhub.trajectory import Trajectories


def working_sets(
    columns: Columns,
    trajectories: Trajectories,
    stage: Stage,
    loops: LoopTable,
    sizes: Mapping[str, float],
    hardware: HardwareProfile,
) -> None:
    """For each cache: the traffic through it, and the nest's part that fits.

    ``loops`` are those of ``stage``, ``sizes`` the bytes of an element of each buffer.
    """
    caches = {
        "register": hardware.register_bytes / 2,
        "l1": hardware.l1_bytes,
        "l2": hardware.l2_bytes,
        "l3": hardware.l3_bytes or hardware.l2_bytes * 4,
    }
    known = bool(stage.reads or stage.writes)
    prints = _footprints(trajectories, stage) if known else []
    trips = inclusive(loops.sizes).astype(np.float64)
    totals = np.zeros((len(trips), 1))
    for access, size in zip([*stage.writes, *stage.reads], prints):
        totals = totals + size * sizes[access.buffer]
    # A tensor that does not move with the loops just outside stays in the cache.
    moved = trips * totals
    totals = np.broadcast_to(totals, moved.shape)
    compulsory = totals[0] if known else np.ones(1)
    # Of each cache, float64 [caches, N or 1].
    traffic = tile = np.zeros((len(caches), 1))
    reuse = np.ones((len(caches), 1))
    if known:
        fits = totals <= np.array(list(caches.values()))[:, None, None]
        outermost = fits.argmax(axis=1)
        every = np.arange(moved.shape[1])
        some = fits.any(axis=1)
        passed = moved[outermost, every]
        traffic = np.where(some, passed, 0.0)
        tile = np.where(some, totals[outermost, every], 0.0)
        reuse = np.where(some, trips[-1] / np.maximum(passed, 1), 1.0)
    excess = traffic / np.maximum(compulsory, 1)
    for number, name in enumerate(caches):
        columns.log2(f"{name}.traffic", traffic[number])
        columns.log2(f"{name}.traffic.excess", excess[number])
        columns.log2(f"{name}.tile", tile[number])
        columns.log2(f"{name}.reuse", reuse[number], least=1e-3)
    for k in range(ACCESSES):
        for level in range(1, INNER_LOOPS + 1):
            depth = len(stage.loops) - 2 * level
            inside = depth >= 0 and k < len(prints)
            columns.log2(f"access{k}.footprint{level}", prints[k][depth] if inside else 0.0)
    columns.log2("compulsory", compulsory)
    _held(columns, loops, prints)


def _footprints(trajectories: Trajectories, stage: Stage) -> list[np.ndarray]:
    """Elements of each tensor touched by the loops from each depth inward: float64
    [L + 1, N or 1] each."""
    shapes = trajectories.shapes
    tiles = stage.tiles_by_depth()
    depths = np.ones((len(stage.loops) + 1, 1))
    return [depths * elements_of(access, tiles, shapes) for access in [*stage.writes, *stage.reads]]


def _held(columns: Columns, loops: LoopTable, prints: Sequence[np.ndarray]) -> None:
    """What the innermost reduction loop that iterates holds: accumulators that live through it and
    the reduction loops around it, and elements of each tensor that each of its steps touches."""
    sizes, is_reduction = loops.sizes[::-1].astype(np.float64), loops.is_reduction[::-1]
    # From the inside out: whether that loop has been met.
    met = accumulated(np.logical_or, is_reduction & (sizes > 1))
    within = np.where(met.any(axis=0), met.sum(axis=0), len(sizes))
    tile = np.where(met | is_reduction, 1.0, sizes).prod(axis=0)
    # A spatial loop that iterates parts the reduction loops around it from those inside.
    parted = accumulated(np.logical_or, met & ~is_reduction & (sizes > 1))
    steps = np.where(met & is_reduction & ~parted, sizes, 1.0).prod(axis=0)
    columns.log2("held.tile", tile)
    columns.log2("held.steps", steps)
    touched = [np.zeros(1) for _ in range(ACCESSES)]
    for k, size in enumerate(prints[:ACCESSES]):
        touched[k] = size[within, np.arange(size.shape[1])]
    for k in range(ACCESSES):
        columns.log2(f"held.access{k}", touched[k])
    loaded = total(touched[1:])
    columns.log2("held.intensity", tile / np.maximum(loaded, 1.0), least=1e-3)
