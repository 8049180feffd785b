"""Where stages are computed, and what of them is computed there."""

from __future__ import annotations

import pytest
from test_replay_design_spaces import TARGETS, compare_spaces

from wmhub.nest import Axis, Stage, extents
from wmhub.program import Access, Index
from wmhub.replay.placement import _absorb, _take_in

EXP = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ADD = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_what_is_inlined_is_computed_for_each_read_of_it() -> None:
    here = (Index("var", 0),)
    there = (Index("var", 1),)
    reads = [Access("E", here), Access("E", there), Access("B", here)]
    consumer = Stage("sum", [], [], reads, [Access("C", here)], operations=ADD)
    made = [Access("E", here)]
    axes = [Axis("i", extents(8), False)]
    _take_in(consumer, Stage("exp", axes, [], [Access("A", here)], made, operations=EXP))
    assert consumer.operations == (1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0)
    assert consumer.reads == [Access("A", here), Access("A", there), Access("B", here)]


def test_equal_reads_are_one() -> None:
    here = (Index("var", 0),)
    axes = [Axis("i", extents(8), False)]
    consumer = Stage(
        "sum", axes, [], [Access("A", here), Access("E", here)], [Access("C", here)],
        operations=ADD,
    )  # fmt: skip
    made = [Access("E", here)]
    _take_in(consumer, Stage("exp", axes, [], [Access("A", here)], made, operations=EXP))
    assert consumer.reads == [Access("A", here)]


def test_what_is_inlined_into_a_copy_is_computed_there() -> None:
    here = (Index("var", 0),)
    axes = [Axis("i", extents(8), False)]
    padding = Stage("pad", axes, [], [Access("A", here)], [Access("P", here)], operations=ADD)
    reads, writes = [Access("P", here)], [Access("P.shared.1", here)]
    copy = Stage("copy", axes, [], reads, writes, "cache_read")
    outer = Stage("block_o", axes, [], list(reads), [Access("C", here)])
    for consumer in (copy, outer):
        _take_in(consumer, padding)
        assert consumer.reads == [Access("A", here)]
    assert copy.operations == ADD
    # What stands for the outer loops of a block has its operations inside.
    assert outer.operations == ()


def test_an_epilogue_is_computed_for_each_result_of_a_sum() -> None:
    here = (Index("var", 0),)
    axes = [Axis("i", extents(8), False), Axis("k", extents(16), True)]
    dense = Stage("dense", axes, [], [], [Access("D", here)], operations=ADD)
    relu = Stage("relu", axes[:1], [], [Access("D", here)], [Access("C", here)], operations=EXP)
    _absorb(dense, relu)
    assert dense.operations == (1.0, 0.0, 0.0, 0.0, 0.0, 1 / 16, 0.0)
    assert dense.writes == [Access("C", here)]


def test_what_grows_without_bounds_is_bounded() -> None:
    here = (Index("var", 0),)
    axes = [Axis("i", extents(8), False)]
    consumer = Stage("sum", [], [], [Access("E", here)], [Access("C", here)], operations=ADD)
    huge = tuple(1e300 * each for each in EXP)
    made = [Access("E", here)]
    _take_in(consumer, Stage("exp", axes, [], [Access("A", here)], made, operations=huge))
    assert consumer.operations == (1.0, 0.0, 0.0, 0.0, 0.0, 1e6, 0.0)


def test_a_table_that_is_made_of_indices_costs_nothing() -> None:
    here = (Index("var", 0),)
    consumer = Stage("sum", [], [], [Access("T", here)], [Access("C", here)], operations=ADD)
    axes = [Axis("i", extents(8), False)]
    _take_in(consumer, Stage("table", axes, [], [], [Access("T", here)], operations=EXP))
    assert consumer.operations == ADD
    assert consumer.reads == []


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize(
    "workload",
    [
        # What feeds a stage that stands in another one's nest, outside of its own loops.
        "deconv2d-h8-w8-ci256-co128-k4-s2-p1",
        "softmax-m96-n128",
        # A reduction over fused axes that is factored.
        "globalpool2d-h7-w7-c32",
    ],
)
def test_chains_of_stages_are_placed_as_tvm_places_them(workload: str) -> None:
    pytest.importorskip("tvm")
    from wmhub.measure import zoo
    from wmhub.tvm_compat import normalize, use_target

    target = use_target(TARGETS["llvm"])
    module = normalize(zoo.build(workload))
    assert compare_spaces(module, target, "post-order-apply", range(1, 9))
