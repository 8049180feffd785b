"""The vocabulary: one set of scheduling actions for both of TVM's auto-schedulers.

An Ansor step (``SP``, ``RE``, ``CA``, ...) and a MetaSchedule instruction (``Split``, ``Reorder``,
``ComputeAt``, ...) become the same `Action`. A name that is in neither table becomes
``ActionKind.OTHER``: a model trained today meets tomorrow's primitive.

Actions are batched. Candidates of one workload mostly share their structure (which primitive is
applied to which loop) and differ in numbers (tile sizes, unroll depths), so every number of an
`Action` is an array over N candidates of one structure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from wmhub.nest import Loop


class ActionKind(str, enum.Enum):
    """What an action does to a program."""

    SPLIT = "split"
    FUSE = "fuse"
    REORDER = "reorder"
    PARALLEL = "parallel"
    VECTORIZE = "vectorize"
    UNROLL = "unroll"
    BIND = "bind"
    COMPUTE_AT = "compute_at"
    REVERSE_COMPUTE_AT = "reverse_compute_at"
    COMPUTE_ROOT = "compute_root"
    COMPUTE_INLINE = "compute_inline"
    REVERSE_COMPUTE_INLINE = "reverse_compute_inline"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    REINDEX = "reindex"
    RFACTOR = "rfactor"
    DECOMPOSE = "decompose"
    TENSORIZE = "tensorize"
    BLOCKIZE = "blockize"
    STORAGE_ALIGN = "storage_align"
    SET_SCOPE = "set_scope"
    ANNOTATE = "annotate"
    UNANNOTATE = "unannotate"
    PAD = "pad"
    TRANSFORM_LAYOUT = "transform_layout"
    LOOP = "loop"
    """Adds, merges or partitions loops."""
    QUERY = "query"
    """Looks something up or draws a number; changes nothing by itself."""
    OTHER = "other"
    """A primitive that this version does not know."""

    def __str__(self) -> str:
        return self.value


#: Ansor's transform steps, by the name in the log (TVM 0.8 to 0.19, ``transform_step.cc``).
ANSOR_STEPS: dict[str, ActionKind] = {
    "AN": ActionKind.ANNOTATE,
    "FU": ActionKind.FUSE,
    "PR": ActionKind.ANNOTATE,
    "RE": ActionKind.REORDER,
    "SP": ActionKind.SPLIT,
    "FSP": ActionKind.SPLIT,
    "FFSP": ActionKind.SPLIT,
    "SA": ActionKind.STORAGE_ALIGN,
    "CA": ActionKind.COMPUTE_AT,
    "CI": ActionKind.COMPUTE_INLINE,
    "CR": ActionKind.COMPUTE_ROOT,
    "CHR": ActionKind.CACHE_READ,
    "CHW": ActionKind.CACHE_WRITE,
    "RF": ActionKind.RFACTOR,
}

#: MetaSchedule's instructions, by the name in the trace: all that TVM 0.27 registers, and the
#: names that older ones used for the same (``GetBlock``, ``SetAxisSeparator``).
META_SCHEDULE_INSTRUCTIONS: dict[str, ActionKind] = {
    "SampleCategorical": ActionKind.QUERY,
    "SamplePerfectTile": ActionKind.QUERY,
    "SamplePartitionedTile": ActionKind.QUERY,
    "SampleComputeLocation": ActionKind.QUERY,
    "GetBlock": ActionKind.QUERY,
    "GetSBlock": ActionKind.QUERY,
    "GetLoops": ActionKind.QUERY,
    "GetChildBlocks": ActionKind.QUERY,
    "GetProducers": ActionKind.QUERY,
    "GetConsumers": ActionKind.QUERY,
    "GetOutputBlocks": ActionKind.QUERY,
    "EnterPostproc": ActionKind.QUERY,
    "Fuse": ActionKind.FUSE,
    "Merge": ActionKind.LOOP,
    "Split": ActionKind.SPLIT,
    "LoopPartition": ActionKind.LOOP,
    "Reorder": ActionKind.REORDER,
    "ReorderBlockIterVar": ActionKind.REORDER,
    "AddUnitLoop": ActionKind.LOOP,
    "Parallel": ActionKind.PARALLEL,
    "Vectorize": ActionKind.VECTORIZE,
    "Bind": ActionKind.BIND,
    "Unroll": ActionKind.UNROLL,
    "CacheRead": ActionKind.CACHE_READ,
    "CacheWrite": ActionKind.CACHE_WRITE,
    "ReindexCacheRead": ActionKind.CACHE_READ,
    "ReindexCacheWrite": ActionKind.CACHE_WRITE,
    "CacheInplace": ActionKind.CACHE_READ,
    "CacheIndex": ActionKind.CACHE_READ,
    "ReadAt": ActionKind.CACHE_READ,
    "WriteAt": ActionKind.CACHE_WRITE,
    "ReIndex": ActionKind.REINDEX,
    "ComputeAt": ActionKind.COMPUTE_AT,
    "ReverseComputeAt": ActionKind.REVERSE_COMPUTE_AT,
    "ComputeInline": ActionKind.COMPUTE_INLINE,
    "ReverseComputeInline": ActionKind.REVERSE_COMPUTE_INLINE,
    "FuseReductionEpilogue": ActionKind.REVERSE_COMPUTE_INLINE,
    "DecomposeReduction": ActionKind.DECOMPOSE,
    "DecomposePadding": ActionKind.DECOMPOSE,
    "RFactor": ActionKind.RFACTOR,
    "RollingBuffer": ActionKind.STORAGE_ALIGN,
    "StorageAlign": ActionKind.STORAGE_ALIGN,
    "SetAxisSeparator": ActionKind.STORAGE_ALIGN,
    "SetScope": ActionKind.SET_SCOPE,
    "UnsafeSetDType": ActionKind.SET_SCOPE,
    "UnsafeHideBufferAccess": ActionKind.ANNOTATE,
    "AnnotateBufferAccess": ActionKind.ANNOTATE,
    "Annotate": ActionKind.ANNOTATE,
    "Unannotate": ActionKind.UNANNOTATE,
    "Blockize": ActionKind.BLOCKIZE,
    "Tensorize": ActionKind.TENSORIZE,
    "TransformLayout": ActionKind.TRANSFORM_LAYOUT,
    "TransformBlockLayout": ActionKind.TRANSFORM_LAYOUT,
    "PadEinsum": ActionKind.PAD,
}

#: Ansor's ``IteratorAnnotation``, by number, in the words that both schedulers share.
ANSOR_ANNOTATIONS = (
    "", "unroll", "vectorize", "parallel", "vthread.x", "blockIdx.x", "threadIdx.x", "blockIdx.y",
    "threadIdx.y", "blockIdx.z", "threadIdx.z", "tensorize",
)  # fmt: skip


@dataclass(frozen=True)
class Action:
    """One scheduling action, for N candidates of one structure."""

    kind: ActionKind
    name: str
    """What the log calls it."""
    stage: int
    """Number of the stage (block) that it acts on, in `Trajectories.stages`; -1 for none."""
    loops: tuple[Loop, ...] = ()
    """Loops that it touches, as they were before it, in the order that it names them."""
    results: tuple[Loop, ...] = ()
    """Loops that it makes, from outside to inside."""
    order: tuple[int, ...] = ()
    """For a reorder: old positions in the stage's nest, in their new order."""
    target: int = -1
    """For a compute location: number of the stage at whose loop it is placed."""
    position: int = -1
    """For a compute location: depth of that loop in the target's nest; for a cache: number of
    the read or write that is cached."""
    text: str = ""
    """Annotation key, thread axis, memory scope or intrinsic."""
    value: np.ndarray | None = None
    """float64 [N or 1]: an annotation's number, such as the unroll depth."""
