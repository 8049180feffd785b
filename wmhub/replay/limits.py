"""What a thread block of a GPU can hold, and which candidates keep to it, without TVM.

TVM's post-processor ``VerifyGPUCode`` refuses nine of ten candidates that are drawn at random, each
after a replay and half a lowering. Nearly all of them ask for too much shared memory, or for too
few or too many threads, which their loop nests tell at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmhub.nest import THREADS, Loop, Stage, pipeline_depth, trips
from wmhub.trajectory import Trajectories

#: Annotations by which a multi-level tiling says how many threads it is made for, both inclusive.
_LEAST, _MOST = (f"meta_schedule.thread_extent_{end}_inclusive" for end in ("low", "high"))

#: Annotation of a block that a whole warp executes.
_WHOLE_WARP = "warp_execution"
#: Threads of a warp, of NVIDIA's devices: what warps are counted in on all.
WARP = 32


@dataclass(frozen=True)
class BlockLimits:
    """The limits of one thread block."""

    threads: int
    """Most threads."""
    shared_bytes: int
    """Most shared memory, in bytes."""
    warp: int = WARP
    """Threads of a warp."""

    @classmethod
    def of(cls, target: Any) -> BlockLimits | None:
        """Those that a ``tvm.target.Target`` states; ``None`` for a CPU, or where it states none.

        They are the ones that ``VerifyGPUCode`` reads.
        """
        names = ("max_threads_per_block", "max_shared_memory_per_block", "thread_warp_size")
        stated = [target.attrs.get(name) for name in names]
        if "gpu" not in target.keys or None in stated:
            return None
        return cls(*map(int, stated))


def fits(trajectories: Trajectories, limits: BlockLimits) -> np.ndarray:
    """Which of N candidates keep to ``limits``, as far as their loop nests tell. bool [N].

    Whoever is refused here is refused by TVM; some others are, too. In doubt a candidate fits.
    """
    verdict = np.ones(1, dtype=bool)
    for stage in trajectories.stages:
        if not stage.inlined:
            verdict = verdict & _threads_fit(stage, limits)
    shared = _shared_elements(trajectories) * _element_bytes(trajectories)
    return np.broadcast_to(verdict & (shared <= limits.shared_bytes), (trajectories.count,))


def _threads_fit(stage: Stage, limits: BlockLimits) -> np.ndarray:
    bound = [one for one in (*stage.outer_loops(), *stage.loops) if one.annotation in THREADS]
    verdict = trips(bound) <= limits.threads
    if _LEAST in stage.annotations and _MOST in stage.annotations:
        threads = threads_of(stage, bound, warp=limits.warp)
        least, most = stage.annotations[_LEAST], stage.annotations[_MOST]
        verdict = verdict & (least <= threads) & (threads <= most)
    return verdict


def threads_of(
    stage: Stage, bound: Sequence[Loop], stages: Sequence[Stage] = (), warp: int = WARP
) -> np.ndarray:
    """Threads of a block, of which ``stage`` has the loops ``bound``: float64 [N or 1].

    A warp that executes a block as a whole stands in no loop. ``stages`` of the same nest may say
    that one does.
    """
    kernel = [one for one in stages if one.loops[:1] == stage.loops[:1]]
    if all(_WHOLE_WARP not in one.annotations for one in (stage, *kernel)):
        return trips(bound)
    return warp * trips([loop for loop in bound if loop.annotation != "threadIdx.x"])


def _shared_elements(trajectories: Trajectories) -> np.ndarray:
    """Elements that a block holds at least, of all its kernels the most. float64 [N or 1].

    What is loaded is held together, once for each stage of a software pipeline. Other buffers may
    take each other's place.
    """
    depth = pipeline_depth(trajectories.stages)
    loaded: dict[int, np.ndarray] = {}
    most = np.zeros(1)
    for stage in trajectories.stages:
        if stage.inlined or not stage.scope.startswith("shared"):
            continue
        if stage.role == "cache_read":
            *_, outermost = stage.chain()
            kernel = id(outermost)
            loaded[kernel] = loaded.get(kernel, np.zeros(1)) + _elements(stage) * depth
            most = np.maximum(most, loaded[kernel])
        else:
            most = np.maximum(most, _elements(stage))
    return most


def _elements(stage: Stage) -> np.ndarray:
    """Elements that a block keeps of what ``stage`` writes: one host iteration's. [N or 1]."""
    own = [loop for loop in stage.loops if stage.host is None or stage.host.index(loop) < 0]
    return trips([loop for loop in own if not loop.is_reduction])


def _element_bytes(trajectories: Trajectories) -> float:
    """Bytes of the smallest element at hand: what a cache holds is not told."""
    program = trajectories.program
    sizes = [buffer.element_bytes for buffer in program.buffers.values()] if program else []
    return min(sizes, default=4.0)
