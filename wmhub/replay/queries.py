"""Instructions that look something up or draw a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wmhub.nest import Loop, Stage, extents
from wmhub.replay.state import State

if TYPE_CHECKING:
    from wmhub.replay.state import Bound


def get_block(state: State, _n: str, _v: Any, attrs: Any, _o: Any, _d: Any) -> list[Bound]:
    """``GetSBlock``: the block of that name."""
    return [state.by_name(attrs[0]) or str(attrs[0])]


def get_loops(state: State, _n: str, values: Any, _a: Any, outputs: Any, _d: Any) -> list[Bound]:
    """``GetLoops``: the nest of a block, from outside to inside."""
    stage = values[0]
    if not isinstance(stage, Stage):
        return []
    if len(stage.loops) != len(outputs):
        # Something upstream was not followed; go on with loops of unknown extent.
        stage.loops = [Loop(extents(0)) for _ in outputs]
    return list(stage.loops)


def get_children(state: State, *_: Any) -> list[Bound]:
    """``GetChildBlocks``: of the root, all blocks in program order."""
    return list(state.live())


def get_producers(state: State, _n: str, values: Any, *_: Any) -> list[Bound]:
    """``GetProducers``."""
    return list(state.producers(values[0])) if isinstance(values[0], Stage) else []


def get_consumers(state: State, _n: str, values: Any, *_: Any) -> list[Bound]:
    """``GetConsumers``."""
    return list(state.consumers(values[0])) if isinstance(values[0], Stage) else []


def sample(state: State, _n: str, _v: Any, _a: Any, _o: Any, decision: Any) -> list[Bound]:
    """``SamplePerfectTile``, ``SamplePartitionedTile`` and ``SampleCategorical``, as decided."""
    return list(decision) if isinstance(decision, list) else [decision]


def sample_location(
    state: State, _n: str, values: Any, _a: Any, _o: Any, decision: Any
) -> list[Bound]:
    """``SampleComputeLocation``: a loop, ``root`` or ``inline``."""
    if decision == -2:
        return ["inline"]
    consumers = state.consumers(values[0]) if isinstance(values[0], Stage) else []
    if decision == -1 or not consumers or int(decision) >= len(consumers[0].loops):
        return ["root"]
    # Locations count the loops from the root to the consumers' lowest common ancestor.
    return [consumers[0].loops[int(decision)]]
