"""Trajectories to arrays: what the network reads of N candidates of one structure.

`FeatureSpec` names every column; it is stamped into a checkpoint and compared when one is loaded,
so that a model never reads columns that mean something else.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wmhub.actions import Action, ActionKind
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.columns import log2
from wmhub.model.features import structured_features
from wmhub.nest import Stage
from wmhub.program import OPERATIONS, Block, Buffer
from wmhub.records import Scheduler
from wmhub.trajectory import Trajectories

#: Changes when a column changes its meaning under the same name.
FEATURE_VERSION = 10

KINDS: tuple[str, ...] = ("", *[kind.value for kind in ActionKind])
"""Action kinds by number; 0 is padding."""

_LOOPS, _RESULTS, _HASHES = 4, 5, 4
_WORDS = ("parallel", "vectorize", "unroll", "blockIdx", "threadIdx", "vthread", "shared", "local")
_LOWER_WORDS = tuple(word.lower() for word in _WORDS)
_ROLES = ("compute", "cache_read", "cache_write", "rfactor")
ACTION_COLUMNS: tuple[str, ...] = (
    *[f"loop{i}" for i in range(_LOOPS)],
    *[f"loop{i}.is_reduction" for i in range(_LOOPS)],
    *[f"result{i}" for i in range(_RESULTS)],
    "loops", "value", "has_value", "position", "target.depth",
    *[f"word.{w}" for w in _WORDS],
    *[f"role.{r}" for r in _ROLES],
    *[f"hash{i}" for i in range(_HASHES)],
)  # fmt: skip

_SPATIAL, _REDUCTION, _READS, _SHAPE = 5, 4, 4, 10
BLOCK_COLUMNS: tuple[str, ...] = (
    "is_auto_scheduler", "is_reduction", "has_init", "trips",
    *[f"spatial{i}" for i in range(_SPATIAL)],
    *[f"reduction{i}" for i in range(_REDUCTION)],
    *[f"operations.{name}" for name in OPERATIONS],
    "reads", *[f"read{i}.bytes" for i in range(_READS)],
    *[f"shape{i}" for i in range(_SHAPE)],
)  # fmt: skip

HARDWARE_COLUMNS: tuple[str, ...] = (
    "is_gpu", "cores", "vector_bits", "register_bytes", "l1_bytes", "l2_bytes", "l3_bytes",
    "shared_memory_bytes", "clock_hz", "bandwidth", "peak_flops", "flops_per_byte",
)  # fmt: skip


@dataclass(frozen=True)
class FeatureSpec:
    """The columns that a network was trained on."""

    version: int
    kinds: tuple[str, ...]
    action: tuple[str, ...]
    block: tuple[str, ...]
    hardware: tuple[str, ...]
    structured: tuple[str, ...]


@dataclass(frozen=True)
class Encoded:
    """N candidates of one structure, as the network reads them."""

    blocks: np.ndarray
    """float32 [B, len(BLOCK_COLUMNS)]: the initial program."""
    hardware: np.ndarray
    """float32 [len(HARDWARE_COLUMNS)]."""
    kinds: np.ndarray
    """int64 [T]: number in ``KINDS`` of each action."""
    actions: tuple[np.ndarray, ...]
    """T arrays, float32 [N or 1, len(ACTION_COLUMNS)]; one row where all candidates agree."""
    structured: np.ndarray
    """float32 [N, F]; column after column in memory, as trees and networks take them apart."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.structured)


def current_spec(structured: tuple[str, ...]) -> FeatureSpec:
    """The spec of this version of wmhub."""
    return FeatureSpec(
        FEATURE_VERSION, KINDS, ACTION_COLUMNS, BLOCK_COLUMNS, HARDWARE_COLUMNS, structured
    )


def structured_columns(hardware: HardwareProfile) -> tuple[str, ...]:
    """Names of the structured features; they are the same for every structure and device."""
    nothing = Trajectories(Scheduler.META_SCHEDULE, None, (), (), (Stage("", [], []),), 1, ())
    return tuple(structured_features(nothing, hardware)[1])


def encode(trajectories: Trajectories, hardware: HardwareProfile) -> Encoded:
    """Encodes one group of candidates."""
    steps = [_encode_action(action, trajectories) for action in trajectories.actions]
    structured, _ = structured_features(trajectories, hardware)
    return Encoded(
        blocks=_encode_program(trajectories),
        hardware=encode_hardware(hardware),
        kinds=np.array([KINDS.index(a.kind.value) for a in trajectories.actions], dtype=np.int64),
        actions=tuple(steps),
        structured=structured,
    )


