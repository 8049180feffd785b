"""What Ansor's logs leave out of a nest: what it reduces, how far it goes, what its copies hold.

The extent that a log has in the split of a copy to shared memory is that of another candidate: TVM
replaces the lengths of a tiling when it mutates one (``MutateTileSize``,
src/auto_scheduler/search_policy/sketch_policy_rules.cc), and never the extents of the steps behind
it. So what a copy holds is derived, from what its host reads (`operands`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.nest import THREADS, Loop, Stage, extents, span, steps_of
from wmhub.program import Access
from wmhub.replay.operands import levels_of

#: Steps that add a stage behind the one that they name.
_ADDING = ("CHR", "CHW", "RF")


def original_stages(steps: Sequence[Any]) -> int:
    """Stages of the program that ``steps`` schedule, up to the last that any of them names.

    Names of operators are not always told apart by their keys: NNFusion logs a convolution alone
    and one with what follows it under one.
    """
    added = last = 0
    for step in steps:
        named = step[1:3] if step[0] == "CA" else step[1:2]
        last = max(last, *(number + 1 - added for number in named), 0)
        added += step[0] in _ADDING
    return last


def mark_reductions(stage: Stage, stages: Sequence[Stage]) -> None:
    """Tells reduction axes from spatial ones.

    A multi-level tiling splits spatial axes into more levels, and stages that follow a split walk
    spatial axes only. Where threads walk the inner part of an axis that no block walks, they reduce
    it together; where another stage, computed inside, has threads of its own, it is that one that
    does, and its host uses what comes of it (``RuleCrossThreadReduction``).
    """
    levels = levels_of(stage)
    most = max(levels, default=0)
    blocks = {id(a) for loop in _bound(stage, ("blockIdx.x",)) for a, _ in loop.parts}
    threads = [loop.parts[0][0] for loop in _bound(stage, THREADS) if len(loop.parts) == 1]
    reduces = bool(blocks) and not any(_reduces_inside(one) and one.host is stage for one in stages)
    reduces |= _reduces_inside(stage)
    for axis, level in zip(stage.axes, levels):
        if axis.is_reduction is None:
            tiled = stage.role == "compute" and 2 < most != level
            alone = reduces and id(axis) not in blocks and any(axis is a for a in threads)
            axis.is_reduction = tiled or (alone and level > 1)


def _reduces_inside(stage: Stage) -> bool:
    """Whether it is computed inside another stage with threads of its own, and no copy."""
    is_inside = stage.host is not None and stage.role != "cache_read"
    return is_inside and bool(_bound(stage, THREADS))


def fill_extents(stage: Stage, shape: Sequence[int]) -> None:
    """Gives axes of unknown extent the numbers of the workload's key, where the known ones are
    those at their own places."""
    known = [(int(axis.extent.max()), at) for at, axis in enumerate(stage.axes)]
    fits = [at < len(shape) and shape[at] == extent for extent, at in known if extent > 0]
    if not fits or not all(fits) or len(shape) < len(stage.axes):
        return
    for axis, size in zip(stage.axes, shape):
        if axis.extent.max() == 0 and size > 0:
            axis.extent = extents(size)
            for loop in stage.loops:
                if len(loop.parts) == 1 and loop.parts[0][0] is axis and loop.extent.max() == 0:
                    loop.extent, loop.parts = axis.extent, ((axis, axis.extent),)


def copied(
    host: Stage, access: Access, location: Loop
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Elements along each dimension that a copy for ``access`` of ``host`` holds, and those there
    are. int64 [N or 1] each.

    Computed at ``location``, it holds what one block reads in one of the reduction's outer steps:
    of spatial axes all levels but the outermost, of others those inside the location.
    """
    inside = host.loops[host.index(location) + 1 :]
    most = max(levels := levels_of(host), default=0)
    tiles = []
    for axis, level in zip(host.axes, levels):
        walking = [loop for loop in host.loops if any(owner is axis for owner, _ in loop.parts)]
        tiles.append(steps_of(walking[1:] if level == most else inside, axis))
    sizes = [np.maximum(axis.extent, 1) for axis in host.axes]
    return tuple((span(index, tiles), span(index, sizes)) for index in access.indices)


def _bound(stage: Stage, words: Sequence[str]) -> list[Loop]:
    return [loop for loop in stage.loops if loop.annotation in words]
