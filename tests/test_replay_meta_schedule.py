"""Loop nests derived without TVM are those that TVM makes."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmhub.actions import META_SCHEDULE_INSTRUCTIONS, ActionKind
from wmhub.errors import InvalidInputError
from wmhub.program import Access, Block, Buffer, Index, Iterator, Program
from wmhub.replay.meta_schedule import replay_settings, replay_traces
from wmhub.tvm_json import parse_program


def matmul(m: int = 8, n: int = 16, k: int = 32) -> Program:
    """C = A @ B, then D = relu(C)."""
    i, j, r = (Index("var", v) for v in range(3))
    product = Block(
        "C",
        (Iterator("i", m, False), Iterator("j", n, False), Iterator("k", k, True)),
        (("i", m, 0), ("j", n, 1), ("k", k, 2)),
        (Access("A", (i, r)), Access("B", (r, j))),
        (Access("C", (i, j)),),
        (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        True,
    )
    relu = Block(
        "D",
        (Iterator("i", m, False), Iterator("j", n, False)),
        (("i", m, 0), ("j", n, 1)),
        (Access("C", (i, j)),),
        (Access("D", (i, j)),),
        (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        False,
    )
    shapes = {"A": (m, k), "B": (k, n), "C": (m, n), "D": (m, n)}
    buffers = {name: Buffer(name, "float32", s) for name, s in shapes.items()}
    return Program((product, relu), buffers)


def of_types(program: Program, dtypes: Mapping[str, str]) -> Program:
    """``program`` with buffers of other types."""
    buffers = {
        name: dataclasses.replace(buffer, dtype=dtypes.get(name, buffer.dtype))
        for name, buffer in program.buffers.items()
    }
    return Program(program.blocks, buffers)


TILED = [
    ["GetSBlock", [], ["C", "main"], ["b0"]],
    ["GetSBlock", [], ["D", "main"], ["b1"]],
    ["GetLoops", ["b0"], [], ["l2", "l3", "l4"]],
    ["SamplePerfectTile", ["l2"], [2, 64], ["v5", "v6"]],
    ["Split", ["l2", "v5", "v6"], [1, 0], ["l7", "l8"]],
    ["SamplePerfectTile", ["l3"], [2, 64], ["v9", "v10"]],
    ["Split", ["l3", "v9", "v10"], [1, 0], ["l11", "l12"]],
    ["Reorder", ["l7", "l11", "l4", "l8", "l12"], [], []],
    ["ReverseComputeAt", ["b1", "l11"], [1, -1], []],
]


def extents_of(group: Any, stage: str) -> list[list[int]]:
    """The nest of a stage for each candidate of a group."""
    found = next(s for s in group.trajectories.stages if s.name == stage)
    count = group.trajectories.count
    return np.stack([np.broadcast_to(l.extent, count) for l in found.loops], axis=1).tolist()  # noqa: E741


def test_candidates_of_one_structure_are_replayed_together() -> None:
    traces = [
        [TILED, [[3, [2, 4]], [5, [4, 4]]]],
        [TILED, [[3, [8, 1]], [5, [1, 16]]]],
    ]
    (group,) = replay_traces(matmul(), traces)
    assert group.members.tolist() == [0, 1]
    assert extents_of(group, "C") == [[2, 4, 32, 4, 4], [8, 1, 32, 1, 16]]
    # The consumer walks, inside the shared loops, just the tile that one iteration produces.
    assert extents_of(group, "D") == [[2, 4, 4, 4], [8, 1, 1, 16]]


def test_batches_agree_with_single_replays() -> None:
    rng = random.Random(0)
    tiles = {3: [[1, 8], [2, 4], [4, 2], [8, 1]], 5: [[1, 16], [4, 4], [16, 1]]}
    traces = [[TILED, [[at, rng.choice(t)] for at, t in tiles.items()]] for _ in range(20)]
    (together,) = replay_traces(matmul(), traces)
    for stage in ("C", "D"):
        alone = [extents_of(replay_traces(matmul(), [trace])[0], stage)[0] for trace in traces]
        assert extents_of(together, stage) == alone


def test_post_processing_is_left_out_unless_asked_for() -> None:
    after = [*TILED, ["EnterPostproc", [], [], []], ["Vectorize", ["l12"], [], []]]
    decisions = [[3, [2, 4]], [5, [4, 4]]]
    (plain,) = replay_traces(matmul(), [[after, decisions]])
    (whole,) = replay_traces(matmul(), [[after, decisions]], include_postproc=True)
    kinds = [a.kind for a in plain.trajectories.actions]
    assert ActionKind.VECTORIZE not in kinds
    assert [a.kind for a in whole.trajectories.actions] == [*kinds, ActionKind.VECTORIZE]


def test_an_unknown_instruction_becomes_other() -> None:
    future = [*TILED, ["Quantise", ["b0", "l12"], ["int4"], ["b77"]], ["Foresee", ["b77"], [], []]]
    (group,) = replay_traces(matmul(), [[future, []]])
    assert group.trajectories.unknown == ("Quantise", "Foresee")
    other = group.trajectories.actions[-2]
    assert (other.kind, other.name, other.text) == (ActionKind.OTHER, "Quantise", "int4")
    assert len(other.loops) == 1


def test_a_compute_location_decides_the_structure() -> None:
    located = [
        *TILED[:-1],
        ["SampleComputeLocation", ["b1"], [], ["l20"]],
        ["ReverseComputeAt", ["b1", "l20"], [1, -1], []],
    ]
    traces = [[located, [[3, [2, 4]], [5, [4, 4]], [8, at]]] for at in (-1, -1, 0)]
    groups = replay_traces(matmul(), traces)
    assert [g.members.tolist() for g in groups] == [[0, 1], [2]]


def _panels(inputs: int, column: int, row: int, width: int) -> str:
    """JSON of the index map that gives ``column // width, row, column % width``."""
    variables = [{"type": "ir.Var"} for _ in range(inputs)]
    at = inputs + 1
    parts = [
        {"type": "int", "data": width},
        {"type": "ir.IntImm", "data": {"value": at}},
        {"type": "prim.FloorDiv", "data": {"a": 1 + column, "b": at + 1}},
        {"type": "prim.FloorMod", "data": {"a": 1 + column, "b": at + 1}},
        {"type": "ffi.Array", "data": [1 + n for n in range(inputs)]},
        {"type": "ffi.Array", "data": [at + 2, 1 + row, at + 3]},
        {"type": "tirx.IndexMap", "data": {"initial_indices": at + 4, "final_indices": at + 5}},
    ]
    return json.dumps({"root_index": at + 6, "nodes": [{"type": "None"}, *variables, *parts]})


