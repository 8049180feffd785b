from __future__ import annotations

import pytest
from measure.sketches import steps

from wmhub.measure import zoo
from wmhub.measure.sources import NamedWorkload
from wmhub.search.run import make_contexts

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.mark.parametrize("packing", [True, False])
def test_a_search_draws_from_our_own_sketches_unless_told_not_to(packing: bool) -> None:
    from wmhub.tvm_compat import use_target

    task = NamedWorkload("dense", zoo.build("dense-m32-n64-k48-bias"))
    target = use_target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
    (context,) = make_contexts(
        [task], target, None, cores=1, seed=0, log=None, packing=packing
    )  # fmt: skip
    packed = [
        bool(steps(space.trace, "ReindexCacheRead")) for space in context.generate_design_space()
    ]
    assert any(packed) == packing
    assert not all(packed)
