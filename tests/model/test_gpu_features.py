"""Registers, coalescing and occupancy, against numbers worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from wmhub.hardware.table import lookup
from wmhub.model.features import structured_features
from wmhub.names import HardwareKey
from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.records import Scheduler
from wmhub.trajectory import Trajectories

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_replay_ansor import CONV, STEPS

from wmhub.replay.ansor import replay_steps

V100, K80, CPU = (
    lookup(HardwareKey.parse(key)) for key in ("cuda-v100", "cuda-k80", "llvm-emeraldrapids-2c")
)


def bound(threads: tuple[int, int], own: tuple[int, int], virtual: int = 1) -> dict[str, float]:
    """Features on a V100 of a 4096 by 4096 product whose blocks are cut in this way."""
    axes = [Axis("i", extents(4096), False), Axis("j", extents(4096), False)]
    blocks = [4096 // (t * o) for t, o in zip(threads, own, strict=True)]
    blocks[0] //= virtual

    def loop(sizes: tuple[int, int] | list[int], annotation: str) -> Loop:
        parts = [(axis, extents(size)) for axis, size in zip(axes, sizes, strict=True)]
        return Loop(extents(sizes[0] * sizes[1]), parts, annotation)

    loops = [
        loop(blocks, "blockIdx.x"),
        loop((virtual, 1), "vthread.x"),
        loop(threads, "threadIdx.x"),
        Loop.over(axes[0], extents(own[0])),
        Loop.over(axes[1], extents(own[1])),
    ]
    stage = Stage("matmul", axes, loops)
    candidates = Trajectories(Scheduler.META_SCHEDULE, None, (), (), (stage,), 1, ())
    assert V100 is not None
    table, names = structured_features(candidates, V100)
    return dict(zip(names, table[0].tolist(), strict=True))


def test_accumulators_count_virtual_threads_and_too_many_are_spilled() -> None:
    few = bound((8, 32), own=(2, 2), virtual=2)
    assert few["gpu.accumulators"] == 3.0
    assert few["gpu.spill"] == 0.0
    assert few["gpu.register_limit"] == pytest.approx(np.log2(255.0))
    many = bound((16, 64), own=(8, 8), virtual=2)
    assert many["gpu.register_limit"] == 6.0  # 65,536 registers for 1,024 threads
    assert many["gpu.spill"] == pytest.approx(np.log2((24 + 1.25 * 128) / 64))
    assert many["gpu.resident_blocks"] == 0.0


def test_threads_along_the_last_axis_store_together() -> None:
    assert bound((1, 64), own=(4, 1))["gpu.store_sectors"] == 2.0  # 32 floats are 4 sectors
    assert bound((1, 64), own=(1, 4))["gpu.store_sectors"] == 4.0
    assert bound((64, 1), own=(4, 4))["gpu.store_sectors"] == 5.0  # each thread in a row of its own


def test_nothing_on_a_cpu_and_something_of_a_real_log_line() -> None:
    assert CPU is not None
    assert K80 is not None
    (group,) = replay_steps(CONV, [STEPS])
    for hardware, is_gpu in ((CPU, False), (K80, True)):
        table, names = structured_features(group.trajectories, hardware)
        found = [v for name, v in zip(names, table[0], strict=True) if name.startswith("gpu.")]
        assert any(found) == is_gpu
