"""The state of one replay of a MetaSchedule trace: stages, bindings, and the actions so far."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from wmhub.actions import META_SCHEDULE_INSTRUCTIONS, Action, ActionKind
from wmhub.errors import InvalidInputError
from wmhub.nest import Axis, Loop, Stage, extents, span
from wmhub.program import Access, Program

if TYPE_CHECKING:
    #: What a trace variable may stand for. ``None``: something the replay could not follow.
    Bound = Stage | Loop | np.ndarray | str | None


#: What goes wrong with a step that no scheduler could have written.
REFUSED = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def refusal(item: Any, error: Exception) -> InvalidInputError:
    """``error``, which is one of ``REFUSED``, as a clear one about the step or trace ``item``."""
    try:
        shown = json.dumps(item)
    except (RecursionError, TypeError, ValueError):
        shown = "that cannot be shown"
    return InvalidInputError(f"step {shown[:200]}: {error}")


@contextmanager
def refused(item: Any) -> Iterator[None]:
    """Turns what goes wrong with ``item`` into a ``refusal``."""
    try:
        yield
    except InvalidInputError:
        raise
    except REFUSED as error:
        raise refusal(item, error) from error


#: Memory -> what its contents are common to (``CanRelaxStorageUnderThread`` of TVM).
_SHARED_BY = {
    "global": ("blockIdx", "threadIdx", "vthread"),
    "shared": ("threadIdx", "vthread"),
    "warp": ("threadIdx.x",),
}


class State:
    """What the instructions so far have made of the program, for N candidates at once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.stages: list[Stage] = []
        self.order: list[Stage] = []
        self.actions: list[Action] = []
        self.unknown: list[str] = []
        self.bound: dict[str, Bound] = {}
        self.hints = {name: b.hint or name for name, b in program.buffers.items()}
        self.shapes = {name: b.shape for name, b in program.buffers.items()}
        self.scopes: dict[str, str] = {}
        self.blurred: set[str] = set()
        """Buffers whose layout is not known any more."""
        self.caches = 0
        for block in program.blocks:
            axes = [Axis(i.name, extents(i.extent), i.is_reduction) for i in block.iterators]
            loops = [
                Loop.over(axes[axis], extents(extent)) if axis >= 0 else Loop(extents(extent))
                for _, extent, axis in block.loops
            ]
            self.add(
                Stage(
                    block.name, axes, loops, list(block.reads), list(block.writes),
                    operations=block.operations,
                )
            )  # fmt: skip

    def add(self, stage: Stage, after: Stage | None = None, before: bool = False) -> Stage:
        """Puts a new stage into program order, beside ``after`` or at the end."""
        self.stages.append(stage)
        at = self.order.index(after) + (0 if before else 1) if after else len(self.order)
        self.order.insert(at, stage)
        return stage

    def value(self, item: Any) -> Any:
        """What an input stands for: a bound variable, a quoted text, or itself."""
        if isinstance(item, str):
            if item in self.bound:
                return self.bound[item]
            return item[1:-1] if item[:1] == '"' else item
        if isinstance(item, list):
            return [self.value(i) for i in item]
        return item

    def number(self, stage: Any) -> int:
        """Number of a stage by its creation, -1 for anything else."""
        return next((i for i, s in enumerate(self.stages) if s is stage), -1)

    def owner(self, loop: Any) -> Stage | None:
        """The stage that a loop belongs to: the innermost nest in which it is not shared."""
        holders = [s for s in self.order if not s.inlined and s.index(loop) >= 0]
        return next(
            (s for s in holders if s.index(loop) >= s.depth), holders[0] if holders else None
        )

    def emit(self, name: str, stage: Any, **details: Any) -> None:
        """Records an action on ``stage``."""
        kind = META_SCHEDULE_INSTRUCTIONS.get(name, ActionKind.OTHER)
        self.actions.append(Action(kind, name, self.number(stage), **details))

    def emit_plain(self, name: str, values: Sequence[Any], attrs: Sequence[Any]) -> None:
        """An action without effect on loops, or one that this version does not know."""
        if name not in META_SCHEDULE_INSTRUCTIONS:
            self.unknown.append(name)
        stage = next((v for v in values if isinstance(v, Stage)), None)
        loops = tuple(v for v in values if isinstance(v, Loop))
        if stage is None and loops:
            stage = self.owner(loops[0])
        text = next((a for a in attrs if isinstance(a, str)), "")
        self.emit(name, stage, loops=loops, text=text)

    def by_name(self, name: str) -> Stage | None:
        """The first stage of that name."""
        return next((s for s in self.order if s.name == name), None)

    def live(self) -> list[Stage]:
        """The stages that are not inlined, in program order."""
        return [s for s in self.order if not s.inlined]

    def producers(self, stage: Stage) -> list[Stage]:
        """The stages that write what ``stage`` reads."""
        wanted = [a.buffer for a in stage.reads]
        makers = [s for s in self.live() if s is not stage]
        return [s for s in makers if any(a.buffer in wanted for a in s.writes)]

    def consumers(self, stage: Stage) -> list[Stage]:
        """The stages that read what ``stage`` writes."""
        made = [a.buffer for a in stage.writes]
        return [s for s in self.live() if s is not stage and any(a.buffer in made for a in s.reads)]

    def replace(self, old: Sequence[Loop], new: Sequence[Loop]) -> None:
        """Puts ``new`` where ``old`` stood, in every nest that holds it."""
        for stage in self.order:
            before = len(stage.loops)
            shared = sum(1 for loop in old if 0 <= stage.index(loop) < stage.depth)
            stage.replace(old, new)
            if shared:
                stage.depth += len(stage.loops) - before

    def scope(self, buffer: str) -> str:
        """Kind of the memory that ``buffer`` is in: ``shared`` for ``shared.dyn``."""
        return self.scopes.get(buffer, "").split(".")[0] or "global"

    def spans(self, stage: Stage, access: Access, depth: int) -> list[np.ndarray]:
        """Extents of the region that ``stage`` touches inside its loops from ``depth`` on.

        What many threads see is made for all of them together: a buffer in shared memory holds
        what the whole block of threads touches.
        """
        tiles = stage.tiles(depth, _SHARED_BY.get(self.scope(access.buffer), ()))
        if 0 < depth < stage.depth:
            # Around its own loops stand its host's, in which its axes do not show.
            needed = self.needed(stage, stage.loops[depth - 1])
            whole = [needed.get(number, axis.extent) for number, axis in enumerate(stage.axes)]
            tiles = [np.maximum(tile, most) for tile, most in zip(tiles, whole)]
        shape = self.shapes.get(access.buffer, ())
        widths = [span(index, tiles) for index in access.indices]
        return [np.minimum(w, n) for w, n in zip(widths, shape)] if shape else widths

    def needed(self, stage: Stage, loop: Loop) -> dict[int, np.ndarray]:
        """Steps of each axis of ``stage`` that one iteration of ``loop`` asks for, in which those
        stand that it is computed for; 0 where that is not known. Others, it walks whole.
        """
        mine = stage.reads if stage.is_consumer else stage.writes
        if any(access.buffer in self.blurred for access in mine):
            return dict.fromkeys(range(len(stage.axes)), extents(0))
        needed: dict[int, np.ndarray] = {}
        for other in self.producers(stage) if stage.is_consumer else self.consumers(stage):
            depth = other.index(loop) + 1
            for access in other.writes if stage.is_consumer else other.reads:
                for own in (a for a in mine if depth and a.buffer == access.buffer):
                    for index, width in zip(own.indices, self.spans(other, access, depth)):
                        if index.op == "var":
                            full = stage.axes[index.value].extent
                            before = needed.get(index.value, extents(1))
                            needed[index.value] = np.minimum(np.maximum(before, width), full)
        return needed
