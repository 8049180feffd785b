"""Instructions that change layouts: what they make of loops is unknown unless they keep the order.

Extents of what depends on a changed layout become 0, which stands for unknown: better none than a
wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wmhub.errors import InvalidInputError
from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.program import Index
from wmhub.replay.state import State
from wmhub.tvm_json import parse_index_map

if TYPE_CHECKING:
    from wmhub.replay.state import Bound


def transform_layout(state: State, name: str, values: Any, attrs: Any, *_: Any) -> list[Bound]:
    """``TransformLayout`` of a buffer, and ``TransformBlockLayout`` of a block's iterators."""
    state.emit_plain(name, values, [])
    stage = values[0] if values else None
    if not isinstance(stage, Stage) or _keeps_order([*values[1:], *attrs]):
        return []
    if name == "TransformBlockLayout":
        forget_loops(state, stage)
        state.blurred |= {access.buffer for access in (*stage.reads, *stage.writes)}
        return []
    is_read = len(attrs) < 2 or int(attrs[1]) == 0
    accesses = stage.reads if is_read else stage.writes
    number = int(attrs[0]) if attrs and isinstance(attrs[0], int) else 0
    state.blurred |= {access.buffer for access in accesses[number : number + 1]}
    return []


def change_nest(state: State, name: str, values: Any, *_: Any) -> list[Bound]:
    """``DecomposePadding`` and others after which a nest is not what it was."""
    state.emit_plain(name, values, [])
    for value in values:
        stage = value if isinstance(value, Stage) else state.owner(value)
        if stage is not None:
            forget_loops(state, stage)
    return []


def forget_loops(state: State, stage: Stage) -> None:
    """Makes every loop of ``stage``, and the extents of its axes, unknown."""
    stage.loops = [*stage.loops[: stage.depth]]
    stage.axes = [Axis(axis.name, extents(0), axis.is_reduction) for axis in stage.axes]
    stage.loops += [Loop(extents(0), ((axis, extents(0)),)) for axis in stage.axes]


def _keeps_order(texts: list[Any]) -> bool:
    maps = [text for text in texts if isinstance(text, str) and text.lstrip().startswith("{")]
    try:
        parsed = [parse_index_map(text) for text in maps]
    except InvalidInputError:
        return False
    return bool(parsed) and all(
        indices == tuple(Index("var", number) for number in range(count))
        for count, indices in parsed
    )
