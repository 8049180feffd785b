"""Ansor's steps: nests, and what a log's later steps say of its earlier ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.actions import ANSOR_STEPS, ActionKind
from wmhub.errors import InvalidInputError
from wmhub.hardware.table import lookup
from wmhub.model.encode import encode
from wmhub.names import HardwareKey
from wmhub.nest import trips
from wmhub.replay.ansor import replay_steps

CONV = '["conv2d_layer", 128, 128, 28, 28, 128, 3, 3, 1, "SAME"]'

# The form of a GPU schedule by SketchPolicy: a tiled stage, its write cache, one cooperative load.
STEPS: list[Any] = [
    ["CHW", 2, "local"],
    ["SP", 2, 0, 64, [1, 8, 2, 1], 1],
    ["SP", 2, 5, 32, [2, 4, 1, 1], 1],
    ["SP", 2, 10, 16, [4, 2], 1],
    ["RE", 2, [0, 5, 1, 6, 2, 7, 10, 11, 3, 8, 12, 4, 9]],
    ["FSP", 3, 0, 1, 3],
    ["FSP", 3, 4, 2, 3],
    ["RE", 3, [0, 4, 1, 5, 2, 6, 3, 7]],
    ["CA", 2, 3, 5],
    ["CHR", 1, "shared", [3]],
    ["CA", 2, 3, 6],
    ["FU", 4, [0, 1]],
    ["AN", 4, 0, 5],
    ["FU", 4, [1, 2]],
    ["AN", 4, 1, 4],
    ["FU", 4, [2, 3]],
    ["AN", 4, 2, 6],
    ["FU", 2, [0, 1]],
    ["SP", 2, 0, 256, [2], 1],
    ["AN", 2, 1, 2],
    ["FFSP", 2, 0, [1, 2], 1, 1],
    ["AN", 2, 1, 6],
    ["PR", 3, 0, "auto_unroll_max_step$512"],
]


def nest(group: Any, number: int) -> list[list[int]]:
    """Extents of the stage ``number`` (in order of creation) for each candidate."""
    stage = group.trajectories.stages[number]
    count = group.trajectories.count
    return [np.broadcast_to(loop.extent, count).tolist() for loop in stage.loops]


def by_role(group: Any, role: str) -> Any:
    return next(s for s in group.trajectories.stages if s.role == role)


def test_a_gpu_schedule() -> None:
    (group,) = replay_steps(CONV, [STEPS])
    stages = {s.name: s for s in group.trajectories.stages}
    tiled = next(s for s in stages.values() if len(s.loops) > 10)
    flat = [int(loop.extent[0]) for loop in tiled.loops]
    assert flat == [4, 4, 1, 2, 8, 4, 2, 4, 2, 1, 2, 1, 1]
    assert [bool(a.is_reduction) for a in tiled.axes] == [False, False, True]
    copy = by_role(group, "cache_write")
    assert [(int(loop.extent[0]), loop.annotation) for loop in copy.loops] == [
        (16, "blockIdx.x"), (2, "vthread.x"), (32, "threadIdx.x"), (2, ""), (1, ""),
    ]  # fmt: skip
    load = by_role(group, "cache_read")
    # 8 rows of 8 elements, two at a time (vectorised), spread over 8 * 4 threads; the 256 of the
    # step are those of another candidate.
    assert [(int(loop.extent[0]), loop.annotation) for loop in load.loops] == [
        (1, ""), (32, "threadIdx.x"), (2, "vectorize"),
    ]  # fmt: skip
    assert load.scope == "shared"
    assert load.host is tiled
    assert float(tiled.annotations["auto_unroll_max_step"][0]) == 512.0


def test_a_compute_location_follows_its_loop() -> None:
    (group,) = replay_steps(CONV, [STEPS])
    tiled = next(s for s in group.trajectories.stages if len(s.loops) > 10)
    # The host's sixth loop of its time, which is the third now that others are fused.
    words = [loop.annotation for loop in tiled.outer_loops()]
    assert words == ["blockIdx.x", "vthread.x", "threadIdx.x"]
    # The tiled stage's own loops walk all 64 by 32 by 16 products; those of a copy walk one tile.
    assert float(trips(tiled.nest())[0]) == 64 * 32 * 16
    load = by_role(group, "cache_read")
    assert float(trips(load.nest())[0]) == (16 * 2 * 32 * 2) * 64
    split = [
        ["SP", 0, 0, 64, [8], 1],
        ["FSP", 1, 0, 0, 1],
        ["CA", 0, 1, 0],
        ["SP", 1, 0, 8, [2], 1],
    ]
    (group,) = replay_steps(CONV, [split])
    assert [int(loop.extent[0]) for loop in group.trajectories.stages[0].outer_loops()] == [4, 2]


def test_numbers_vary_and_structures_do_not() -> None:
    other = json.loads(json.dumps(STEPS))
    other[1][4] = [2, 4, 2, 2]
    other[-1][3] = "auto_unroll_max_step$16"
    (group,) = replay_steps(CONV, [STEPS, other])
    unroll = [s.annotations for s in group.trajectories.stages if s.annotations]
    assert unroll[0]["auto_unroll_max_step"].tolist() == [512.0, 16.0]
    assert len(replay_steps(CONV, [STEPS, STEPS[:-1]])) == 2


def test_unknown_steps_become_other() -> None:
    (group,) = replay_steps(CONV, [[*STEPS, ["ZZ", 1, 2, "x"]]])
    assert group.trajectories.unknown == ("ZZ",)
    assert group.trajectories.actions[-1].kind is ActionKind.OTHER


@pytest.mark.parametrize(
    "step",
    [
        ["SP", -1, 0, 4, [2], 1],
        ["SP", 10**9, 0, 4, [2], 1],
        ["RE", 0, [0, 0]],
        ["RE", 0, [5]],
        ["AN", 0],
        ["FU", 0, ["x"]],
        ["CA", 0, 1, -3],
    ],
)
def test_impossible_steps_are_refused(step: list[Any]) -> None:
    with pytest.raises(InvalidInputError):
        replay_steps(CONV, [[step]])


def test_a_factored_reduction_is_two_stages() -> None:
    steps = [["SP", 3, 1, 1024, [64], 1], ["RF", 3, 2, 1], ["RE", 3, [0, 2, 1]], ["AN", 4, 0, 3]]
    (group,) = replay_steps('["softmax", 512, 1024]', [steps])
    stages = {stage.name: stage for stage in group.trajectories.stages}
    partial, final = stages["stage3"], stages["stage4.rfactor"]
    walked = [
        [(int(loop.extent[0]), loop.is_reduction) for loop in stage.loops]
        for stage in (partial, final)
    ]
    assert walked == [
        [(512, False), (16, True), (64, False)],
        [(512, False), (64, True)],
    ]
    assert final.loops[0].annotation == "parallel"


def test_a_schedule_without_steps_has_a_stage() -> None:
    (group,) = replay_steps('["matmul", 8, 8, 8]', [[], []])
    assert group.members.tolist() == [0, 1]
    profile = lookup(HardwareKey.parse("llvm-emeraldrapids-2c"))
    assert profile is not None
    assert np.isfinite(encode(group.trajectories, profile).structured).all()


def test_all_fourteen_kinds_are_known() -> None:
    names = [
        "AN",
        "FU",
        "PR",
        "RE",
        "SP",
        "FSP",
        "FFSP",
        "SA",
        "CA",
        "CI",
        "CR",
        "CHR",
        "CHW",
        "RF",
    ]
    assert sorted(ANSOR_STEPS) == sorted(names)


_STEP = st.one_of(
    st.tuples(st.just("SP"), st.integers(0, 5), st.integers(0, 9), st.integers(0, 99),
              st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=4), st.integers(0, 1)),
    st.tuples(st.just("FU"), st.integers(0, 5), st.lists(st.integers(0, 9), max_size=4)),
    st.tuples(st.just("RE"), st.integers(0, 5), st.permutations(range(4)).map(list)),
    st.tuples(st.just("AN"), st.integers(0, 5), st.integers(0, 9), st.integers(-1, 13)),
    st.tuples(st.sampled_from(["CI", "CR"]), st.integers(0, 5)),
    st.tuples(st.just("CA"), st.integers(0, 5), st.integers(0, 5), st.integers(0, 9)),
    st.tuples(st.just("CHR"), st.integers(0, 5), st.just("shared"), st.just([1])),
    st.tuples(st.just("CHW"), st.integers(0, 5), st.just("local")),
    st.tuples(st.just("RF"), st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("FSP"), st.integers(0, 5), st.integers(0, 9), st.integers(0, 5),
              st.integers(1, 4)),
    st.tuples(st.just("FFSP"), st.integers(0, 5), st.integers(0, 9),
              st.lists(st.integers(0, 5), max_size=3), st.integers(0, 3), st.integers(0, 1)),
)  # fmt: skip


@given(st.lists(_STEP, max_size=12))
def test_any_steps_end_in_a_nest_or_a_clear_refusal(steps: list[Any]) -> None:
    try:
        groups = replay_steps(CONV, [json.loads(json.dumps(steps))])
    except InvalidInputError:
        return
    assert [g.trajectories.count for g in groups] == [1]


@pytest.mark.parametrize(
    "name",
    [
        "cuda-v100/nnfusion/ansor__conv__ansor_conv2d_128_128_28_28_128_3_3_1_SAME.log.gz",
        "cuda-a100/mmperf/fp32__matmul_1024x3072x512.json.gz",
        "llvm-x86-unnamed/bennu/x86_conv2d.json.gz",
        "llvm-emeraldrapids-1c/softmax.json.gz",
    ],
)
def test_real_logs_agree_with_their_own_later_references(name: str, shared_logs: Path) -> None:
    """Walks the steps of real logs: splits multiply to at least their extent, orders name every
    iterator, and each later reference is to an iterator that exists."""
    with gzip.open(shared_logs / "auto_scheduler" / name, "rt") as lines:
        rows = [json.loads(line) for line in lines if line.startswith("{")]
    key = rows[0]["i"][0][0]
    traces = [row["i"][1][1] for row in rows if row["i"][0][0] == key][:400]
    checked = 0
    for group in replay_steps(key, traces):
        assert group.trajectories.unknown == ()
        for action in group.trajectories.actions:
            if action.name == "SP" and (action.loops[0].extent > 0).all():
                product: Any = 1
                for loop in action.results:
                    product = product * loop.extent
                outer = action.results[0].extent
                assert (product >= action.loops[0].extent).all()
                assert (product // np.maximum(outer, 1) * (outer - 1)
                        < action.loops[0].extent).all()  # fmt: skip
                checked += 1
            if action.name == "RE":
                assert sorted(action.order) == list(range(len(action.loops)))
        for stage in group.trajectories.stages:
            threads = [l for l in stage.loops if l.annotation == "threadIdx.x"]  # noqa: E741
            assert len(threads) <= 1
    assert checked > 0


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


@given(st.lists(st.tuples(st.sampled_from(sorted(ANSOR_STEPS)), st.lists(_ANYTHING, max_size=5))))
def test_what_no_scheduler_writes_is_refused_not_a_crash(steps: list[Any]) -> None:
    """A damaged line can hold anything after the name of a step."""
    try:
        replay_steps(CONV, [[[name, *rest] for name, rest in steps]])
    except InvalidInputError:
        return


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([["FU", 0, [0, 0]]] * 64, "parts"),
        ([["SA", number, 255, 1, 1] for number in range(4096)], "iterators"),
        ([["SA", 0, 4095, 1, 1]], "iterator 4095"),
    ],
)
def test_what_damage_makes_large_is_refused_before_it_is(steps: list[Any], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        replay_steps(CONV, [steps])
