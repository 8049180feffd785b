"""Data that passes through caches and registers, against numbers worked out by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from wmhub.hardware.table import lookup
from wmhub.model.columns import Columns
from wmhub.model.features import main_stage
from wmhub.model.loop_table import LoopTable
from wmhub.model.movement import element_bytes
from wmhub.model.working_sets import working_sets
from wmhub.names import HardwareKey
from wmhub.replay.meta_schedule import replay_traces

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_replay_meta_schedule import TILED, matmul, of_types

CPU = lookup(HardwareKey.parse("llvm-emeraldrapids-2c"))
assert CPU is not None


def features(
    tile_i: list[int], tile_j: list[int], dtypes: Mapping[str, str] | None = None
) -> dict[str, float]:
    assert CPU is not None
    (group,) = replay_traces(
        of_types(matmul(), dtypes or {}), [[TILED, [[3, tile_i], [5, tile_j]]]]
    )
    columns, sizes = Columns(1), element_bytes(group.trajectories)
    stage = main_stage(group.trajectories)
    working_sets(columns, group.trajectories, stage, LoopTable.of(stage.loops), sizes, CPU)
    return dict(zip(columns.names, columns.table()[0].tolist(), strict=True))


def test_the_whole_matmul_fits_a_cache_and_passes_it_once() -> None:
    found = features([2, 4], [4, 4])
    bytes_ = 4 * (8 * 16 + 8 * 32 + 32 * 16)
    assert found["compulsory"] == pytest.approx(np.log2(bytes_))
    for cache in ("l2", "l3"):
        assert found[f"{cache}.traffic"] == pytest.approx(np.log2(bytes_))
        assert found[f"{cache}.traffic.excess"] == 0.0


def test_each_tensor_has_the_bytes_of_its_type() -> None:
    found = features([2, 4], [4, 4], {"A": "float16", "B": "int8"})
    bytes_ = 4 * 8 * 16 + 2 * 8 * 32 + 1 * 32 * 16
    assert found["compulsory"] == pytest.approx(np.log2(bytes_))
    assert found["l2.traffic"] == pytest.approx(np.log2(bytes_))


def test_what_a_reduction_holds_in_registers() -> None:
    found = features([2, 4], [4, 4])
    # 4 by 4 accumulators live through k of 32; each step takes 4 elements of A and 4 of B.
    assert (found["held.tile"], found["held.steps"]) == (4.0, 5.0)
    assert [found[f"held.access{k}"] for k in range(4)] == [4.0, 2.0, 2.0, 0.0]
    assert found["held.intensity"] == 1.0
