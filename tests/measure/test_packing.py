from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from measure.sketches import check_results, context, layouts, steps, traces_with

from wmhub.measure import zoo

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


def packed_traces(module: Any) -> list[Any]:
    return traces_with(module, "ReindexCacheRead")


def panels(trace: Any) -> list[str]:
    return layouts(trace, "ReindexCacheRead")


@pytest.mark.parametrize(
    ("workload", "padding", "layouts"),
    [
        # Vectors run across rows of the weights: those are packed, and nothing is padded.
        ("dense-m32-n128-k48-bias", None, ["i1 // 64, i2, i1 % 64"]),
        ("dense-m32-n96-k48-bias", None, ["i1 // 32, i2, i1 % 32"]),
        # A prime number of rows: its operand is padded as it is copied, the other stays.
        ("matmul-m197-n64-k24", [200, 1, 1], ["i0, i2"]),
        # A prime number of columns.
        ("matmul-m64-n197-k24", [1, 208, 1], ["i1 // 16, i2, i1 % 16"]),
        # Both; the batch and the reduction stay as they are.
        (
            "scores-b7-m197-n197-d31",
            [1, 200, 208, 1],
            ["i0, i1, i3", "i0, i2 // 16, i3, i2 % 16"],
        ),
    ],
)
def test_what_is_packed_and_padded(
    workload: str, padding: list[int] | None, layouts: list[str]
) -> None:
    traces = packed_traces(zoo.build(workload))
    assert traces
    for trace in traces:
        assert [step[2][0] for step in steps(trace, "PadEinsum")] == ([padding] if padding else [])
        assert panels(trace) == layouts


@pytest.mark.parametrize(
    "workload",
    [
        "matmul-m64-n64-k64",  # TVM's sketches have contiguous vectors and tiles already.
        "dense-m4-n128-k64",  # The copy would cost more than four uses give back.
        "context-b2-m16-n64-d32",
        "conv2d-h13-w13-ci16-co32-k3",  # An index is no iterator alone.
        "softmax-m37-n101",
        "sum-m37-n101",
    ],
)
def test_what_is_well_as_it_is_stays(workload: str) -> None:
    assert not packed_traces(zoo.build(workload))


def rows_times_rows(left: str, right: str, index_type: str = "int32") -> Any:
    """``x @ w.T`` in float32 of operands of the given types."""
    from wmhub.tvm_compat import tvm

    te = tvm.te
    x, w = te.placeholder((32, 48), left, "x"), te.placeholder((128, 48), right, "w")
    k = te.reduce_axis((0, 48), "k")

    def element(i: Any, j: Any) -> Any:
        return te.sum(x[i, k].astype("float32") * w[j, k].astype("float32"), axis=k)

    tensors = [x, w, te.compute((32, 128), element, "y")]
    return tvm.IRModule({"main": te.create_prim_func(tensors, index_dtype_override=index_type)})


@pytest.mark.parametrize("types", [("int8", "int8"), ("float32", "float16")])
def test_integers_and_mixed_types_stay(types: tuple[str, str]) -> None:
    assert not packed_traces(rows_times_rows(*types))


@pytest.mark.parametrize("index_type", ["int32", "int64"])
def test_indices_keep_their_type(index_type: str) -> None:
    """Casts would hide from TVM that a vector stays within its panel."""
    module = rows_times_rows("float32", "float32", index_type)
    found = context(module).generate_design_space()
    packed = [space for space in found if steps(space.trace, "ReindexCacheRead")]
    assert packed
    assert not any("Cast" in space.mod.script() for space in packed)


def turned_weights(m: int, n: int, k: int) -> Any:
    """As a linear layer of PyTorch comes: ``matmul(x, permute_dims(w))``."""
    from wmhub.tvm_compat import tvm

    te = tvm.te
    x, w = te.placeholder((m, k), "float32", "x"), te.placeholder((n, k), "float32", "w")
    turned = te.compute((k, n), lambda i, j: w[j, i], "turned")
    r = te.reduce_axis((0, k), "r")
    y = te.compute((m, n), lambda i, j: te.sum(x[i, r] * turned[r, j], axis=r), "y")
    return tvm.IRModule({"main": te.create_prim_func([x, w, y])})


def test_weights_that_are_turned_on_the_way_are_packed() -> None:
    traces = packed_traces(turned_weights(32, 128, 48))
    assert traces
    for trace in traces:
        assert panels(trace) == ["i1 // 64, i2, i1 % 64"]
        # The copy reads the weights as they are.
        assert len(steps(trace, "ComputeInline")) == 1


