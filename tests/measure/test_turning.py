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
