"""The innermost loops of a nest, one by one, and how each tensor moves under them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wmhub.model.columns import ACCESSES, INNER_LOOPS, Columns
from wmhub.model.loop_table import LoopTable, accumulated
from wmhub.nest import Stage
from wmhub.program import Access


def inner_loops(columns: Columns, stage: Stage, loops: LoopTable) -> None:
    """Adds the columns of the loops that really iterate (unit loops differ by candidate).

    ``loops`` are those of ``stage``.
    """
    accesses = [*stage.writes, *stage.reads][:ACCESSES]
    # From the inside out, and last a loop that stands for those that are not there.
    rows = np.vstack([loops.sizes[::-1], np.ones((1, loops.sizes.shape[1]), dtype=np.int64)])
    reduction = np.vstack([loops.is_reduction[::-1], np.zeros((1, 1), dtype=bool)])
    movement = _movements(stage, accesses)[:, ::-1]
    movement = np.hstack([movement, np.zeros((len(accesses), 1), dtype=np.int64)])
    runs = rows > 1
    number_of = accumulated(np.add, runs.astype(np.int16))
    #: [INNER_LOOPS, N or 1]: places in ``rows``.
    wanted = np.arange(INNER_LOOPS, dtype=np.int16)[:, None, None]
    before = np.add.reduce(number_of <= wanted, axis=1, dtype=np.int16)
    at = np.minimum(before, len(stage.loops)).astype(np.intp)
    extent = rows[at, np.arange(rows.shape[1])]
    odd = extent // (extent & -extent)
    is_reduction = reduction[at, 0]
    moved = movement[:, at]
    contiguous, strided = moved == 1, moved == 2
    for number in range(INNER_LOOPS):
        name = f"inner{number}"
        columns.log2(f"{name}.extent", extent[number])
        columns.log2(f"{name}.odd", odd[number])
        columns.add(f"{name}.is_reduction", is_reduction[number])
        for k in range(ACCESSES):
            known = k < len(accesses)
            columns.add(f"{name}.access{k}.contiguous", contiguous[k, number] if known else 0.0)
            columns.add(f"{name}.access{k}.strided", strided[k, number] if known else 0.0)
    # How far the contiguous spatial work reaches before the first reduction loop.
    outside = accumulated(np.logical_or, runs & reduction)
    run = np.where(outside, 1, rows).prod(axis=0)
    columns.log2("innermost.spatial_run", run)
    # Vectors of 24 or 48 elements are taken apart by code generators: 10 to 30 times slower.
    columns.log2("innermost.spatial_run.odd", run // (run & -run))


def _movements(stage: Stage, accesses: Sequence[Access]) -> np.ndarray:
    """How each access moves with each loop: int64 [accesses, L].

    0: not at all; 1: along its last dimension; 2: else.
    """
    number = {id(axis): at for at, axis in enumerate(stage.axes)}
    walked = [[number[id(axis)] for axis, _ in loop.parts if id(axis) in number]
              for loop in stage.loops]  # fmt: skip
    found = np.zeros((len(accesses), len(walked)), dtype=np.int64)
    for row, access in zip(found, accesses):
        dimensions = {v: at for at, index in enumerate(access.indices) for v in index.variables()}
        moved = [max([dimensions.get(v, -1) for v in axes], default=-1) for axes in walked]
        row[:] = [0 if d < 0 else 1 if d == len(access.indices) - 1 else 2 for d in moved]
    return found
