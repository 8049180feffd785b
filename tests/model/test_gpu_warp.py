"""What the first warp of a block touches together, against numbers worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from wmhub.hardware.table import lookup
from wmhub.model.features import structured_features
from wmhub.names import HardwareKey

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_replay_operators import product

from wmhub.replay.ansor import replay_steps

#: 65,536 by 1,024 by 1,024 numbers.
MATMUL = '["matmul_layer", 65536, 1024, 1024]'
V100 = lookup(HardwareKey.parse("cuda-v100"))


def found(rows: list[int], columns: list[int], steps: list[int]) -> dict[str, float]:
    """Features on a V100 of a product of which virtual threads, threads and a thread's own two
    levels are so long."""
    (group,) = replay_steps(MATMUL, [product(rows, columns, steps)])
    assert V100 is not None
    table, names = structured_features(group.trajectories, V100)
    return dict(zip(names, table[0].tolist(), strict=True))


def test_lanes_conflict_and_waste() -> None:
    full = found([1, 32, 8, 1], [4, 32, 2, 2], [4, 1])
    # The 32 lanes read the same word of the left operand, and words four apart of the right one:
    # eight banks of four words each. A thread reads 8 and 16 for 128 sums.
    assert (full["gpu.warp.conflict0"], full["gpu.warp.conflict1"]) == (0.0, 2.0)
    assert full["gpu.warp.transactions"] == pytest.approx(np.log2((8 + 4 * 16) / 128))
    # Rows of four numbers are half a sector; those of 512 are whole.
    assert (full["gpu.warp.load0"], full["gpu.warp.load1"]) == (1.0, 0.0)
    # 32 numbers, four apart, lie in 16 sectors.
    assert full["gpu.warp.store"] == 4.0


def test_what_a_kernel_moves_and_what_it_has_to() -> None:
    full = found([1, 32, 8, 1], [4, 32, 2, 2], [4, 1])
    # In units of the left operand, which the result is as large as: two columns of blocks load it,
    # half a sector at a time, 256 rows of blocks a 64th each, and every store takes four times as
    # much as it needs.
    moved, needed = 2 * 2 + 256 / 64 + 4, 1 + 1 / 64 + 1
    assert full["gpu.ratio.memory"] - full["gpu.balance"] == pytest.approx(
        np.log2(moved / needed), abs=1e-5
    )
    assert V100 is not None
    reads = 65536 * 1024 * 1024 * (72 / 128) / 32
    nanoseconds = reads / (80 * V100.clock_hz / 1e9)
    assert full["gpu.time.shared"] == pytest.approx(np.log2(nanoseconds), rel=1e-6)


def test_a_block_of_less_than_a_warp_stores_and_reads_in_more_instructions() -> None:
    few = found([1, 1, 8, 1], [4, 8, 2, 2], [4, 1])
    # 8 numbers, four apart, are 4 sectors: 16 bytes for each, as above.
    assert few["gpu.warp.store"] == 2.0
    assert few["gpu.ratio.work"] == 2.0
    # 8 rows and 128 columns a block.
    moved, needed = 8 * 2 + 8192 / 64 + 4, 1 + 1 / 64 + 1
    assert few["gpu.ratio.memory"] - few["gpu.balance"] == pytest.approx(
        np.log2(moved / needed), abs=1e-5
    )
    # As many reads for a sum as above, in instructions that serve a quarter as many; the lanes
    # read words four apart of all banks, each its own.
    assert few["gpu.warp.transactions"] == pytest.approx(np.log2((8 + 16) / 128))
    assert V100 is not None
    nanoseconds = 65536 * 1024 * 1024 * (24 / 128) / 8 / (80 * V100.clock_hz / 1e9)
    assert few["gpu.time.shared"] == pytest.approx(np.log2(nanoseconds), rel=1e-6)