def _fused(inputs: int, outer: int, inner: int, size: int, *rest: int) -> str:
    """JSON of the index map that gives ``outer * size + inner`` and the indices ``rest``."""
    variables = [{"type": "ir.Var"} for _ in range(inputs)]
    at = inputs + 1
    parts = [
        {"type": "int", "data": size},
        {"type": "ir.IntImm", "data": {"value": at}},
        {"type": "prim.Mul", "data": {"a": 1 + outer, "b": at + 1}},
        {"type": "prim.Add", "data": {"a": at + 2, "b": 1 + inner}},
        {"type": "ffi.Array", "data": [1 + n for n in range(inputs)]},
        {"type": "ffi.Array", "data": [at + 3, *(1 + n for n in rest)]},
        {"type": "tirx.IndexMap", "data": {"initial_indices": at + 4, "final_indices": at + 5}},
    ]
    return json.dumps({"root_index": at + 6, "nodes": [{"type": "None"}, *variables, *parts]})


PACKED = [
    ["GetSBlock", [], ["C", "main"], ["b0"]],
    ["PadEinsum", ["b0"], [[4, 16, 1]], []],
    ["GetConsumers", ["b0"], [], ["b1"]],
    ["ComputeInline", ["b1"], [], []],
    ["ReindexCacheRead", ["b0", _panels(3, 1, 2, 16)], [1, "global"], ["b2"]],
    ["GetProducers", ["b2"], [], ["b3"]],
    ["ComputeInline", ["b3"], [], []],
    ["GetLoops", ["b2"], [], ["l0", "l1"]],
    ["Split", ["l0", None, 16], [1, 0], ["l2", "l3"]],
    ["Reorder", ["l2", "l1", "l3"], [], []],
]


def test_padding_rounds_extents_up_and_cuts_the_result() -> None:
    (group,) = replay_traces(matmul(7, 29, 32), [[PACKED[:2], []]])
    assert extents_of(group, "C") == [[8, 32, 32]]
    stages = {stage.name: stage for stage in group.trajectories.stages}
    assert list(stages) == ["C", "D", "A_pad", "B_pad", "C_pad"]
    assert extents_of(group, "A_pad") == [[8, 32]]
    # What cuts the result walks what is left of it.
    assert extents_of(group, "C_pad") == [[7, 29]]
    product = stages["C"]
    assert [a.buffer for a in stages["A_pad"].writes] == [product.reads[0].buffer] != ["A"]
    assert [a.buffer for a in stages["C_pad"].reads] == [a.buffer for a in product.writes] != ["C"]


