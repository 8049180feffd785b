"""Loop nests of many candidates at once: what scheduling actions do to loops, without TVM.

Every extent is an int64 array of shape [N] (or [1] when all N candidates agree), so one walk over
a structure derives the nests of all candidates that share it. An extent of 0 is unknown (Ansor
logs do not hold the program, so some extents never appear in them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wmhub.program import Access, Index

#: A part of a loop: number of the owning stage's axis, and how many of its steps the part covers.
if TYPE_CHECKING:
    Part = tuple["Axis", np.ndarray]


def extents(value: int) -> np.ndarray:
    """One extent for all candidates: int64 [1]."""
    return np.array([value], dtype=np.int64)


#: Annotations of loops that are bound to the threads of a block.
THREADS = ("threadIdx.x", "threadIdx.y", "threadIdx.z")
#: Roles of stages that copy: what they write is of the type of what they read.
COPIES = ("cache_read", "cache_write", "reindex")
#: Annotation of a loop whose statements run as a software pipeline; in `Stage.annotations` the
#: number of its stages.
PIPELINE = "software_pipeline_stage"
#: Parts of a loop; those of real ones are a dozen.
_MOST_PARTS = 1000
#: Hosts of hosts; those of real ones are three, but a damaged log may hold a cycle.
_MOST_HOSTS = 16
#: One step, where nothing walks an axis. Arrays of extents are never changed in place.
_ONE = extents(1)


def sizes(loops: Sequence[Loop]) -> np.ndarray:
    """Iterations of each of L loops, int64 [L, N or 1]; unknown extents count as 1."""
    width = max((len(loop.extent) for loop in loops), default=1)
    table = np.empty((len(loops), width), dtype=np.int64)
    for row, loop in zip(table, loops):
        row[:] = loop.extent
    return np.maximum(table, 1, out=table)


def trips(loops: Sequence[Loop]) -> np.ndarray:
    """Iterations of ``loops`` together, float64 [N or 1]; unknown extents count as 1."""
    return np.multiply.reduce(sizes(loops), axis=0, dtype=np.float64)


def steps_of(loops: Sequence[Loop], axis: Axis | None) -> np.ndarray:
    """Steps of ``axis`` that ``loops`` walk, int64 [N or 1]; unknown extents count as 1."""
    steps = _ONE
    for loop in loops:
        for owner, extent in loop.parts:
            if owner is axis:
                steps = steps * np.maximum(extent, 1)
    return steps


def ceil_div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rounded-up quotient; 0 (unknown) where either is unknown."""
    safe = np.maximum(b, 1)
    return np.where(b > 0, -(-a // safe), 0)


class Axis:
    """One iterator of a stage, before any split."""

    __slots__ = ("extent", "is_reduction", "name")

    def __init__(self, name: str, extent: np.ndarray, is_reduction: bool | None) -> None:
        self.name = name
        self.extent = extent
        self.is_reduction = is_reduction
        """``None`` until it is known (Ansor logs tell it only indirectly)."""


class Loop:
    """One loop of a nest. Stages that share a loop (after compute_at) hold the same object."""

    __slots__ = ("annotation", "extent", "fused", "parts")

    def __init__(
        self,
        extent: np.ndarray,
        parts: Sequence[Part] = (),
        annotation: str = "",
        fused: tuple[Axis, ...] = (),
    ) -> None:
        self.extent = extent
        self.parts: tuple[Part, ...] = tuple(parts)
        """From outside to inside; several after a fuse, none for a loop of unknown origin."""
        self.annotation = annotation
        """``parallel``, ``vectorize``, ``unroll``, a thread axis, or ``""``."""
        self.fused = fused
        """Axes of the fused loop that it is, or a piece of: its value is in the place on each of
        them, also where it takes one step of some."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes whose places its value is in."""
        return self.fused or tuple(axis for axis, _ in self.parts)

    @property
    def is_reduction(self) -> bool:
        """Whether any part of it walks a reduction axis."""
        return any(axis.is_reduction for axis, _ in self.parts)

    @classmethod
    def over(cls, axis: Axis, extent: np.ndarray | None = None) -> Loop:
        """A loop over all of ``axis``, or over ``extent`` steps of it."""
        extent = axis.extent if extent is None else extent
        return cls(extent, ((axis, extent),))


def split_loop(loop: Loop, factors: Sequence[np.ndarray | None]) -> list[Loop]:
    """The loops that replace ``loop``, from outside to inside; one factor may be ``None``.

    The inferred factor is rounded up, as TVM does. Splitting a fused loop deals its parts out
    from the inside; where that does not come out even, both pieces reach into a part.
    """
    known = [f for f in factors if f is not None]
    product = np.prod(np.broadcast_arrays(*known), axis=0) if known else extents(1)
    sizes = [ceil_div(loop.extent, product) if f is None else f for f in factors]
    if len(loop.parts) == 1:
        axis = loop.parts[0][0]
        return [Loop(size, ((axis, size),), fused=loop.fused) for size in sizes]
    remaining = list(loop.parts)
    loops: list[Loop] = []
    for size in reversed(sizes[1:]):
        loops.insert(0, Loop(size, _deal(remaining, size), fused=loop.axes))
    return [Loop(sizes[0], remaining, fused=loop.axes), *loops]


def _deal(remaining: list[Part], size: np.ndarray) -> list[Part]:
    """Takes ``size`` steps from the inner end of ``remaining`` (which it shortens)."""
    dealt: list[Part] = []
    kept: list[Part] = []
    for axis, extent in reversed(remaining):
        if dealt and (size <= 1).all():
            kept.insert(0, (axis, extent))
            continue
        least = np.minimum(size, extent)
        # What is unknown (0) takes, or is taken, as a whole.
        taken = np.where(least > 0, least, np.maximum(size, extent))
        rest = ceil_div(extent, taken)
        dealt.insert(0, (axis, taken))
        # Of an axis of unknown extent no one knows what is left.
        if (rest > 1).any() or (extent == 0).any():
            kept.insert(0, (axis, rest))
        # Each candidate for itself: where steps are left, nothing is taken further out.
        size = np.where(rest > 1, 1, ceil_div(size, taken))
    remaining[:] = kept
    return dealt


def fuse_loops(loops: Sequence[Loop]) -> Loop:
    """The loop that replaces ``loops``; raises ``ValueError`` for more parts than any has."""
    extent = loops[0].extent
    for loop in loops[1:]:
        extent = extent * loop.extent
    axes = dict.fromkeys(axis for loop in loops for axis in loop.axes)
    if sum(len(loop.parts) for loop in loops) > _MOST_PARTS:
        # One that is fused with itself, again and again, would double each time.
        raise ValueError(f"a loop of more than {_MOST_PARTS} parts")
    parts = [part for loop in loops for part in loop.parts]
    return Loop(extent, parts, fused=tuple(axes) if len(axes) > 1 else ())


@dataclass(eq=False)
class Stage:
    """One block of the program being scheduled, for N candidates."""

    name: str
    axes: list[Axis]
    loops: list[Loop]
    """From outside to inside, with those it shares with its compute location."""
    reads: list[Access] = field(default_factory=list)
    writes: list[Access] = field(default_factory=list)
    """Accesses over ``axes``; of Ansor, whose logs do not hold them, where the nest tells them."""
    role: str = "compute"
    """``compute``, ``cache_read``, ``cache_write``, ``rfactor``, ``init`` or ``reindex``."""
    scope: str = "global"
    """Memory that it writes."""
    operations: tuple[float, ...] = ()
    """As in `wmhub.program.Block`."""
    inlined: bool = False
    host: Stage | None = None
    """Stage at whose loop it is computed; ``None`` at the root."""
    depth: int = 0
    """How many of the host's loops stand around it."""
    is_consumer: bool = False
    """Whether it stands behind what it reads, at a loop of that, rather than before what reads it.
    """
    is_whole: bool = False
    """Whether its own loops walk all of it, although it has a host: Ansor keeps the loops as they
    were before, and what they shrink to is not in its logs."""
    inner: list[Loop] = field(default_factory=list)
    """Loops inside its body, where it stands for a nest that was made one block."""
    annotations: dict[str, np.ndarray] = field(default_factory=dict)
    """Numeric annotations, float64 [N or 1]."""
    copied: tuple[tuple[np.ndarray, np.ndarray], ...] | None = None
    """Of an Ansor copy, whose loops do not tell: elements that it holds along each dimension of a
    tensor, and those that the tensor has, int64 [N or 1] each; empty where they are unknown."""

    @property
    def held(self) -> np.ndarray:
        """Elements that ``copied`` tells, 0 where it tells none: int64 [N or 1]."""
        held = extents(1 if self.copied else 0)
        for elements, _ in self.copied or ():
            held = held * elements
        return held

    def replace(self, old: Sequence[Loop], new: Sequence[Loop]) -> None:
        """Puts ``new`` where the first of ``old`` stood and removes ``old``; no-op when absent."""
        positions = [i for i, loop in enumerate(self.loops) if any(loop is o for o in old)]
        if not positions:
            return
        at = positions[0]
        kept = [loop for loop in self.loops if not any(loop is o for o in old)]
        self.loops = [*kept[:at], *new, *kept[at:]]

    def outer_loops(self) -> list[Loop]:
        """Loops around it that are its hosts' alone (Ansor keeps each stage's own nest only)."""
        return self._around(until_whole=False)

    def nest(self) -> list[Loop]:
        """The loops that together run its body as often as it runs, from outside to inside."""
        return [*self._around(until_whole=True), *self.loops]

    def _around(self, *, until_whole: bool) -> list[Loop]:
        loops: list[Loop] = []
        for stage, host in pairwise(self.chain()):
            if until_whole and stage.is_whole:
                break
            loops = [loop for loop in host.loops[: stage.depth] if self.index(loop) < 0] + loops
        return loops

    def chain(self) -> Iterator[Stage]:
        """It, its host, the host of that, and so on."""
        stage: Stage | None = self
        for _ in range(1 + _MOST_HOSTS):
            if stage is None:
                break
            yield stage
            stage = stage.host

    def index(self, loop: Loop) -> int:
        """Depth of ``loop`` in this nest, -1 when it is not in it."""
        return next((i for i, mine in enumerate(self.loops) if mine is loop), -1)

    def reach(self, axis: Axis, depth: int, threads: Sequence[str]) -> np.ndarray:
        """Steps of ``axis`` from ``depth`` inward and in loops further out bound to ``threads``.

        ``threads`` are beginnings of annotations. From the first to the last step covered, where
        loops between leave gaps. int64 [N or 1].
        """
        covered, stride = extents(1), extents(1)
        for place, loop in reversed(list(enumerate((*self.loops, *self.inner)))):
            for owner, extent in reversed(loop.parts):
                if owner is axis:
                    steps = np.maximum(extent, 1)  # unknown ones are 0
                    if place >= depth or loop.annotation.startswith(tuple(threads)):
                        covered = covered + (steps - 1) * stride
                    stride = stride * steps
        return covered

    def tiles(self, depth: int, threads: Sequence[str] = ()) -> list[np.ndarray]:
        """Steps of each axis that the loops from ``depth`` inward cover, clipped to the axis.

        With ``threads`` the `reach` of each. int64 [N or 1] each.
        """
        if threads:
            return [_clipped(self.reach(axis, depth, threads), axis) for axis in self.axes]
        covered: dict[int, np.ndarray] = {}
        for loop in (*self.loops[depth:], *self.inner):
            for axis, extent in loop.parts:
                before = covered.get(id(axis))
                covered[id(axis)] = extent if before is None else before * extent
        return [_clipped(covered.get(id(axis)), axis) for axis in self.axes]

    def tiles_by_depth(self) -> list[np.ndarray]:
        """`tiles` of every depth from 0 to the number of loops: int64 [L + 1, N or 1] each."""
        parts: dict[int, list[tuple[int, np.ndarray]]] = {id(axis): [] for axis in self.axes}
        count = len(self.loops)
        for place, loop in enumerate((*self.loops, *self.inner)):
            for axis, extent in loop.parts:
                if id(axis) in parts:
                    parts[id(axis)].append((min(place, count), extent))
        found = []
        for axis in self.axes:
            own = parts[id(axis)]
            width = max((len(extent) for _, extent in [*own, (0, axis.extent)]), default=1)
            tiles = np.empty((count + 1, width), dtype=np.int64)
            tile, end = _ONE, count + 1
            for place, extent in own[::-1]:
                tiles[place + 1 : end] = tile
                tile, end = tile * extent, min(place + 1, end)
            tiles[:end] = tile
            found.append(_clipped(tiles, axis))
        return found


def _clipped(tile: np.ndarray | None, axis: Axis) -> np.ndarray:
    """``tile`` (``None``: one step) within an axis whose extent is known."""
    if tile is None:
        tile = _ONE
    return np.minimum(tile, axis.extent) if (axis.extent > 0).all() else tile


def pipeline_depth(stages: Sequence[Stage]) -> np.ndarray:
    """Copies that a software pipeline keeps of what it loads, one for each of its stages.

    1 where there is no pipeline. float64 [N or 1].
    """
    depth = np.ones(1)
    for stage in stages:
        depth = np.maximum(depth, stage.annotations.get(PIPELINE, 1.0))
    return depth


def span(index: Index, tiles: Sequence[np.ndarray]) -> np.ndarray:
    """How many consecutive values ``index`` takes while each iterator v takes ``tiles[v]`` ones.

    Interval arithmetic: exact for sums of scaled iterators, an upper bound else. int64 [N or 1].
    """
    if index.op == "var" and index.value < len(tiles):
        return tiles[index.value]
    # A tile of unknown extent (0) would make the width negative.
    return np.maximum(_width(index, tiles) + 1, 0)


def _width(index: Index, tiles: Sequence[np.ndarray]) -> np.ndarray:
    if index.op == "var":
        return tiles[index.value] - 1 if index.value < len(tiles) else extents(0)
    if index.op == "const":
        return extents(0)
    args = index.args
    if index.op in ("+", "-"):
        return _width(args[0], tiles) + _width(args[1], tiles)
    if index.op == "*":
        for scale, other in (args, args[::-1]):
            if scale.op == "const":
                return abs(scale.value) * _width(other, tiles)
    if index.op == "//" and args[1].op == "const" and args[1].value > 0:
        # Tiles start at multiples of their size, so a tile within one quotient counts once.
        width = _width(args[0], tiles)
        return np.where(width < args[1].value, 0, width // args[1].value)
    if index.op == "%" and args[1].op == "const" and args[1].value > 0:
        return np.minimum(_width(args[0], tiles), args[1].value - 1)
    if index.op in ("min", "max"):
        return np.maximum(_width(args[0], tiles), _width(args[1], tiles))
    width = extents(0)
    for arg in args:
        width = width + _width(arg, tiles)
    return width
