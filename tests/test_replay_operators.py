"""What nests of Ansor's logs tell of operators that the logs do not hold."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_replay_ansor import CONV, STEPS

from wmhub.nest import Axis, Loop, Stage, extents
from wmhub.program import Access
from wmhub.replay.ansor import replay_steps
from wmhub.replay.operands import accesses_of
from wmhub.replay.operators import fill_extents, mark_reductions, original_stages
from wmhub.replay.workload_key import WorkloadKey

MATMUL = '["matmul_layer", 65536, 1024, 1024]'


def product(rows: list[int], columns: list[int], steps: list[int]) -> list[Any]:
    """A tiled matrix product of which both operands are copied to shared memory.

    The extents 16 and 32 in the copies' splits are another candidate's, as in all real logs.
    """
    return [
        ["CHW", 2, "local"],
        ["SP", 2, 0, 65536, rows, 1],
        ["SP", 2, 5, 1024, columns, 1],
        ["SP", 2, 10, 1024, steps, 1],
        ["RE", 2, [0, 5, 1, 6, 2, 7, 10, 11, 3, 8, 12, 4, 9]],
        ["FSP", 3, 0, 1, 3],
        ["FSP", 3, 4, 2, 3],
        ["RE", 3, [0, 4, 1, 5, 2, 6, 3, 7]],
        ["CA", 2, 3, 5],
        ["CHR", 1, "shared", [2]],
        ["CA", 2, 3, 6],
        ["CHR", 0, "shared", [3]],
        ["CA", 1, 4, 6],
        ["FU", 5, [0, 1]],
        ["AN", 5, 0, 5],
        ["FU", 5, [1, 2]],
        ["AN", 5, 1, 4],
        ["FU", 5, [2, 3]],
        ["AN", 5, 2, 6],
        ["FU", 3, [0, 1]],
        ["SP", 3, 0, 16, [1], 1],
        ["AN", 3, 1, 2],
        ["FFSP", 3, 0, [2, 1], 1, 1],
        ["AN", 3, 1, 6],
        ["FU", 1, [0, 1]],
        ["SP", 1, 0, 32, [32], 1],
        ["AN", 1, 1, 2],
        ["FFSP", 1, 0, [2, 1], 1, 1],
        ["AN", 1, 1, 6],
    ]


def tiled(*sizes: int, reduced: int) -> Stage:
    """A stage whose last ``reduced`` axes are split into two levels, the others into five."""
    stage = Stage("tiled", [Axis(f"i{n}", extents(size), None) for n, size in enumerate(sizes)], [])
    for number, axis in enumerate(stage.axes):
        levels = 2 if number >= len(sizes) - reduced else 5
        first = Loop.over(axis)
        stage.loops += [first, *[Loop.over(axis, extents(1)) for _ in range(levels - 1)]]
    return stage


def shown(accesses: list[Access]) -> list[list[list[int]]]:
    """Axes of each dimension of each access."""
    return [[index.variables() for index in access.indices] for access in accesses]


def test_copies_hold_what_a_block_reads_whatever_their_splits_say() -> None:
    first = product([1, 32, 8, 1], [4, 32, 2, 2], [4, 1])
    second = product([2, 16, 1, 4], [4, 16, 2, 1], [4, 2])
    (group,) = replay_steps(MATMUL, [first, second])
    right, left = (s for s in group.trajectories.stages if s.role == "cache_read")
    # Steps of the reduction inside the copy, by rows of a block: both levels that follow the first.
    assert left.held.tolist() == [256 * 4, 128 * 8]
    assert right.held.tolist() == [512 * 4, 128 * 8]
    outer, threads, vector = (loop.extent.tolist() for loop in left.loops)
    assert vector == [32]
    assert threads == [32 * 32, 16 * 16]
    assert outer == [1, 1]
    assert right.loops[0].extent.tolist() == [2, 4]


def named(*arguments: int) -> WorkloadKey:
    """The key of a registered function."""
    return WorkloadKey(arguments)


def of_tensors(*shapes: tuple[int, ...]) -> WorkloadKey:
    """A key of TVM's own."""
    return WorkloadKey(tuple(size for shape in shapes for size in shape), lists_tensors=True)