def test_padding_of_what_divides_changes_nothing() -> None:
    (group,) = replay_traces(matmul(8, 32, 32), [[PACKED[:2], []]])
    assert [stage.name for stage in group.trajectories.stages] == ["C", "D"]
    assert [a.kind for a in group.trajectories.actions] == [ActionKind.PAD]


def test_an_operand_is_copied_to_panels() -> None:
    (group,) = replay_traces(matmul(7, 29, 32), [[PACKED, []]])
    live = {stage.name: stage for stage in group.trajectories.stages if not stage.inlined}
    # The cut went into D, the padding of B into its copy.
    assert list(live) == ["C", "D", "A_pad", "B_pad_global"]
    copy, product = live["B_pad_global"], live["C"]
    assert extents_of(group, "B_pad_global") == [[2, 32, 16]]
    assert [a.buffer for a in copy.reads] == ["B"]
    assert [a.buffer for a in live["D"].reads] == [a.buffer for a in product.writes]
    column, row, rest = product.reads[1].indices
    assert (column.op, row, rest.op) == ("//", Index("var", 2), "%")
    assert copy.writes[0].buffer == product.reads[1].buffer


def test_a_layout_that_cannot_be_read_leaves_unknown_extents() -> None:
    broken = [*PACKED[:4], ["ReindexCacheRead", ["b0", "{}"], [1, "global"], ["b2"]]]
    (group,) = replay_traces(matmul(7, 29, 32), [[broken, []]])
    assert extents_of(group, "B_pad_global") == [[0, 0]]


def test_iterators_that_are_fused_walk_what_they_did() -> None:
    trace = [
        ["GetSBlock", [], ["C", "main"], ["b0"]],
        ["TransformLayout", ["b0", _fused(2, 0, 1, 16)], [0, 1, None, 1], []],
        ["TransformBlockLayout", ["b0"], [_fused(3, 0, 1, 16, 2)], []],
        ["GetLoops", ["b0"], [], ["l0", "l1"]],
        ["Split", ["l0", None, 32], [1, 0], ["l2", "l3"]],
        ["CacheRead", ["b0"], [0, "shared"], ["b1"]],
        ["ComputeAt", ["b1", "l2"], [1, -1], []],
        ["CacheWrite", ["b0"], [0, "local"], ["b2"]],
    ]
    (group,) = replay_traces(matmul(), [[trace, []]])
    product, relu = group.trajectories.stages[:2]
    assert extents_of(group, "C") == [[4, 32, 32]]
    assert [axis.is_reduction for axis in product.axes] == [False, True]
    assert [loop.is_reduction for loop in product.loops] == [False, False, True]
    one, other, sixteen = Index("var", 0), Index("var", 1), Index("const", 16)
    row, column = (Index(op, 0, (one, sixteen)) for op in ("//", "%"))
    assert [access.indices for access in product.reads] == [(row, other), (other, column)]
    # In its own layout the result is walked in order, here and where it is read.
    assert [access.indices for access in product.writes] == [(one,)]
    in_order = Index("+", 0, (Index("*", 0, (Index("var", 0), sixteen)), Index("var", 1)))
    assert [access.indices for access in relu.reads] == [(in_order,)]
    # 32 of the fused steps are 2 rows of A, and the copy of the result has its layout.
    assert extents_of(group, "A_shared") == [[4, 2, 32]]
    assert extents_of(group, "C_local") == [[128]]


def test_layouts_of_layouts_of_a_damaged_trace_are_given_up() -> None:
    doubled = _fused(2, 0, 0, 16, 0)
    again = [["TransformLayout", ["b0", doubled], [0, 1, None, 1], []]] * 100
    blocks = [["TransformBlockLayout", ["b0"], [_fused(3, 0, 1, 16, 2)], []]]
    blocks += [["TransformBlockLayout", ["b0"], [_fused(2, 0, 0, 2, 1)], []]] * 100
    trace = [["GetSBlock", [], ["C", "main"], ["b0"]], *again, *blocks]
    (group,) = replay_traces(matmul(), [[trace, []]])
    assert len(group.trajectories.actions) == 201


