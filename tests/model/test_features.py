"""Structured features: the same columns everywhere, finite, and right where it can be checked."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wmhub.hardware.table import lookup
from wmhub.model.encode import ACTION_COLUMNS, BLOCK_COLUMNS, KINDS, encode, structured_columns
from wmhub.model.features import main_stage, structured_features
from wmhub.model.movement import element_bytes
from wmhub.names import HardwareKey
from wmhub.nest import Stage
from wmhub.program import Access, Index, Program
from wmhub.records import Scheduler
from wmhub.replay.ansor import replay_steps
from wmhub.replay.meta_schedule import replay_traces
from wmhub.trajectory import Trajectories

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_replay_ansor import CONV, STEPS
from test_replay_meta_schedule import TILED, matmul, of_types

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


#: A matrix product in tensor cores, as far as its copies go: to shared memory, then to fragments.
FRAGMENTS = [
    *TILED[:8],
    ["CacheRead", ["b0"], [0, "shared.dyn"], ["b20"]],
    ["ComputeAt", ["b20", "l11"], [1, -1], []],
    ["CacheRead", ["b0"], [1, "shared.dyn"], ["b21"]],
    ["ComputeAt", ["b21", "l11"], [1, -1], []],
    ["CacheRead", ["b0"], [0, "wmma.matrix_a"], ["b22"]],
    ["ComputeAt", ["b22", "l4"], [1, -1], []],
    ["CacheRead", ["b0"], [1, "wmma.matrix_b"], ["b23"]],
    ["ComputeAt", ["b23", "l4"], [1, -1], []],
    ["GetLoops", ["b20"], [], ["l30", "l31", "l32", "l33"]],
    ["Blockize", ["l33"], [1], ["b34"]],
]


def fragments(dtypes: dict[str, str]) -> dict[str, float]:
    program = of_types(matmul(), dtypes)
    (group,) = replay_traces(program, [[FRAGMENTS, [[3, [2, 4]], [5, [4, 4]]]]])
    table, names = structured_features(group.trajectories, GPU)
    return dict(zip(names, table[0].tolist(), strict=True))


def test_shared_memory_holds_what_is_copied_there_in_bytes_of_its_type() -> None:
    # A tile of 4 rows of A and one of 4 columns of B; fragments are in registers.
    for types, bytes_ in (({}, 4 + 4), ({"A": "float16"}, 2 + 4), ({"A": "int8", "B": "int8"}, 2)):
        assert fragments(types)["shared.bytes"] == pytest.approx(np.log2(4 * 32 * bytes_))
    # The copy that was made a block of its own takes no slot of another.
    found = fragments({})
    assert [found[f"cache{n}.tile"] for n in range(3)] == [7.0, 7.0, 2.0]
    assert found["stages.cache_read"] == 4.0


def test_a_program_says_how_large_its_tensors_are() -> None:
    assert GPU is not None
    one, other = (
        encode(replay_traces(of_types(matmul(), types), [[TILED, []]])[0].trajectories, GPU).blocks
        for types in ({}, {"A": "float16"})
    )
    differing = np.flatnonzero((one != other).any(axis=0))
    assert [BLOCK_COLUMNS[n] for n in differing] == ["read0.bytes"]


def test_memory_takes_less_time_for_half_the_bytes() -> None:
    bound = [["Bind", ["l7"], ["blockIdx.x"], []], ["Bind", ["l8"], ["threadIdx.x"], []]]
    trace = [*TILED[:8], *bound, *FRAGMENTS[8:12]]
    times = []
    for dtype in ("float32", "float16"):
        program = of_types(matmul(256, 256, 256), dict.fromkeys("ABCD", dtype))
        (group,) = replay_traces(program, [[trace, [[3, [8, 32]], [5, [4, 64]]]]])
        table, names = structured_features(group.trajectories, GPU)
        times.append(table[0, names.index("gpu.time.memory")])
    # Not half of it: a sector holds twice as many then, which the left operand's rows waste.
    assert times[0] > times[1] > times[0] - 1.0 > 0.0


def test_what_is_inlined_into_a_copy_may_change_its_type() -> None:
    program = of_types(matmul(), {"A": "float16", "B": "float32"})
    here = (Index("var", 0),)
    copy = Stage("copy", [], [], [Access("A", here)], [Access("B.shared.1", here)], "cache_read")
    candidates = Trajectories(Scheduler.META_SCHEDULE, program, (), (), (copy,), 1, ())
    assert element_bytes(candidates)["B.shared.1"] == 4.0


def test_copies_are_of_the_type_of_what_they_copy() -> None:
    program = of_types(matmul(), {"A": "float16", "C": "int8"})
    trace = [*FRAGMENTS, ["ReIndex", ["b1"], [0, 0], ["b40"]]]
    (group,) = replay_traces(program, [[trace, []]])
    sizes = element_bytes(group.trajectories)
    assert {name.split(".")[0]: size for name, size in sizes.items()} == {
        "A": 2.0, "B": 4.0, "C": 1.0, "C@5": 1.0, "D": 4.0,
    }  # fmt: skip
    assert sum(name.startswith("A.") for name in sizes) == 2
    renamed = Stage("copy", [], [], [Access("A", ())], [Access("A@7", ())], "reindex")
    stages = (*group.trajectories.stages, renamed)
    assert element_bytes(replace(group.trajectories, stages=stages))["A@7"] == 2.0
    assert element_bytes(replace(group.trajectories, program=None))["A"] == 4.0


def test_a_sum_of_integers_does_more_work_than_what_rounds_it() -> None:
    product, relu = matmul(k=4).blocks
    integers = replace(product, operations=(0.0,) * 6 + (2.0,))
    rounding = replace(relu, operations=(4.0, 4.0, 0.0, 2.0, 0.0, 0.0, 0.0))
    program = Program((integers, rounding), matmul(k=4).buffers)
    (group,) = replay_traces(program, [[[], []]])
    assert main_stage(group.trajectories).name == "C"
