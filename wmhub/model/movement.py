"""Tensors and how they are walked: elements by which a step of an axis moves an access, as TVM sees
it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wmhub.nest import COPIES, Stage, span
from wmhub.program import Access, Index
from wmhub.trajectory import Trajectories

#: Bytes of a number where no program tells them.
_DEFAULT_BYTES = 4.0


@dataclass(frozen=True)
class Move:
    """How an access moves with the axes of its stage."""

    strides: tuple[int, ...]
    """Elements for a step of each axis."""
    hidden: frozenset[int]
    """Axes that it moves with by a division or the like, which have no stride."""
    panels: frozenset[tuple[int, int]] = frozenset()
    """Axes among them that walk the last dimension panel by panel, and the panels' width."""

    def leaves_gaps(self, axes: Sequence[int], ends: Sequence[np.ndarray]) -> np.ndarray:
        """Whether steps of ``axes`` leave gaps that TVM does not see: bool [N or 1].

        ``ends``: elements of each axis that all steps of it cover. What stays within a panel
        leaves none.
        """
        widths = dict(self.panels)
        found = np.zeros(max((len(end) for end in ends), default=1), bool)
        for axis, end in zip(axes, ends):
            if axis in widths:
                found = found | (widths[axis] % np.maximum(end, 1) != 0)
            elif axis in self.hidden:
                found = found | True
        return found


def move_of(access: Access, stage: Stage, shapes: Mapping[str, Sequence[int]]) -> Move | None:
    """How ``access`` moves; ``None`` where the shape of its tensor is unknown."""
    shape = shapes.get(access.buffer)
    if shape is None or len(shape) != len(access.indices):
        return None
    strides = [0] * len(stage.axes)
    used: set[int] = set()
    size = 1
    for index, extent in zip(access.indices[::-1], shape[::-1]):
        for axis in {axis for axis in index.variables() if axis < len(strides)}:
            used.add(axis)
            # The last dimension that an axis occurs in counts, as in TVM.
            if strides[axis] == 0:
                strides[axis] = (_coefficient(index, axis) or 0) * size
        size *= extent
    hidden = frozenset(axis for axis in used if strides[axis] == 0)
    last = access.indices[-1] if access.indices else None
    panels = {(last.args[0].value, last.args[1].value)} if last and _is_panel(last) else set()
    return Move(tuple(strides), hidden, frozenset(p for p in panels if p[0] in hidden))


def elements_of(
    access: Access, steps: Sequence[np.ndarray], shapes: Mapping[str, Sequence[int]]
) -> np.ndarray:
    """Elements of its tensor that an access touches while each iterator v takes ``steps[v]``
    values, as far as the tensor goes: float64 [... or 1], as ``steps``.

    ``shapes``: of the program's tensors.
    """
    shape = shapes.get(access.tensor, ())
    # A copy in panels has more dimensions than what it is a copy of.
    limits = shape if len(shape) == len(access.indices) else ()
    size = np.ones(1)
    for dimension, index in enumerate(access.indices):
        width = span(index, steps)
        if dimension < len(limits):
            width = np.minimum(width, limits[dimension])
        size = size * width
    return size


def _is_panel(index: Index, operations: Sequence[str] = ("%",)) -> bool:
    """Whether ``index`` is an iterator divided by a constant, or what is left of it."""
    return (
        index.op in operations
        and index.args[0].op == "var"
        and index.args[1].op == "const"
        and index.args[1].value > 0
    )


def _is_plain(index: Index) -> bool:
    """Whether ``index`` walks all that it can in the order of one iterator."""
    return index.op == "var" or _is_panel(index, ("//", "%"))


def _coefficient(index: Index, axis: int) -> int | None:
    """The factor of ``axis`` in ``index``, as TVM's ``StrideExtractor`` sees it."""
    if index.op == "var":
        return 1 if index.value == axis else None
    if index.op == "-" and index.args[1].op == "const":
        return _coefficient(index.args[0], axis)
    if index.op == "+":
        found = [c for arg in index.args if (c := _coefficient(arg, axis)) is not None]
        return min(found, default=None)
    if index.op == "*":
        for scale, other in (index.args, index.args[::-1]):
            if scale.op == "const":
                inner = _coefficient(other, axis)
                return None if inner is None else inner * scale.value
    return None


def shapes_of(trajectories: Trajectories, live: Sequence[Stage]) -> dict[str, tuple[int, ...]]:
    """Shapes of the buffers that ``live`` stages touch, as far as they are known."""
    shapes = trajectories.shapes
    for stage in live:
        for access in stage.writes:
            if access.buffer not in shapes and all(map(_is_plain, access.indices)):
                steps = [axis.extent for axis in stage.axes]
                shapes[access.buffer] = tuple(int(span(i, steps).max()) for i in access.indices)
    for stage in live:
        for access in [*stage.reads, *stage.writes]:
            # A copy in other memory, ``name.scope.number``, has the shape of the whole.
            whole = shapes.get(access.tensor)
            if access.buffer not in shapes and whole is not None:
                shapes[access.buffer] = whole
    return shapes


def element_bytes(trajectories: Trajectories) -> defaultdict[str, float]:
    """Bytes of an element of each buffer, by its name; 4 of those that no program tells."""
    buffers = trajectories.program.buffers if trajectories.program else {}
    told = ((name, buffer.element_bytes) for name, buffer in buffers.items())
    sizes = defaultdict(lambda: _DEFAULT_BYTES, told)
    for stage in trajectories.stages if buffers else ():
        accesses = (*stage.reads, *stage.writes)
        # Copies are made one after another, so that either side of one is known.
        is_copy = stage.role in COPIES
        known = [sizes[a.buffer] for a in accesses if a.buffer in sizes] if is_copy else []
        for access in accesses:
            name, whole = access.buffer, access.tensor
            if name not in sizes and (known or whole in sizes):
                # What is inlined into a copy may change the type.
                sizes[name] = sizes[whole] if whole in sizes else known[0]
    return sizes


def written_bytes(stage: Stage, sizes: Mapping[str, float]) -> float:
    """Bytes of an element of what ``stage`` writes; ``sizes`` as of `element_bytes`."""
    return sizes[stage.writes[0].buffer] if stage.writes else _DEFAULT_BYTES
