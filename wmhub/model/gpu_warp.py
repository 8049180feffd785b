"""What the first warp of a block touches together: addresses of its 32 threads, one by one.

Threads of a warp that read different words of one bank of shared memory wait for each other; what
they load and store in global memory comes in sectors of 32 bytes, however little of one they need
(CUDA C++ Programming Guide, "Device Memory Accesses"). Neither follows from sizes alone: it takes
the place of each thread in the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wmhub.model.columns import Columns, total
from wmhub.model.movement import elements_of, written_bytes
from wmhub.nest import Axis, Loop, Stage, steps_of
from wmhub.program import Access, Index

_LANES = 32
#: Words of four bytes that shared memory serves at once, each from a bank of its own.
_BANKS = 32
_WORD_BYTES = 4
_SECTOR_BYTES = 32
_WIDEST_VECTOR, _MOST_HELD = 64, 1 << 40
#: Operands described one by one.
_OPERANDS = 2


@dataclass(frozen=True)
class Level:
    """How a block's iterations of one spatial axis are dealt."""

    axis: Axis
    virtual: np.ndarray
    threads: np.ndarray
    own: np.ndarray
    """Iterations in a thread's own loops; int64 [N or 1] each."""


@dataclass(frozen=True)
class Operand:
    """A tensor that the main stage reads through a copy in shared memory."""

    access: Access
    """By the main stage."""
    dimensions: Sequence[tuple[np.ndarray, np.ndarray]]
    """Elements that the copy holds along each dimension, and those of the tensor; [N or 1]."""
    vector: np.ndarray
    """Elements that a thread loads at once, float64 [N or 1]."""
    loaded: np.ndarray
    """Elements that all blocks copy in all, float64 [N or 1]."""
    bytes: float
    """Of an element."""


@dataclass(frozen=True)
class Touched:
    """What a kernel moves; float64 [N or 1] each."""

    traffic: np.ndarray
    """Bytes through global memory, those that come unwanted in sectors too; what is read without a
    copy in shared memory counts once, as if a cache held it."""
    least_traffic: np.ndarray
    """Bytes of what it writes and of what it reads."""
    transactions: np.ndarray
    """Reads of shared memory by a warp for each multiply-add of a thread, those of one bank one by
    one."""
    reads_copies: bool
    """Whether it is known to read through copies in shared memory."""
    is_known: bool
    """Whether it is known how its work is dealt to threads."""


def warp_features(
    columns: Columns,
    main: Stage,
    levels: Sequence[Level],
    operands: Sequence[Operand],
    threads: np.ndarray,
    sizes: Mapping[str, float],
    shapes: Mapping[str, Sequence[int]],
) -> Touched:
    """Adds the columns for N candidates, and says what the kernel moves.

    ``levels``: of the spatial axes of ``main``, in their order; ``threads``: of a block, float64
    [N or 1]; ``sizes``: bytes of an element of each buffer; ``shapes``: of the program's tensors.
    """
    number = {id(level.axis): at for at, level in enumerate(levels)}
    lanes, count = _lanes(levels), np.minimum(threads, _LANES).astype(np.int64)
    accumulators = _held(levels)
    transactions, loaded = np.zeros(1), np.zeros(1)  # the latter in bytes
    for at in range(max(_OPERANDS, len(operands))):
        known = at < len(operands)
        conflict = waste = np.ones(1)
        if known:
            one = operands[at]
            words = _words(_in_copy(one, main, levels, number, lanes), one.bytes, _WORD_BYTES)
            conflict = _conflict(words)
            waste = _load_waste(one, count)
            walked = {number[id(main.axes[v])] for i in one.access.indices for v in i.variables()
                      if v < len(main.axes) and id(main.axes[v]) in number}  # fmt: skip
            reads = _held([levels[n] for n in walked])
            transactions = transactions + reads * conflict / accumulators
            loaded = loaded + one.loaded * waste * one.bytes
        if at < _OPERANDS:
            columns.log2(f"gpu.warp.conflict{at}", conflict)
            columns.log2(f"gpu.warp.load{at}", waste)
    written = written_bytes(main, sizes)
    store = _store(levels, lanes, written) if levels else np.ones(1)
    columns.log2("gpu.warp.store", store)
    on = float(bool(operands))
    columns.log2("gpu.warp.transactions", transactions, least=2.0**-10, scale=on)
    results = _product([np.maximum(level.axis.extent, 1) for level in levels])
    read = _read(main, sizes, shapes)
    copied = {one.access.tensor for one in operands}
    direct = total(size for name, size in read.items() if name not in copied)
    return Touched(
        traffic=loaded + direct + results * np.maximum(store * _SECTOR_BYTES / count, written),
        least_traffic=results * written + total(read.values()),
        transactions=transactions,
        reads_copies=bool(operands),
        is_known=bool(levels),
    )