def encode_hardware(hardware: HardwareProfile) -> np.ndarray:
    """float32 [len(HARDWARE_COLUMNS)], logarithms scaled to a few units."""
    values = [float(hardware.is_gpu)]
    for name in HARDWARE_COLUMNS[1:-1]:
        values.append(np.log2(1.0 + getattr(hardware, name)) / 8.0)
    values.append(np.log2(hardware.peak_flops / hardware.bandwidth) / 8.0)
    return np.array(values, dtype=np.float32)


def _encode_action(action: Action, trajectories: Trajectories) -> np.ndarray:
    loops, results = action.loops[:_LOOPS], action.results[:_RESULTS]
    more = _LOOPS - len(loops)
    # Plain numbers are the same for all candidates and fill a row at once; what differs follows.
    row = [0.0] * _LOOPS
    row += [*[float(loop.is_reduction) for loop in loops], *[0.0] * more]
    row += [0.0] * _RESULTS
    row.append(len(action.loops) / 8.0)
    at_value = len(row)
    row += [0.0, float(action.value is not None)]
    row.append(action.position / 8.0)
    target = trajectories.stages[action.target] if action.target >= 0 else None
    row.append(action.position / max(1, len(target.loops)) if target else 0.0)
    text = action.text.lower()
    row += [float(word in text) for word in _LOWER_WORDS]
    stage = trajectories.stages[action.stage] if action.stage >= 0 else None
    row += [float(stage is not None and stage.role == role) for role in _ROLES]
    if action.kind is ActionKind.OTHER:
        # What no one foresaw keeps an identity of its own.
        mixed = zlib.crc32(f"{action.name}:{action.text}".encode())
        row += [float(mixed >> i & 1) * 2 - 1 for i in range(_HASHES)]
    else:
        row += [0.0] * _HASHES
    places = [*range(len(loops)), *range(2 * _LOOPS, 2 * _LOOPS + len(results))]
    extents = [loop.extent for loop in (*loops, *results)]
    value = [] if action.value is None else [action.value]
    rows = max([1, *[len(array) for array in (*extents, *value)]])
    table = np.empty((rows, len(row)), dtype=np.float32)
    table[:] = row
    if extents:
        sizes = np.empty((rows, len(extents)))
        for column, extent in zip(sizes.T, extents):
            column[:] = extent
        table[:, places] = log2(sizes)
    for array in value:
        table[:, at_value] = np.log2(np.maximum(array, 0) + 1)
    return table


def _encode_program(trajectories: Trajectories) -> np.ndarray:
    program = trajectories.program
    if program is None:
        row = np.zeros((1, len(BLOCK_COLUMNS)), dtype=np.float32)
        row[0, 0] = 1.0
        shape = np.array(trajectories.shape[:_SHAPE], dtype=np.float64)
        row[0, -_SHAPE : -_SHAPE + len(shape) or None] = log2(np.abs(shape)) / 4.0
        return row
    return np.stack([_encode_block(block, program.buffers) for block in program.blocks])


def _encode_block(block: Block, buffers: Mapping[str, Buffer]) -> np.ndarray:
    spatial = [i.extent for i in block.iterators if not i.is_reduction][::-1]
    reduction = [i.extent for i in block.iterators if i.is_reduction][::-1]
    sizes = []
    for access in block.reads[:_READS]:
        buffer = buffers.get(access.buffer)
        shape = buffer.shape if buffer is not None else ()
        element = buffer.element_bytes if buffer is not None else 4.0
        sizes.append(float(math.prod(shape)) * element)

    def padded(values: Sequence[float], length: int) -> list[float]:
        return [*values[:length], *[1.0] * (length - len(values))]

    counts = [
        block.trips,
        *padded(spatial, _SPATIAL),
        *padded(reduction, _REDUCTION),
        *[1.0 + count for count in block.operations],
        *padded(sizes, _READS),
    ]
    trips, *logs = np.log2(np.maximum(np.array(counts, dtype=np.float64), 1)).tolist()
    axes, operations = _SPATIAL + _REDUCTION, len(block.operations)
    row = [
        0.0,
        float(block.is_reduction),
        float(block.has_init),
        trips / 8.0,
        *[log / 4.0 for log in logs[:axes]],
        *logs[axes : axes + operations],
        len(block.reads) / 4.0,
        *[log / 4.0 for log in logs[axes + operations :]],
        *[0.0] * _SHAPE,
    ]
    return np.array(row, dtype=np.float32)
