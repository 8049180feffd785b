from __future__ import annotations

from typing import Any

import pytest

from wmhub.measure import zoo
from wmhub.measure.products import Product

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

WHOLE = """
# from tvm.script import tirx as T
@T.prim_func(s_tir=True)
def main(x: T.Buffer((37, 31), "float32"), w: T.Buffer((101, 31), "float32"),
         y: T.Buffer((37, 101), "float32")):
    for i, j, k in T.grid(37, 101, 31):
        with T.sblock("y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                y[vi, vj] = 0.0
            y[vi, vj] = y[vi, vj] + x[vi, vk] * w[vj, vk]
"""
REMAP = 'vi, vj, vk = T.axis.remap("SSR", [i, j, k])'
GAPS = WHOLE.replace("y[vi, vj]", "y[vi * 2, vj]").replace("(37, 101)", "(74, 101)")
PARTS = (
    WHOLE.replace("(37, 101)", "(80, 101)")
    + """    for i, j in T.grid(43, 101):
        with T.sblock("rest"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi + 37, vj] = 1.0
"""
)
CAUSAL = WHOLE.replace("37", "101").replace(REMAP, f"T.where(j <= i)\n            {REMAP}")
SHIFTED = WHOLE.replace("Buffer((37", "Buffer((38").replace(
    REMAP,
    'vi = T.axis.spatial((1, 38), i + 1)\n            vj, vk = T.axis.remap("SR", [j, k])',
)


def product_of(source: str) -> Product | None:
    from wmhub.tvm_compat import Schedule, tvm

    function = tvm.script.from_source(source)
    schedule = Schedule(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}))
    return Product.of(schedule, schedule.get_sblock("y"))


def product_in(workload: str, block: str) -> Any:
    from wmhub.tvm_compat import Schedule

    schedule = Schedule(zoo.build(workload))
    return Product.of(schedule, schedule.get_sblock(block))


def test_a_matrix_product() -> None:
    found = product_of(WHOLE)
    assert found is not None
    assert (found.extents, found.reductions, found.result) == ((37, 101, 31), {2}, (0, 1))
    assert found.operands == ((0, 2), (1, 2))
    assert (found.copies, found.line) == ((0, 0), 16)


def test_a_convolution_has_an_operand_that_is_no_plain_one() -> None:
    found = product_in("conv2d-h8-w8-ci8-co32-k3-s1-p1-nchw", "conv2d_nchw")
    assert found.operands == (None, (1, 4, 5, 6))
    assert found.uses == (frozenset({0, 2, 3, 4, 5, 6}), frozenset({1, 4, 5, 6}))


@pytest.mark.parametrize(
    ("workload", "block"), [("dense-m32-n96-k48-bias", "add_bias"), ("sum-m37-n101", "X_red")]
)
def test_what_reduces_nothing_or_one_operand_is_none(workload: str, block: str) -> None:
    assert product_in(workload, block) is None


@pytest.mark.parametrize(
    "source", [PARTS, CAUSAL, SHIFTED, GAPS], ids=["parts", "causal", "shifted", "gaps"]
)
def test_what_writes_a_part_of_its_result_is_none(source: str) -> None:
    """A copy of the result would overwrite the rest of it with what was never computed."""
    assert product_of(source) is None
