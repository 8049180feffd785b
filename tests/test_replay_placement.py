"""Where stages are computed, and what of them is computed there."""

from __future__ import annotations

import pytest
from test_replay_design_spaces import TARGETS, compare_spaces


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