def test_what_a_layout_hides_is_unknown() -> None:
    """Panels have no inverse that is worked out: what lies behind them is not walked wrongly."""
    trace = [
        ["GetSBlock", [], ["C", "main"], ["b0"]],
        ["TransformBlockLayout", ["b0"], [_panels(3, 1, 2, 8)], []],
        ["CacheRead", ["b0"], [1, "shared"], ["b1"]],
    ]
    (group,) = replay_traces(matmul(), [[trace, []]])
    assert extents_of(group, "C") == [[2, 32, 8]]
    assert extents_of(group, "B_shared") == [[0, 0]]
    broken = [trace[0], ["TransformBlockLayout", ["b0"], ["{}"], []]]
    (group,) = replay_traces(matmul(), [[broken, []]])
    assert extents_of(group, "C") == [[0, 0, 0]]


def test_a_copy_in_the_order_of_a_block_has_the_iterators_that_move_it() -> None:
    i, j, r = (Index("var", v) for v in range(3))
    product, relu = matmul().blocks
    # As a convolution of one group finds its channels, and one of a window of 1 its row.
    group_of = Index("*", 0, (Index("//", 0, (j, Index("const", 16))), Index("const", 32)))
    unit = dataclasses.replace(
        product,
        iterators=(*product.iterators, Iterator("w", 1, True)),
        loops=(*product.loops, ("w", 1, 3)),
        reads=(
            Access("A", (Index("+", 0, (i, Index("var", 3))), Index("+", 0, (group_of, r)))),
            product.reads[1],
        ),
    )
    trace = [
        ["GetSBlock", [], ["C", "main"], ["b0"]],
        ["ReIndex", ["b0"], [0, 0], ["b1"]],
    ]
    program = Program((unit, relu), matmul().buffers)
    (group,) = replay_traces(program, [[trace, []]])
    assert extents_of(group, "A_reindex") == [[8, 32]]
    assert group.trajectories.stages[0].reads[0].indices == (i, r)


@pytest.mark.tvm
def test_the_vocabulary_is_the_one_of_tvm() -> None:
    pytest.importorskip("tvm")
    from tvm.s_tir.schedule.instruction import InstructionKind

    old = {"GetBlock", "SetAxisSeparator"}
    for name in META_SCHEDULE_INSTRUCTIONS:
        if name not in old:
            assert InstructionKind.get(name).name == name


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize("run", ["run-1", "run-2", "run-3", "run-4"])
@pytest.mark.parametrize("postproc", [False, True])
def test_nests_of_real_traces_are_those_of_tvm(run: str, postproc: bool, shared_logs: Path) -> None:
    tvm = pytest.importorskip("tvm")
    from wmhub.tvm_compat import Schedule, Trace

    folder = shared_logs / "meta_schedule" / "llvm-emeraldrapids-2c" / run
    with gzip.open(folder / "database_workload.json.gz", "rt") as lines:
        programs = [json.loads(line)[1] for line in lines]
    with gzip.open(folder / "database_tuning_record.json.gz", "rt") as lines:
        records = [json.loads(line) for line in lines]
    compared = 0
    for number, ((instructions, decisions), *_) in random.Random(7).sample(records, 15):
        names = [i[0] for i in instructions]
        if not postproc:
            end = names.index("EnterPostproc")
            instructions = instructions[:end]
            decisions = [d for d in decisions if d[0] < end]
        schedule = Schedule(tvm.ir.load_json(_module_text(programs[number])))
        Trace.apply_json_to_schedule([instructions, decisions], schedule)
        (group,) = replay_traces(
            parse_program(programs[number]), [[instructions, decisions]], postproc
        )
        ours = {s.name: s for s in group.trajectories.stages if not s.inlined}
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            name = str(schedule.get(block).name_hint)
            theirs = [int(schedule.get(loop).extent) for loop in schedule.get_loops(block)]
            assert [int(loop.extent[0]) for loop in ours[name].loops] == theirs, name
            compared += 1
    assert compared >= 15


def _module_text(encoded: str) -> str:
    import base64

    return base64.b64decode(encoded)[8:].decode()


@pytest.mark.parametrize("place", range(len(TILED)))
@pytest.mark.parametrize("damage", [None, True, 1.5, 10**400, "x", [], [[]], {}])
def test_what_no_scheduler_writes_is_refused_not_a_crash(place: int, damage: object) -> None:
    """A damaged line can hold anything in the place of inputs, attributes, outputs, decisions."""
    for part in (1, 2, 3):
        trace = json.loads(json.dumps(TILED))
        trace[place][part] = damage
        try:
            replay_traces(matmul(), [[trace, [[3, damage], [5, [4, 4]]]]])
        except InvalidInputError:
            continue