def test_a_convolution_with_channels_first_and_last() -> None:
    key = named(8, 32, 112, 112, 64)
    reads, writes = accesses_of(tiled(8, 64, 56, 56, 32, 3, 3, reduced=3), key)
    assert shown(reads) == [[[0], [4], [2, 5], [3, 6]], [[1], [4], [5], [6]]]
    assert shown(writes) == [[[0], [1], [2], [3]]]
    # 112 becomes 56 by steps of two.
    assert [index.args[0].op for index in reads[0].indices[2:]] == ["*", "*"]
    key = named(1, 56, 56, 32, 64)
    reads, _ = accesses_of(tiled(1, 56, 56, 64, 3, 3, 32, reduced=3), key)
    assert shown(reads) == [[[0], [1, 4], [2, 5], [6]], [[4], [5], [6], [3]]]
    assert [index.args[0].op for index in reads[0].indices[1:3]] == ["var", "var"]
    # An image of three channels is no window of three.
    reads, _ = accesses_of(tiled(8, 64, 112, 112, 3, 7, 7, reduced=3), named())
    assert shown(reads)[0] == [[0], [4], [2, 5], [3, 6]]


def test_products_and_depthwise_convolutions() -> None:
    assert shown(accesses_of(tiled(64, 32, 16, reduced=1), named())[0]) == [[[0], [2]], [[2], [1]]]
    batched, _ = accesses_of(tiled(4, 64, 32, 16, reduced=1), named())
    assert shown(batched) == [[[0], [1], [3]], [[0], [3], [2]]]
    first, _ = accesses_of(tiled(8, 96, 28, 28, 5, 5, reduced=2), named())
    assert shown(first) == [[[0], [1], [2, 4], [3, 5]], [[1], [], [4], [5]]]
    last, _ = accesses_of(tiled(8, 28, 28, 96, 5, 5, reduced=2), named())
    assert shown(last) == [[[0], [1, 4], [2, 5], [3]], [[4], [5], [3], []]]


@pytest.mark.parametrize(
    ("key", "left", "right"),
    [
        (of_tensors((64, 16), (32, 16), (64, 32)), [[0], [2]], [[1], [2]]),
        (of_tensors((64, 16), (16, 32), (64, 32)), [[0], [2]], [[2], [1]]),
        (of_tensors((16, 64), (16, 32), (64, 32)), [[2], [0]], [[2], [1]]),
        (of_tensors((16, 64), (32, 16), (64, 32)), [[2], [0]], [[1], [2]]),
        (named(64, 16, 16, 32), [[0], [2]], [[2], [1]]),
    ],
)
def test_the_key_tells_which_operand_is_transposed(
    key: WorkloadKey, left: list[list[int]], right: list[list[int]]
) -> None:
    assert shown(accesses_of(tiled(64, 32, 16, reduced=1), key)[0]) == [left, right]


def test_of_a_square_product_the_second_operand_is_transposed_as_tvm_s_own() -> None:
    square = tiled(64, 64, 64, reduced=1)
    key = of_tensors((64, 64), (64, 64), (64, 64))
    assert shown(accesses_of(square, key)[0]) == [[[0], [2]], [[1], [2]]]
    assert shown(accesses_of(square, named(64, 64, 64))[0]) == [[[0], [2]], [[2], [1]]]


def test_a_convolution_of_tensors_that_its_key_lists() -> None:
    # Sizes alone speak for channels first: the window is 1x1 and the image 8x64.
    key = of_tensors((1, 8, 64, 32), (1, 1, 32, 16), (1, 8, 64, 16))
    reads, _ = accesses_of(tiled(1, 8, 64, 16, 1, 1, 32, reduced=3), key)
    assert shown(reads) == [[[0], [1, 4], [2, 5], [6]], [[4], [5], [6], [3]]]
    key = of_tensors((8, 96, 28, 28), (96, 1, 5, 5), (8, 96, 24, 24))
    reads, _ = accesses_of(tiled(8, 96, 24, 24, 5, 5, reduced=2), key)
    assert shown(reads) == [[[0], [1], [2, 4], [3, 5]], [[1], [], [4], [5]]]


