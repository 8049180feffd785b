"""What the operators of Ansor's logs read, which the logs do not hold.

A tiled nest tells the operator by its axes: 2 spatial ones and 1 of a reduction are a matrix
product, more spatial ones a batch of them (as in Winograd's convolution), n + 2 and n + 1 a
convolution over n dimensions, n + 2 and n a depthwise one. Of any other nest nothing is told:
better nothing than something wrong. Keys of TVM's own list the shapes of the operands, and so tell
how they lie in memory; a key of a named function is taken for that of the usual layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from wmhub.nest import Stage
from wmhub.program import Access, Index
from wmhub.replay.workload_key import WorkloadKey

#: Indices of each operand, over the axes of a stage.
Layout: TypeAlias = "tuple[tuple[Index, ...], tuple[Index, ...]]"

#: Steps by which a window may move; the first that fits is taken.
_STRIDES = range(1, 5)
#: Dimensions of images.
_IMAGES = (1, 2, 3)


def accesses_of(stage: Stage, key: WorkloadKey) -> tuple[list[Access], list[Access]]:
    """What the tiled ``stage`` reads and writes, over its axes; nothing of an unknown operator.

    ``key`` tells how the operands lie in memory and by how much a window moves.
    """
    levels = levels_of(stage)
    most = max(levels, default=0)
    if most <= 2:
        return [], []
    spatial = [at for at, level in enumerate(levels) if level == most]
    reduced = [at for at, level in enumerate(levels) if level != most]
    sizes = [int(axis.extent.max()) for axis in stage.axes]
    operands = None
    if len(reduced) == 1 and len(spatial) >= 2:
        operands = _product(spatial, reduced[0], sizes, key)
    elif len(spatial) - 2 in _IMAGES and len(spatial) - len(reduced) in (1, 2):
        operands = _convolution(spatial, reduced, sizes, key)
    if operands is None:
        return [], []
    result = Access("result", tuple(Index("var", at) for at in spatial))
    return [Access(f"operand{n}", indices) for n, indices in enumerate(operands)], [result]


def levels_of(stage: Stage) -> list[int]:
    """Loops that walk each axis."""
    return [
        sum(1 for loop in stage.loops for owner, _ in loop.parts if owner is axis)
        for axis in stage.axes
    ]


def _shape(indices: Sequence[Index], sizes: Sequence[int]) -> list[int | None]:
    """Shape of an operand; None for what a window walks."""
    known = {"const": 1}
    return [sizes[i.value] if i.op == "var" else known.get(i.op) for i in indices]


def _product(
    spatial: Sequence[int], inner: int, sizes: Sequence[int], key: WorkloadKey
) -> Layout | None:
    """Both operands of a matrix product, each as it is or transposed."""
    *batch, row, column = spatial

    def operand(*order: int) -> tuple[Index, ...]:
        return tuple(Index("var", at) for at in (*batch, *order))

    left, right = operand(row, inner), operand(inner, column)
    turned_left, turned_right = operand(inner, row), operand(column, inner)
    plain = left, right
    # TVM's own ``dense`` and ``batch_matmul`` have the second one transposed.
    turned = (left, turned_right), (turned_left, right)
    for layout in (*turned, (turned_left, turned_right), plain):
        if _holds_both(layout, sizes, key):
            return layout
    if len(batch) < 2:
        return None if key.lists_tensors else plain
    # Winograd's: one of the two is what the other stages make of an operand.
    for layout in turned:
        if any(key.find(_shape(indices, sizes)) is not None for indices in layout):
            return layout
    return None


def _holds_both(layout: Layout, sizes: Sequence[int], key: WorkloadKey) -> bool:
    left, right = layout
    return key.find([*_shape(left, sizes), *_shape(right, sizes)]) is not None


def _convolution(
    spatial: Sequence[int], reduced: Sequence[int], sizes: Sequence[int], key: WorkloadKey
) -> Layout | None:
    """Image and weights of a convolution, channels first or last."""
    usual = _channels_last(spatial, reduced, sizes)
    for channels_last in (usual, not usual):
        image, weights = _window(spatial, reduced, 1, channels_last)
        place = key.find([*_shape(image, sizes), *_shape(weights, sizes)])
        if place is not None:
            first = 1 if channels_last else 2
            stride = _stride(image[first], sizes, [key.sizes[place + first]])
            return _window(spatial, reduced, stride, channels_last)
    if key.lists_tensors or len(spatial) != 4:
        return None  # in groups, or transposed: not what it looks like
    image, _ = _window(spatial, reduced, 1, usual)
    stride = _stride(image[1 if usual else 2], sizes, key.sizes)
    return _window(spatial, reduced, stride, usual)


def _channels_last(spatial: Sequence[int], reduced: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether sizes speak for it: both sides of a window are alike, or of an image."""
    if len(spatial) != 4:
        return True
    if len(reduced) == 3:
        first, second, third = (sizes[at] for at in reduced)
        return first == second != third
    return sizes[spatial[1]] == sizes[spatial[2]] != sizes[spatial[3]]


def _window(
    spatial: Sequence[int], reduced: Sequence[int], stride: int, channels_last: bool
) -> Layout:
    batch, *rest = spatial
    *image, channel = rest if channels_last else [*rest[1:], rest[0]]
    window = list(reduced)
    is_dense = len(spatial) - len(reduced) == 1
    inner = (window.pop() if channels_last else window.pop(0)) if is_dense else channel
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


def _stride(walked: Index, sizes: Sequence[int], images: Sequence[int]) -> int:
    """The step by which a window makes as many results as it does of one of the ``images``."""
    made, window = (sizes[at] for at in walked.variables())
    for stride in _STRIDES:
        if any(made in (-(-size // stride), (size - window) // stride + 1) for size in images):
            return stride
    return 1
