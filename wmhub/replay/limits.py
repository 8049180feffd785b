"""What a thread block of a GPU can hold, and which candidates keep to it, without TVM.

TVM's post-processor ``VerifyGPUCode`` refuses nine of ten candidates that are drawn at random, each
after a replay and half a lowering. Nearly all of them ask for too much shared memory, or for too
few or too many threads, which their loop nests tell at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wmhub.nest import Stage, pipeline_depth, trips
from wmhub.trajectory import Trajectories

_THREADS = ("threadIdx.x", "threadIdx.y", "threadIdx.z")
#: Annotations by which a multi-level tiling says how many threads it is made for, both inclusive.
_LEAST, _MOST = (f"meta_schedule.thread_extent_{end}_inclusive" for end in ("low", "high"))


@dataclass(frozen=True)
class BlockLimits:
    """The limits of one thread block."""

    threads: int
    """Most threads."""
    shared_bytes: int
    """Most shared memory, in bytes."""

    @classmethod
    def of(cls, target: Any) -> BlockLimits | None:
        """Those that a ``tvm.target.Target`` states; ``None`` for a CPU, or where it states none.

        They are the ones that ``VerifyGPUCode`` reads.
        """
        threads = target.attrs.get("max_threads_per_block")
        shared = target.attrs.get("max_shared_memory_per_block")
        if "gpu" not in target.keys or threads is None or shared is None:
            return None
        return cls(int(threads), int(shared))


def fits(trajectories: Trajectories, limits: BlockLimits) -> np.ndarray:
    """Which of N candidates keep to ``limits``, as far as their loop nests tell. bool [N].

    Whoever is refused here is refused by TVM; some others are, too (vectors that do not divide).
    """
    verdict = np.ones(1, dtype=bool)
    shared = np.zeros(1)
    for stage in trajectories.stages:
        if stage.inlined:
            continue
        threads = trips(
            [loop for loop in (*stage.outer_loops(), *stage.loops) if loop.annotation in _THREADS]
        )
        verdict = verdict & (threads <= limits.threads)
        if _LEAST in stage.annotations and _MOST in stage.annotations:
            wanted = stage.annotations[_LEAST], stage.annotations[_MOST]
            verdict = verdict & (wanted[0] <= threads) & (threads <= wanted[1])
        if stage.scope.startswith("shared"):
            shared = shared + _elements(stage)
    shared = shared * pipeline_depth(trajectories.stages) * _element_bytes(trajectories)
    verdict = verdict & (shared <= limits.shared_bytes)
    return np.broadcast_to(verdict, (trajectories.count,))


def _elements(stage: Stage) -> np.ndarray:
    """Elements that a block keeps of what ``stage`` writes: one host iteration's. [N or 1]."""
    own = [loop for loop in stage.loops if stage.host is None or stage.host.index(loop) < 0]
    return trips([loop for loop in own if not loop.is_reduction])


def _element_bytes(trajectories: Trajectories) -> float:
    """Bytes of the smallest element at hand: what a cache holds is not told, and none may be
    refused that TVM would take."""
    program = trajectories.program
    sizes = [buffer.element_bytes for buffer in program.buffers.values()] if program else []
    return min(sizes, default=4.0)
