"""Where stages are computed, and what of them is computed there."""

from __future__ import annotations

import pytest
from test_replay_design_spaces import TARGETS, compare_spaces

from wmhub.nest import Axis, Stage, extents
from wmhub.program import Access, Index
from wmhub.replay.placement import _take_in

EXP = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ADD = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_what_is_inlined_is_computed_for_each_read_of_it() -> None:
    here = (Index("var", 0),)
    reads = [Access("E", here), Access("E", here), Access("B", here)]
    consumer = Stage("sum", [], [], reads, [Access("C", here)], operations=ADD)
    made = [Access("E", here)]
    axes = [Axis("i", extents(8), False)]
    _take_in(consumer, Stage("exp", axes, [], [Access("A", here)], made, operations=EXP))
    assert consumer.operations == (1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0)
    assert [read.buffer for read in consumer.reads] == ["A", "A", "B"]


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
