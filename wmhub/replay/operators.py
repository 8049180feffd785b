"""What Ansor's logs leave out of an operator: what it reads, what its copies hold, what it reduces.

The logs hold no program. A tiled nest tells the operator by its axes: 2 spatial ones and 1 of a
reduction are a matrix product, 3 and 1 a batch of them, 4 and 3 a convolution, 4 and 2 a depthwise
one. Of any other nest nothing is told: better nothing than something wrong.

What a copy to shared memory holds is derived as well. The extent that a log has in the split of a
copy is that of another candidate: TVM replaces the lengths of a tiling when it mutates one
(``MutateTileSize``, src/auto_scheduler/search_policy/sketch_policy_rules.cc), and never the extents
of the steps behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.nest import THREADS, Axis, Loop, Stage, extents, span, steps_of
from wmhub.program import Access, Index

#: Steps by which a window may move; the first that fits a size in the workload's key is taken.
_STRIDES = range(1, 5)


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


def mark_reductions(stage: Stage) -> None:
    """Tells reduction axes from spatial ones.

    A multi-level tiling splits spatial axes into more levels, and stages that follow a split walk
    spatial axes only. Where threads walk the inner part of an axis that no block walks, they reduce
    it together.
    """
    levels = _levels(stage)
    most = max(levels, default=0)
    blocks = {id(a) for loop in _bound(stage, ("blockIdx.x",)) for a, _ in loop.parts}
    threads = [loop.parts[0][0] for loop in _bound(stage, THREADS) if len(loop.parts) == 1]
    for axis, level in zip(stage.axes, levels):
        if axis.is_reduction is None:
            tiled = stage.role == "compute" and 2 < most != level
            alone = bool(blocks) and id(axis) not in blocks and any(axis is a for a in threads)
            axis.is_reduction = tiled or (alone and level > 1)


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


def accesses_of(stage: Stage, shape: Sequence[int]) -> tuple[list[Access], list[Access]]:
    """What the tiled ``stage`` reads and writes, over its axes; nothing of an unknown operator.

    ``shape``: numbers of the workload's key, which tell by how much a window moves.
    """
    levels = _levels(stage)
    most = max(levels, default=0)
    if most <= 2:
        return [], []
    spatial = [at for at, level in enumerate(levels) if level == most]
    reduced = [at for at, level in enumerate(levels) if level != most]
    kind = len(spatial), len(reduced)
    if kind in ((2, 1), (3, 1)):
        *batch, row, column = spatial
        dimensions = [[*batch, row, *reduced], [*batch, *reduced, column]]
        reads = [[Index("var", at) for at in one] for one in dimensions]
    elif kind in ((4, 3), (4, 2)):
        reads = _window(stage.axes, spatial, reduced, shape)
    else:
        return [], []
    operands = [Access(f"operand{n}", tuple(indices)) for n, indices in enumerate(reads)]
    return operands, [Access("result", tuple(Index("var", at) for at in spatial))]


def _window(
    axes: Sequence[Axis], spatial: Sequence[int], reduced: Sequence[int], shape: Sequence[int]
) -> list[list[Index]]:
    """Indices of image and weights of a convolution, channels first or last."""
    size = {at: int(axes[at].extent.max()) for at in (*spatial, *reduced)}
    is_dense = len(reduced) == 3
    if is_dense:
        # Both sides of a window are alike, and the channels stand beside them.
        first, second, third = (size[at] for at in reduced)
        channels_last = first == second != third
    else:
        channels_last = size[spatial[1]] == size[spatial[2]] != size[spatial[3]]
    batch, *rest = spatial
    *image, channel = rest if channels_last else [*rest[1:], rest[0]]
    window = list(reduced)
    inner = (window.pop() if channels_last else window.pop(0)) if is_dense else channel
    stride = _stride(size[image[0]], size[window[0]], shape)
    walked = [_moved(at, stride, by) for at, by in zip(image, window)]
    own, weights = Index("var", inner), [Index("var", at) for at in window]
    out = [Index("var", channel)] if is_dense else []
    if channels_last:
        return [[Index("var", batch), *walked, own], [*weights, own, *out]]
    return [[Index("var", batch), own, *walked], [*out, own, *weights]]


def _moved(image: int, stride: int, window: int) -> Index:
    place = Index("var", image)
    if stride > 1:
        place = Index("*", 0, (place, Index("const", stride)))
    return Index("+", 0, (place, Index("var", window)))


def _stride(image: int, window: int, shape: Sequence[int]) -> int:
    """The step by which a window of ``window`` makes ``image`` results of a size in ``shape``."""
    for stride in _STRIDES:
        if any(image in (-(-size // stride), (size - window) // stride + 1) for size in shape):
            return stride
    return 1


def copied(
    host: Stage, access: Access, location: Loop
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Elements along each dimension that a copy for ``access`` of ``host`` holds, and those there
    are. int64 [N or 1] each.

    Computed at ``location``, it holds what one block reads in one of the reduction's outer steps:
    of spatial axes all levels but the outermost, of others those inside the location.
    """
    inside = host.loops[host.index(location) + 1 :]
    most = max(levels := _levels(host), default=0)
    tiles = []
    for axis, level in zip(host.axes, levels):
        walking = [loop for loop in host.loops if any(owner is axis for owner, _ in loop.parts)]
        tiles.append(steps_of(walking[1:] if level == most else inside, axis))
    sizes = [np.maximum(axis.extent, 1) for axis in host.axes]
    return tuple((span(index, tiles), span(index, sizes)) for index in access.indices)


def _levels(stage: Stage) -> list[int]:
    """Loops that walk each axis."""
    return [
        sum(1 for loop in stage.loops for owner, _ in loop.parts if owner is axis)
        for axis in stage.axes
    ]


def _bound(stage: Stage, words: Sequence[str]) -> list[Loop]:
    return [loop for loop in stage.loops if loop.annotation in words]