def test_shared_memory_holds_what_all_threads_of_a_block_touch() -> None:
    """The cache is filled once for 4 threads with tiles of 2, not for one of them."""
    trace = [
        ["GetSBlock", [], ["C", "main"], ["b0"]],
        ["GetLoops", ["b0"], [], ["l2", "l3", "l4"]],
        ["Split", ["l2", "None", 2], [1, 0], ["l5", "l6"]],
        ["Bind", ["l5"], ["threadIdx.x"], []],
        ["Split", ["l4", "None", 8], [1, 0], ["l7", "l8"]],
        ["Reorder", ["l5", "l7", "l6", "l3", "l8"], [], []],
        ["CacheRead", ["b0", []], [0, "shared"], ["b9"]],
        ["ComputeAt", ["b9", "l7"], [1, -1], []],
        ["CacheRead", ["b0", []], [0, "local"], ["b10"]],
        ["ComputeAt", ["b10", "l7"], [1, -1], []],
    ]
    (group,) = replay_traces(matmul(), [[trace, []]])
    assert extents_of(group, "A_shared") == [[4, 4, 8, 8]]
    assert extents_of(group, "A_shared_local") == [[4, 4, 2, 8]]


@pytest.mark.parametrize("damage", [[[]], {}, 10**400, "x", 1.5, [1]])
def test_a_location_that_is_none_is_refused_not_a_crash(damage: object) -> None:
    trace = [*TILED, ["SampleComputeLocation", ["b0"], [], ["l20"]]]
    with contextlib.suppress(InvalidInputError):
        replay_traces(matmul(), [[trace, [[len(TILED), damage]]], [trace, [[len(TILED), 1]]]])


@pytest.mark.parametrize("trace", [[["x", 1]], [7], 7, [[1], []], [[["Split", [], [], []]], 3]])
def test_a_trace_that_is_none_is_refused(trace: object) -> None:
    with pytest.raises(InvalidInputError):
        replay_traces(matmul(), [[TILED, []], trace])


def test_what_a_damaged_trace_doubles_again_and_again_is_refused() -> None:
    blocks = [["GetSBlock", [], ["C", "main"], ["b0"]], ["GetLoops", ["b0"], [], ["l0", "l", "m"]]]
    fused = [["Fuse", [f"l{n}", f"l{n}"], [1], [f"l{n + 1}"]] for n in range(64)]
    with pytest.raises(InvalidInputError, match="more than 1000 parts"):
        replay_traces(matmul(), [[blocks + fused, []]])


def chain(length: int) -> Program:
    """Stages of which each reads the one before in two places."""
    i = (Index("var", 0),)
    places = [Index(op, 0, (Index("var", 0), Index("const", 3))) for op in ("*", "+")]
    blocks = [
        Block(
            f"s{n + 1}",
            (Iterator("i", 8, False),),
            (("i", 8, 0),),
            tuple(Access(f"s{n}", (place,)) for place in places),
            (Access(f"s{n + 1}", i),),
            (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            False,
        )
        for n in range(length)
    ]
    return Program(
        tuple(blocks), {f"s{n}": Buffer(f"s{n}", "float32", (8,)) for n in range(length + 1)}
    )


#: Inlines forty stages of a `chain`, one after the other.
INLINED: list[Any] = [
    step
    for n in range(40)
    for step in (
        ["GetSBlock", [], [f"s{n + 1}", "main"], [f"b{n}"]],
        ["ComputeInline", [f"b{n}"], [], []],
    )
]


def test_what_is_inlined_into_what_was_inlined_is_bounded() -> None:
    with pytest.raises(InvalidInputError, match="more than 1000 reads"):
        replay_traces(chain(41), [[INLINED, []]])


def test_an_index_that_doubles_where_it_is_inlined_is_not_followed() -> None:
    i = Index("var", 0)
    twice = Index("+", 0, (i, i))
    program = chain(41)
    doubled = tuple(
        dataclasses.replace(b, reads=(Access(b.reads[0].buffer, (twice,)),)) for b in program.blocks
    )
    (group,) = replay_traces(Program(doubled, program.buffers), [[INLINED, []]])
    (read,) = group.trajectories.stages[-1].reads
    assert read.buffer == "s0"
    assert read.indices[0].is_opaque


def test_of_no_candidates_there_is_no_group() -> None:
    assert replay_traces(matmul(), []) == []
    assert replay_settings(matmul(), TILED, []) == []