def _read(
    main: Stage, sizes: Mapping[str, float], shapes: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Bytes of each tensor that all of ``main`` reads, float64 [N or 1], by the tensor's name."""
    steps = [np.maximum(axis.extent, 1) for axis in main.axes]
    read: dict[str, np.ndarray] = {}
    for access in main.reads:
        name = access.tensor
        size = sizes[access.buffer] * elements_of(access, steps, shapes)
        read[name] = np.maximum(read.get(name, 0.0), size)
    return read


def _words(elements: np.ndarray, element_bytes: float, word_bytes: int) -> np.ndarray:
    """The words of so many bytes that elements begin in: int64, as ``elements``."""
    # Bounds that no real tensor meets, for what a damaged log may hold.
    near = np.clip(elements, -_MOST_HELD, _MOST_HELD)
    return np.asarray(near * element_bytes // word_bytes, np.int64)


def _product(factors: Sequence[np.ndarray]) -> np.ndarray:
    product = np.ones(1)
    for factor in factors:
        product = product * factor
    return product


def _held(levels: Sequence[Level]) -> np.ndarray:
    """Iterations of a thread, all its virtual ones counted: float64 [N or 1]."""
    return _product([steps for level in levels for steps in (level.own, level.virtual)])


def _lanes(levels: Sequence[Level]) -> list[np.ndarray]:
    """Place of each lane among the threads of each level, int64 [N or 1, 32] each: the last axis
    goes fastest, and a block of fewer threads is gone round again."""
    left = np.arange(_LANES)[None, :]
    places: list[np.ndarray] = []
    for level in reversed(levels):
        threads = np.maximum(level.threads, 1).astype(np.int64)[:, None]
        places.insert(0, left % threads)
        left = left // threads
    return places


def _steps_of(index: Index) -> dict[int, int]:
    """By how much a step of each iterator moves a sum of scaled ones; others count as nothing."""
    if index.op == "var":
        return {index.value: 1}
    if index.op in ("+", "-"):
        found = _steps_of(index.args[0])
        for axis, step in _steps_of(index.args[1]).items():
            found[axis] = found.get(axis, 0) + (step if index.op == "+" else -step)
        return found
    if index.op == "*":
        for scale, other in (index.args, index.args[::-1]):
            if scale.op == "const":
                return {axis: step * scale.value for axis, step in _steps_of(other).items()}
    return {}


def _in_copy(
    operand: Operand, main: Stage, levels: Sequence[Level], number: Mapping[int, int],
    lanes: Sequence[np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Element of the copy in shared memory that each lane reads first, int64 [N or 1, 32]."""
    address, stride = np.zeros((1, _LANES), np.int64), np.ones((1, 1), np.int64)
    parts = zip(operand.access.indices, operand.dimensions)
    for index, (held, _) in reversed(list(parts)):
        for axis, step in _steps_of(index).items():
            at = number.get(id(main.axes[axis])) if axis < len(main.axes) else None
            if at is not None:
                own = np.maximum(levels[at].own, 1).astype(np.int64)[:, None]
                address = address + lanes[at] * own * step * stride
        stride = stride * np.maximum(held, 1).astype(np.int64)[:, None]
    return address


def _conflict(addresses: np.ndarray) -> np.ndarray:
    """Different words of one bank that lanes want, of the bank with most: float64 [N or 1]."""
    words = np.sort(addresses, axis=1)
    fresh = np.ones(words.shape, dtype=bool)
    fresh[:, 1:] = words[:, 1:] != words[:, :-1]
    cells = np.arange(len(words))[:, None] * _BANKS + words % _BANKS
    counts = np.bincount(cells[fresh], minlength=len(words) * _BANKS)
    return np.asarray(counts.reshape(-1, _BANKS).max(axis=1), np.float64)


def _distinct(values: np.ndarray) -> np.ndarray:
    """Different numbers in each row: float64 [N or 1]."""
    ordered = np.sort(values, axis=1)
    return np.asarray(1.0 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1))


def _load_waste(operand: Operand, count: np.ndarray) -> np.ndarray:
    """Elements that come with a load of the warp for each that it wants: float64 [N or 1], at
    least 1. ``count``: its lanes, int64 [N or 1]."""
    # Bounds that no real copy meets, for what a damaged log may hold.
    vector = np.clip(operand.vector, 1, _WIDEST_VECTOR).astype(np.int64)[:, None]
    held = np.clip(_product([held for held, _ in operand.dimensions]), 1, _MOST_HELD)
    elements = held.astype(np.int64)
    first = np.arange(_LANES)[None, :] % count[:, None] * vector
    wanted = np.minimum(np.concatenate([first, first + vector - 1], axis=1), elements[:, None] - 1)
    address, stride = np.zeros_like(wanted), np.ones((1, 1), np.int64)
    for held, size in reversed(operand.dimensions):
        own = np.maximum(held, 1).astype(np.int64)[:, None]
        address = address + wanted % own * stride
        wanted = wanted // own
        stride = stride * np.maximum(size, 1).astype(np.int64)[:, None]
    useful = np.minimum(elements, count * vector[:, 0])
    # A wide load is several of one: what lies between its ends comes row by row.
    run = run_of(operand.dimensions)
    sector = _SECTOR_BYTES / operand.bytes
    rows = np.ceil(run / sector) * sector / run
    ends = _distinct(_words(address, operand.bytes, _SECTOR_BYTES)) * sector / useful
    return np.maximum(np.maximum(ends, rows), 1.0)


def run_of(dimensions: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Elements of a copy that lie together: its rows, joined where they are whole. [N or 1].

    ``dimensions`` as those of `Operand`.
    """
    run, is_whole = np.ones(1), np.ones(1, dtype=bool)
    for held, size in reversed(dimensions):
        run = run * np.where(is_whole, np.maximum(held, 1), 1)
        is_whole = is_whole & (held >= size)
    return run


def _store(
    levels: Sequence[Level], lanes: Sequence[np.ndarray], element_bytes: float
) -> np.ndarray:
    """Sectors that one store of the warp touches: float64 [N or 1]."""
    address, stride = np.zeros((1, _LANES), np.int64), np.ones((1, 1), np.int64)
    for level, place in zip(reversed(levels), reversed(lanes)):
        own = np.maximum(level.own, 1).astype(np.int64)[:, None]
        address = address + place * own * stride
        stride = stride * np.maximum(level.axis.extent, 1).astype(np.int64)[:, None]
    return _distinct(_words(address, element_bytes, _SECTOR_BYTES))


def dealt(main: Stage, bound: Stage, loops: Sequence[Sequence[Loop]]) -> list[Level]:
    """The levels of ``main`` as ``bound``, which walks the same spatial axes in the same order,
    deals them: by ``loops`` of virtual threads, threads and inside a thread. None where the two do
    not match."""
    ours = [axis for axis in main.axes if not axis.is_reduction]
    theirs = [axis for axis in bound.axes if not axis.is_reduction]
    if len(ours) != len(theirs):
        return []
    return [
        Level(axis, *(steps_of(level, other) for level in loops))
        for axis, other in zip(ours, theirs)
    ]