@pytest.mark.parametrize(
    ("shapes", "nest", "steps"),
    [
        # The output's own size is in the key, too, and fits a step of one.
        (((1, 56, 56, 64), (3, 3, 64, 128), (1, 28, 28, 128)), (1, 28, 28, 128, 3, 3, 64), 2),
        (((1, 56, 56, 64), (1, 1, 64, 128), (1, 28, 28, 128)), (1, 28, 28, 128, 1, 1, 64), 2),
        (((1, 3, 224, 224), (64, 3, 7, 7), (1, 64, 112, 112)), (1, 64, 112, 112, 3, 7, 7), 2),
        (((1, 28, 28, 64), (3, 3, 64, 64), (1, 28, 28, 64)), (1, 28, 28, 64, 3, 3, 64), 1),
    ],
)
def test_the_image_tells_by_how_much_a_window_moves(
    shapes: tuple[tuple[int, ...], ...], nest: tuple[int, ...], steps: int
) -> None:
    reads, _ = accesses_of(tiled(*nest, reduced=3), of_tensors(*shapes))
    walked = [index for index in reads[0].indices if index.op == "+"]
    found = [index.args[0].args[1].value if index.args[0].op == "*" else 1 for index in walked]
    assert found == [steps, steps]


def test_convolutions_of_one_and_of_three_dimensions() -> None:
    key = of_tensors((1, 16, 56, 56, 8), (3, 3, 3, 8, 64), (1, 16, 56, 56, 64))
    reads, _ = accesses_of(tiled(1, 16, 56, 56, 64, 3, 3, 3, 8, reduced=4), key)
    assert shown(reads) == [[[0], [1, 5], [2, 6], [3, 7], [8]], [[5], [6], [7], [8], [4]]]
    key = of_tensors((1, 8, 100), (64, 8, 5), (1, 64, 96))
    reads, _ = accesses_of(tiled(1, 64, 96, 8, 5, reduced=2), key)
    assert shown(reads) == [[[0], [3], [2, 4]], [[1], [3], [4]]]
    # Of a named function's arguments nothing tells what is what.
    assert accesses_of(tiled(1, 64, 96, 8, 5, reduced=2), named(1, 8, 100, 64, 5)) == ([], [])


def test_the_products_of_a_winograd_convolution() -> None:
    key = of_tensors((1, 56, 56, 64), (6, 6, 32, 64), (1, 56, 56, 32))
    reads, _ = accesses_of(tiled(6, 6, 196, 32, 64, reduced=1), key)
    assert shown(reads) == [[[0], [1], [2], [4]], [[0], [1], [3], [4]]]
    first = of_tensors((1, 64, 56, 56), (6, 6, 64, 32), (1, 32, 56, 56))
    reads, _ = accesses_of(tiled(6, 6, 32, 196, 64, reduced=1), first)
    assert shown(reads) == [[[0], [1], [4], [2]], [[0], [1], [4], [3]]]
    assert accesses_of(tiled(6, 6, 196, 32, 64, reduced=1), named(6, 7)) == ([], [])


def test_nothing_is_told_of_an_operator_that_only_looks_like_a_convolution() -> None:
    nest = tiled(1, 64, 56, 56, 16, 3, 3, reduced=3)
    in_groups = of_tensors((1, 32, 58, 58), (64, 16, 3, 3), (1, 64, 56, 56))
    assert accesses_of(nest, in_groups) == ([], [])
    transposed = of_tensors((1, 16, 54, 54), (16, 64, 3, 3), (1, 64, 56, 56))
    assert accesses_of(nest, transposed) == ([], [])
    plain = of_tensors((1, 16, 58, 58), (64, 16, 3, 3), (1, 64, 56, 56))
    assert len(accesses_of(nest, plain)[0]) == 2


def test_of_any_other_nest_nothing_is_told() -> None:
    assert accesses_of(tiled(8, 8, reduced=0), named()) == ([], [])
    assert accesses_of(tiled(8, 8, 8, 8, 8, 8, reduced=4), named()) == ([], [])
    plain = Stage("plain", axes := [Axis("i", extents(8), None)], [Loop.over(axes[0])])
    assert accesses_of(plain, named()) == ([], [])
    other = [["CHR", 0, "shared", [1]], ["CA", 1, 2, 0], ["FU", 1, [0, 1]], ["SP", 1, 0, 8, [2], 1]]
    (group,) = replay_steps(CONV, [other])
    (copy,) = (s for s in group.trajectories.stages if s.role == "cache_read")
    assert copy.copied == ()
    assert copy.loops[0].extent.tolist() == [0]


def test_what_threads_walk_and_blocks_do_not_is_reduced() -> None:
    axes = [Axis("i", extents(64), None), Axis("k", extents(1024), None)]
    rows, outer = Loop.over(axes[0]), Loop.over(axes[1], extents(32))
    lanes = Loop.over(axes[1], extents(32))
    rows.annotation, lanes.annotation = "blockIdx.x", "threadIdx.x"
    stage = Stage("sum", axes, [rows, outer, lanes])
    mark_reductions(stage, [stage])
    assert [axis.is_reduction for axis in axes] == [False, True]


