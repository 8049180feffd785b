from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from measure.sketches import check_results, layouts, steps, traces_with

from wmhub.measure import zoo

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


def turned_traces(module: Any) -> list[Any]:
    return traces_with(module, "ReindexCacheWrite")


@pytest.mark.parametrize(
    ("workload", "weights", "result"),
    [
        (
            "conv2d-h14-w14-ci16-co128-k3-s1-p1-nchw-bias-relu",
            "i1 // 64, i4, i5, i6, i1 % 64",
            "i0, i2, i3, i1",
        ),
        ("conv2d-h8-w8-ci12-co24-k1-s1-p0-nchw", "i1 // 24, i4, i5, i6, i1 % 24", "i0, i2, i3, i1"),
        ("conv1d-l16-ci8-co48-k3-s1-p1-nchw", "i1 // 16, i3, i4, i1 % 16", "i0, i2, i1"),
    ],
)
def test_channels_become_the_last_dimension(workload: str, weights: str, result: str) -> None:
    traces = turned_traces(zoo.build(workload))
    assert traces
    for trace in traces:
        assert layouts(trace, "ReindexCacheRead") == [weights]
        assert layouts(trace, "ReindexCacheWrite") == [result]


@pytest.mark.parametrize(
    "workload",
    [
        "conv2d-h14-w14-ci16-co128-k3-s1-p1",  # Channels are last already.
        "conv2d-h14-w14-ci16-co7-k3-s1-p1-nchw",  # Too few of them for a vector.
        "conv2d-h14-w14-ci32-co32-k3-s1-p1-g4-nchw",  # The input depends on the channel too.
        "depthwise2d-h14-w14-c32-k3-s1-p1-nchw",
        "maxpool2d-h14-w14-c32-k2-s2-nchw",
        "matmul-m64-n64-k64",
        "dense-m32-n96-k48-bias",
        "softmax-m37-n101",
    ],
)
def test_all_else_stays(workload: str) -> None:
    assert not turned_traces(zoo.build(workload))


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", "-bias-relu"])
def test_a_turned_schedule_computes_the_same(flags: str) -> None:
    torch = pytest.importorskip("torch")
    module = zoo.build(f"conv2d-h9-w9-ci6-co24-k3-s1-p1-nchw{flags}")
    random = np.random.default_rng(0)
    image, weights = (
        random.standard_normal(shape, dtype=np.float32) for shape in ((1, 6, 9, 9), (24, 6, 3, 3))
    )
    given, right = [image, weights], torch.conv2d(*map(torch.tensor, (image, weights)), padding=1)
    if flags:
        given.append(random.standard_normal(24, dtype=np.float32))
        right = (right + torch.tensor(given[2])[:, None, None]).relu()
    assert check_results(module, "ReindexCacheWrite", given, right.numpy()) >= 1


def test_what_follows_turns_it_back() -> None:
    """Bias and activation read the turned result: nothing but they writes the image."""
    with_epilogue = turned_traces(zoo.build("conv2d-h8-w8-ci8-co32-k3-s1-p1-nchw-bias-relu"))
    alone = turned_traces(zoo.build("conv2d-h8-w8-ci8-co32-k3-s1-p1-nchw"))
    assert {len(steps(t, "ComputeInline")) for t in alone} == {0}
    assert all(steps(t, "ComputeInline") for t in with_epilogue)


def following(consumer: str) -> Any:
    """A convolution whose result goes into something else than an image of the same order."""
    from wmhub.tvm_compat import tvm

    te = tvm.te
    x = te.placeholder((1, 8, 10, 10), "float32", "x")
    w = te.placeholder((32, 8, 3, 3), "float32", "w")
    c, i, j = (te.reduce_axis((0, n), name) for n, name in ((8, "c"), (3, "i"), (3, "j")))
    conv = te.compute(
        (1, 32, 8, 8),
        lambda n, f, y, z: te.sum(x[n, c, y + i, z + j] * w[f, c, i, j], axis=[c, i, j]),
        "conv",
    )
    if consumer == "pool":
        h, v = te.reduce_axis((0, 8), "h"), te.reduce_axis((0, 8), "v")
        last = te.compute((1, 32), lambda n, f: te.sum(conv[n, f, h, v], axis=[h, v]), "pool")
    else:
        last = te.compute((1, 8, 8, 32), lambda n, y, z, f: te.exp(conv[n, f, y, z]), "turned")
    return tvm.IRModule({"main": te.create_prim_func([x, w, last])})


@pytest.mark.parametrize("consumer", ["pool", "turned"])
def test_only_what_goes_alike_turns_it_back(consumer: str) -> None:
    traces = turned_traces(following(consumer))
    assert traces
    for trace in traces:
        # A copy turns the result back, and what follows reads that.
        assert not steps(trace, "ComputeInline")


@pytest.mark.slow
@pytest.mark.parametrize("consumer", ["pool", "turned"])
def test_what_follows_gets_the_same(consumer: str) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    image, weights = (
        random.standard_normal(shape, dtype=np.float32) for shape in ((1, 8, 10, 10), (32, 8, 3, 3))
    )
    weights *= 0.1
    right = torch.conv2d(*map(torch.tensor, (image, weights)))
    right = right.sum((2, 3)) if consumer == "pool" else right.permute(0, 2, 3, 1).exp()
    given = [image, weights]
    assert check_results(following(consumer), "ReindexCacheWrite", given, right.numpy()) >= 1


def test_a_part_of_the_image_stays() -> None:
    from wmhub.tvm_compat import tvm

    source = """
# from tvm.script import tirx as T
@T.prim_func(s_tir=True)
def main(x: T.Buffer((1, 8, 10, 10), "float32"), w: T.Buffer((32, 8, 3, 3), "float32"),
         y: T.Buffer((1, 32, 8, 8), "float32")):
    for n, f, h, l, c, i, j in T.grid(1, 32, 8, 8, 8, 3, 3):
        with T.sblock("y"):
            T.where(h < 5)
            vn, vf, vh, vl, vc, vi, vj = T.axis.remap("SSSSRRR", [n, f, h, l, c, i, j])
            with T.init():
                y[vn, vf, vh, vl] = 0.0
            y[vn, vf, vh, vl] = y[vn, vf, vh, vl] + x[vn, vc, vh + vi, vl + vj] * w[vf, vc, vi, vj]
"""
    function = tvm.script.from_source(source)
    assert not turned_traces(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}))
