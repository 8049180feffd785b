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
from typing import Any, TypeAlias

import numpy as np

from wmhub.nest import THREADS, Axis, Loop, Stage, extents, span, steps_of
from wmhub.program import Access, Index
from wmhub.replay.workload_key import WorkloadKey

#: Indices of each operand, over the axes of a stage.
Layout: TypeAlias = "tuple[tuple[Index, ...], ...]"

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


def accesses_of(stage: Stage, key: WorkloadKey) -> tuple[list[Access], list[Access]]:
    """What the tiled ``stage`` reads and writes, over its axes; nothing of an unknown operator.

    ``key`` tells how the operands lie in memory, where it lists their shapes, and by how much a
    window moves.
    """
    levels = _levels(stage)
    most = max(levels, default=0)
    if most <= 2:
        return [], []
    spatial = [at for at, level in enumerate(levels) if level == most]
    reduced = [at for at, level in enumerate(levels) if level != most]
    kind = len(spatial), len(reduced)
    if kind in ((2, 1), (3, 1)):
        layouts = _products(spatial, reduced)
        usual = layouts[-1]
    elif kind in ((4, 3), (4, 2)):
        layouts = _convolutions(stage.axes, spatial, reduced, key.sizes)
        usual = layouts[0]
    else:
        return [], []
    fitting = [layout for layout in layouts if key.holds(_sizes(layout, stage.axes))]
    if not fitting and key.lists_tensors:
        return [], []  # in groups, or transposed: not what it looks like
    operands = fitting[0] if fitting else usual
    result = Access("result", tuple(Index("var", at) for at in spatial))
    return [Access(f"operand{n}", indices) for n, indices in enumerate(operands)], [result]


def _sizes(layout: Layout, axes: Sequence[Axis]) -> list[int | None]:
    """Shapes of the operands, one behind the other; None for what a window walks."""
    known = {"const": 1}
    return [
        int(axes[index.value].extent.max()) if index.op == "var" else known.get(index.op)
        for indices in layout
        for index in indices
    ]


def _products(spatial: Sequence[int], reduced: Sequence[int]) -> list[Layout]:
    """Both operands of a matrix product, each as it is or transposed.

    First what TVM's own ``dense`` and ``batch_matmul`` read, last what anyone writes by hand.
    """
    *batch, row, column = spatial

    def operand(*order: int) -> tuple[Index, ...]:
        return tuple(Index("var", at) for at in (*batch, *order))

    (inner,) = reduced
    left, right = operand(row, inner), operand(inner, column)
    turned_left, turned_right = operand(inner, row), operand(column, inner)
    return [
        (left, turned_right), (turned_left, right), (turned_left, turned_right), (left, right)
    ]  # fmt: skip


def _convolutions(
    axes: Sequence[Axis], spatial: Sequence[int], reduced: Sequence[int], shape: Sequence[int]
) -> list[Layout]:
    """Image and weights, with channels first and last; what the sizes speak for stands first."""
    size = [int(axis.extent.max()) for axis in axes]
    if len(reduced) == 3:
        # Both sides of a window are alike, and the channels stand beside them.
        first, second, third = (size[at] for at in reduced)
        channels_last = first == second != third
    else:
        channels_last = size[spatial[1]] == size[spatial[2]] != size[spatial[3]]
    return [
        _convolution(size, spatial, reduced, shape, is_last)
        for is_last in (channels_last, not channels_last)
    ]


def _convolution(
    size: Sequence[int], spatial: Sequence[int], reduced: Sequence[int],
    shape: Sequence[int], channels_last: bool,
) -> Layout:  # fmt: skip
    batch, *rest = spatial
    *image, channel = rest if channels_last else [*rest[1:], rest[0]]
    window = list(reduced)
    is_dense = len(reduced) == 3
    inner = (window.pop() if channels_last else window.pop(0)) if is_dense else channel
    stride = _stride(size[image[0]], size[window[0]], shape)
    walked = [_moved(at, stride, by) for at, by in zip(image, window)]
    weights = [Index("var", at) for at in window]
    first, own = Index("var", batch), Index("var", inner)
    # Each channel of a depthwise one has weights of its own.
    out = Index("var", channel) if is_dense else Index("const", 0)
    if channels_last:
        return (first, *walked, own), (*weights, own, out)
    return (first, own, *walked), (out, own, *weights) if is_dense else (own, out, *weights)


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
