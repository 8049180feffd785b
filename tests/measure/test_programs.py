"""What programs are called with while they are timed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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


def test_programs_that_lay_out_an_argument_in_other_ways_share_its_memory() -> None:
    from wmhub.measure.programs import Arguments
    from wmhub.tvm_compat import tvm

    def info(*weights: int) -> list[Any]:
        return [["TENSOR", "float32", [3, 4]], ["TENSOR", "float32", list(weights)]]

    def places(tensors: list[Any]) -> list[int]:
        return [int(np.from_dlpack(tensor).ctypes.data) for tensor in tensors]

    arguments = Arguments(tvm.runtime.device("cpu", 0))
    flat, packed = arguments.of(info(8, 16)), arguments.of(info(2, 2, 32))
    assert [tensor.shape for tensor in packed] == [(3, 4), (2, 2, 32)]
    assert places(flat) == places(packed)
    padded = arguments.of(info(2, 2, 33))  # More than there is.
    assert padded[1].shape == (2, 2, 33)
    assert padded[1].numpy().all()
    assert places(padded)[0] == places(flat)[0] != places(padded)[1]
    assert places(arguments.of(info(128))) == places(padded)
    (index,) = arguments.of([["TENSOR", "int32", []]])  # Of another type, and a scalar.
    assert index.shape == ()
    assert not index.numpy().any()


def test_caches_of_a_remote_cpu_are_emptied_as_those_of_this_one() -> None:
    from wmhub.measure.programs import evaluator
    from wmhub.tvm_compat import tvm

    asked: list[dict[str, Any]] = []
    linked = SimpleNamespace(entry_name="main", time_evaluator=lambda *_, **how: asked.append(how))
    for device in (tvm.runtime.device("cpu", 0), tvm.rpc.LocalSession().device("cpu", 0)):
        evaluator(linked, device, 3, 2, flush_cache=True)
    here, there = asked
    assert here == there
    assert here == {"number": 1, "repeat": 2, "f_preproc": "cache_flush_cpu_non_first_arg"}


@pytest.mark.parametrize(
    ("kind", "visible", "device"),
    [
        ("llvm", {"CUDA_VISIBLE_DEVICES": "3"}, ""),
        ("cuda", {}, "cuda-0"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": ""}, "cuda-0"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "3,1"}, "cuda-3"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "MIG-GPU-8a/7/0"}, "cuda-0"),
        ("rocm", {"ROCR_VISIBLE_DEVICES": "2"}, "rocm-2"),
    ],
)
def test_several_gpus_of_a_machine_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, kind: str, visible: dict[str, str], device: str
) -> None:
    from wmhub.measure.programs import device_here

    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in visible.items():
        monkeypatch.setenv(name, value)
    assert device_here({"kind": kind}) == device