def test_a_reduction_is_never_padded() -> None:
    """Zeros add nothing to a sum of products, but a sum of exponentials changes with them."""
    from wmhub.tvm_compat import tvm

    te = tvm.te
    x, w = te.placeholder((37, 31), "float32", "x"), te.placeholder((101, 31), "float32", "w")
    scale, k = te.placeholder((37,), "float32", "scale"), te.reduce_axis((0, 31), "k")

    def element(i: Any, j: Any) -> Any:
        return te.sum(te.exp(x[i, k] - w[j, k]) * scale[i], axis=k)

    tensors = [x, w, scale, te.compute((37, 101), element, "y")]
    traces = packed_traces(tvm.IRModule({"main": te.create_prim_func(tensors)}))
    assert traces
    for trace in traces:
        assert [step[2][0] for step in steps(trace, "PadEinsum")] == [[40, 112, 1]]


def test_rows_of_one_operand_with_themselves_stay() -> None:
    from wmhub.tvm_compat import tvm

    te = tvm.te
    x, k = te.placeholder((37, 31), "float32", "x"), te.reduce_axis((0, 31), "k")
    y = te.compute((37, 37), lambda i, j: te.sum(x[i, k] * x[j, k], axis=k), "y")
    assert not packed_traces(tvm.IRModule({"main": te.create_prim_func([x, y])}))


def test_a_batch_is_not_padded() -> None:
    from wmhub.tvm_compat import tvm

    te = tvm.te
    q, keys = (te.placeholder((37, n, 24), "float32", f"x{n}") for n in (37, 101))
    scale, k = te.placeholder((37,), "float32", "scale"), te.reduce_axis((0, 24), "k")

    def element(b: Any, i: Any, j: Any) -> Any:
        return te.sum(q[b, i, k] * keys[b, j, k] * scale[i], axis=k)

    tensors = [q, keys, scale, te.compute((37, 37, 101), element, "y")]
    traces = packed_traces(tvm.IRModule({"main": te.create_prim_func(tensors)}))
    assert traces
    for trace in traces:
        assert [step[2][0] for step in steps(trace, "PadEinsum")] == [[1, 40, 112, 1]]


def test_products_of_a_chain_are_packed_together() -> None:
    """Or a network's part of six layers would have 64 times the sketches of TVM."""
    from wmhub.tvm_compat import tvm

    te = tvm.te
    x = te.placeholder((32, 48), "float32", "x")
    weights = [te.placeholder((48, 48), "float32", f"w{n}") for n in range(2)]
    k, r = te.reduce_axis((0, 48), "k"), te.reduce_axis((0, 48), "r")
    y = te.compute((32, 48), lambda i, j: te.sum(x[i, k] * weights[0][j, k], axis=k), "y")
    z = te.compute((32, 48), lambda i, j: te.sum(y[i, r] * weights[1][j, r], axis=r), "z")
    module = tvm.IRModule({"main": te.create_prim_func([x, *weights, z])})
    spaces = context(module).generate_design_space()
    packed = [len(steps(space.trace, "ReindexCacheRead")) for space in spaces]
    assert sorted(set(packed)) == [0, 1, 2]
    assert packed.count(0) == packed.count(1) == packed.count(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "shapes", "expected"),
    [
        (lambda: turned_weights(19, 40, 13), [(19, 13), (40, 13)], lambda x, w: x @ w.T),
        (
            "dense-m23-n40-k31-bias",
            [(23, 31), (40, 31), (40,)],
            lambda x, w, bias: x @ w.T + bias,
        ),
        (
            "scores-b3-m37-n37-d16",
            [(3, 37, 16), (3, 37, 16)],
            lambda q, k: q @ k.transpose(0, 2, 1) / 4,
        ),
        ("matmul-m29-n29-k13", [(29, 13), (13, 29)], lambda a, b: a @ b),
    ],
)
def test_a_packed_schedule_computes_the_same(
    workload: Any, shapes: list[tuple[int, ...]], expected: Any
) -> None:
    module = zoo.build(workload) if isinstance(workload, str) else workload()
    random = np.random.default_rng(0)
    given = [random.standard_normal(shape, dtype=np.float32) for shape in shapes]
    assert check_results(module, "ReindexCacheRead", given, expected(*given)) >= 1
