"""Structured features: the same columns everywhere, finite, and right where it can be checked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from wmhub.hardware.table import lookup
from wmhub.model.encode import ACTION_COLUMNS, BLOCK_COLUMNS, KINDS, encode, structured_columns
from wmhub.model.features import structured_features
from wmhub.names import HardwareKey
from wmhub.replay.ansor import replay_steps
from wmhub.replay.meta_schedule import replay_traces

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_replay_ansor import CONV, STEPS
from test_replay_meta_schedule import TILED, matmul

GPU, CPU = (lookup(HardwareKey.parse(k)) for k in ("cuda-v100", "llvm-emeraldrapids-2c"))
assert GPU is not None
assert CPU is not None


def features(tile_i: list[int], tile_j: list[int]) -> dict[str, float]:
    assert CPU is not None
    (group,) = replay_traces(matmul(), [[TILED, [[3, tile_i], [5, tile_j]]]])
    table, names = structured_features(group.trajectories, CPU)
    return dict(zip(names, table[0].tolist(), strict=True))


def test_all_structures_have_the_same_columns() -> None:
    assert GPU is not None
    assert CPU is not None
    (ansor,) = replay_steps(CONV, [STEPS])
    (meta,) = replay_traces(matmul(), [[TILED, []]])
    for group, hardware in ((ansor, GPU), (meta, CPU)):
        table, names = structured_features(group.trajectories, hardware)
        assert tuple(names) == structured_columns(GPU) == structured_columns(CPU)
        assert len(set(names)) == len(names)
        assert np.isfinite(table).all()
        encoded = encode(group.trajectories, hardware)
        assert encoded.structured.shape == (1, len(names))
        assert encoded.blocks.shape[1] == len(BLOCK_COLUMNS)
        assert all(a.shape[1] == len(ACTION_COLUMNS) for a in encoded.actions)
        assert all(KINDS[k] for k in encoded.kinds)


def test_tiles_of_a_matmul() -> None:
    found = features([2, 4], [4, 4])
    # Spatial axes count from the innermost: j first.
    assert found["spatial0.extent"] == 4.0
    assert found["spatial0.step0"] == 2.0
    assert found["spatial0.step1"] == 2.0
    assert found["spatial1.step0"] == 2.0
    assert found["spatial1.step1"] == 1.0
    assert found["reduction0.extent"] == 5.0
    assert found["trips"] == np.log2(8 * 16 * 32)
    assert [found[f"inner{i}.extent"] for i in range(6)] == [2.0, 2.0, 5.0, 2.0, 1.0, 0.0]
    assert [found[f"inner{i}.is_reduction"] for i in range(6)] == [0, 0, 1, 0, 0, 0]
    # j moves C and B along their last dimension and leaves A alone; k moves A so, and B otherwise.
    for inner, contiguous, strided in (
        (0, [1, 0, 1, 0], [0, 0, 0, 0]),
        (2, [0, 1, 0, 0], [0, 0, 1, 0]),
    ):
        assert [found[f"inner{inner}.access{k}.contiguous"] for k in range(4)] == contiguous
        assert [found[f"inner{inner}.access{k}.strided"] for k in range(4)] == strided
    assert found["innermost.spatial_run"] == 4.0


def test_unit_loops_do_not_shift_the_others() -> None:
    found = features([8, 1], [4, 4])
    assert [found[f"inner{i}.extent"] for i in range(5)] == [2.0, 5.0, 2.0, 3.0, 0.0]


def test_threads_and_shared_memory_of_a_gpu_schedule() -> None:
    assert GPU is not None
    (group,) = replay_steps(CONV, [STEPS])
    table, names = structured_features(group.trajectories, GPU)
    found = dict(zip(names, table[0].tolist(), strict=True))
    assert found["grid"] == 4.0
    assert found["threads"] == 5.0
    assert found["virtual"] == 1.0
    assert found["cache0.tile"] == 6.0
    assert found["shared.bytes"] == 8.0
    assert found["thread_use"] == 1.0
    # 2^15 products by 2^9 threads; each of 16 blocks copies its tile twice, all threads together.
    assert found["work.per_thread"] == 6.0
    assert found["leading"] == 10.0
    assert found["cache0.rounds"] == 5.0
    assert found["shared.loaded"] == 13.0
    assert found["shared.intensity"] == 6.0


def test_candidates_share_what_they_agree_on() -> None:
    assert CPU is not None
    traces = [[TILED, [[3, [2, 4]], [5, j]]] for j in ([4, 4], [1, 16])]
    (group,) = replay_traces(matmul(), traces)
    encoded = encode(group.trajectories, CPU)
    # What all share, numbers included, comes first.
    assert [len(rows) == 1 for rows in encoded.actions].index(False) == 1
    assert [len(a) for a in encoded.actions][:2] == [1, 2]
