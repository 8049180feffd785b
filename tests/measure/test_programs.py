"""What programs are called with while they are timed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

INDICES = ("int16", "int32", "int64", "uint32", "bool", "int4", "uint4", "uint1", "float4_e2m1fn")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "remote"])
def test_what_may_be_an_index_is_zero_and_the_rest_random(elsewhere: bool) -> None:
    from wmhub.measure.programs import random_arguments
    from wmhub.tvm_compat import tvm

    device, fill = tvm.runtime.device("cpu", 0), None
    if elsewhere:
        session = tvm.rpc.LocalSession()
        device = session.device("cpu", 0)
        fill = session.get_function("tvm.contrib.random.random_fill_for_measure")
    random = ("float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "int8", "uint8")
    info = [["TENSOR", dtype, [5, 3]] for dtype in (*INDICES, *random)]
    for (_, dtype, _), tensor in zip(info, random_arguments(info, device, fill), strict=True):
        values = tensor.numpy().view(np.uint8)
        assert values.any() == (dtype in random), dtype


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_program_that_gathers_finds_its_rows(dtype: str) -> None:
    from wmhub.measure.programs import argument_info, random_arguments
    from wmhub.tvm_compat import tvm

    table = tvm.te.placeholder((16, 4), name="table")
    rows = tvm.te.placeholder((8,), name="rows", dtype=dtype)
    found = tvm.te.compute((8, 4), lambda i, j: table[rows[i], j], name="found")
    module = tvm.IRModule({"main": tvm.te.create_prim_func([table, rows, found])})
    arguments = random_arguments(argument_info(module), tvm.runtime.device("cpu", 0))
    assert not arguments[1].numpy().any()
    tvm.compile(module, target="llvm")["main"](*arguments)
    assert (arguments[2].numpy() == arguments[0].numpy()[0]).all()