def test_threads_reduce_where_a_stage_inside_another_has_its_own() -> None:
    """As ``RuleCrossThreadReduction`` writes a softmax: the sum stands in what divides by it."""
    steps = [
        ["SP", 3, 1, 128, [32], 1], ["AN", 3, 2, 6], ["FSP", 2, 1, 0, 1], ["AN", 2, 2, 6],
        ["CA", 2, 3, 0], ["AN", 3, 0, 5],
    ]  # fmt: skip
    (group,) = replay_steps('["softmax", 64, 128]', [steps])
    marks = {
        stage.name: [(int(axis.extent[0]), axis.is_reduction) for axis in stage.axes]
        for stage in group.trajectories.stages
    }
    assert marks["stage2"][1] == (128, True)
    assert marks["stage3"] == [(64, False), (128, False)]


def test_a_stage_whose_loops_were_fused_reduces_nothing() -> None:
    fused = [["FU", 1, [0, 1, 2, 3]], ["SP", 1, 0, 4096, [6], 1], ["AN", 1, 0, 5], ["AN", 1, 1, 6]]
    (group,) = replay_steps('["relu_layer", 8, 8, 8, 8]', [fused])
    (stage,) = [s for s in group.trajectories.stages if len(s.loops) == 2]
    assert [axis.is_reduction for axis in stage.axes] == [False] * 4
    # Nor does one whose threads walk all of an axis.
    axes = [Axis("n", extents(64), None), Axis("c", extents(64), None)]
    rows, lanes = Loop.over(axes[0]), Loop.over(axes[1])
    rows.annotation, lanes.annotation = "blockIdx.x", "threadIdx.x"
    whole = Stage("add", axes, [rows, lanes])
    mark_reductions(whole, [whole])
    assert [axis.is_reduction for axis in axes] == [False, False]


def test_unknown_extents_are_those_of_the_key_where_the_known_ones_are() -> None:
    def stage(*sizes: int) -> Stage:
        axes = [Axis(f"i{n}", extents(size), None) for n, size in enumerate(sizes)]
        return Stage("sum", axes, [Loop.over(axis) for axis in axes])

    filled = stage(0, 1024)
    fill_extents(filled, (65536, 1024, 1))
    assert [int(loop.extent[0]) for loop in filled.loops] == [65536, 1024]
    for sizes, shape in (((0, 1024), (1024, 65536)), ((0, 0), (2, 3)), ((0, 4), (7,))):
        left = stage(*sizes)
        fill_extents(left, shape)
        assert [int(axis.extent[0]) for axis in left.axes] == list(sizes)


def test_stages_of_the_program_before_any_was_added() -> None:
    assert original_stages(product([1, 1, 1, 1], [1, 1, 1, 1], [1, 1])) == 3
    assert original_stages(STEPS) == 3
    assert original_stages([["CI", 1], ["FU", 3, [0, 1]], ["AN", 3, 0, 5]]) == 4
    assert original_stages([]) == 0


@pytest.mark.parametrize("hardware", ["cuda-k80", "cuda-v100"])
def test_no_real_candidate_that_ran_holds_more_than_a_block_may(
    hardware: str, shared_logs: Path
) -> None:
    """TVM refuses more than 48 KiB; the extents in the logs' own splits say less or more."""
    folder = shared_logs / "auto_scheduler" / hardware / "nnfusion"
    held = []
    for name in ("matmul__ansor_matmul_65536_1024_1024", "conv__ansor_conv2d_128_256_56_56_512*",
                 "depthwise__ansor_depthwise_128_84_83_83_5_5_2_SAME"):  # fmt: skip
        (path,) = folder.glob(f"ansor__{name}.log.gz")
        with gzip.open(path, "rt") as lines:
            rows = [json.loads(next(lines)) for _ in range(150)]
        ran = [row["i"][1][1] for row in rows if row["r"][1] == 0]
        for group in replay_steps(rows[0]["i"][0][0], ran):
            copies = [s for s in group.trajectories.stages if s.role == "cache_read"]
            if copies:
                held.append(4 * sum(copy.held for copy in copies))
    held = np.concatenate(held)
    assert len(held) > 100
    assert held.min() > 0
    assert held.max() <= 48 << 10
    assert held.max() > 40 << 10
