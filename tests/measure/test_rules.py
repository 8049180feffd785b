from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from measure.sketches import context, steps

from wmhub.measure import zoo
from wmhub.measure.programs import trace_text
from wmhub.measure.rules import space_generator

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

CUDA = {
    "kind": "cuda",
    "arch": "sm_80",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 48 << 10,
    "thread_warp_size": 32,
}
#: One of each rule: packed, padded and packed, turned.
OURS = [
    "dense-m32-n96-k48-bias",
    "scores-b2-m37-n37-d16",
    "conv2d-h6-w6-ci8-co32-k3-s1-p1-nchw-relu",
]


def structures(module: Any, generator: Any = None, mcpu: str = "haswell") -> set[str]:
    """Instructions of all sketches, as text."""
    spaces = context(module, generator, mcpu).generate_design_space()
    return {json.dumps(json.loads(trace_text(space.trace))[0]) for space in spaces}


@pytest.mark.parametrize("workload", OURS)
def test_sketches_of_tvm_stay_beside_ours(workload: str) -> None:
    module = zoo.build(workload)
    assert structures(module, "post-order-apply") < structures(module)


def test_rules_are_those_that_tvm_has_for_the_cpu() -> None:
    """Where there are instructions for products of bytes, TVM has sketches that use them."""
    from wmhub.tvm_compat import tvm

    te = tvm.te
    x, w = te.placeholder((64, 64), "uint8", "x"), te.placeholder((64, 64), "int8", "w")
    k = te.reduce_axis((0, 64), "k")

    def element(i: Any, j: Any) -> Any:
        return te.sum(x[i, k].astype("int32") * w[j, k].astype("int32"), axis=k)

    module = tvm.IRModule({"main": te.create_prim_func([x, w, te.compute((64, 64), element, "y")])})
    theirs = structures(module, "post-order-apply", "cascadelake")
    assert theirs == structures(module, None, "cascadelake")
    assert theirs != structures(module, "post-order-apply")


def test_gpus_have_the_sketches_of_tvm() -> None:
    from wmhub.tvm_compat import use_target

    assert space_generator(use_target(CUDA)) == "post-order-apply"


@pytest.mark.parametrize("workload", ["maxpool2d-h8-w8-c4-k2-s2", "avgpool2d-h8-w8-c4-k2-s2"])
def test_rules_that_pooling_names_warn_of_nothing(
    capfd: pytest.CaptureFixture[str], workload: str
) -> None:
    """TVM writes its warnings past Python's streams."""
    assert structures(zoo.build(workload))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("workload", "panels"),
    [
        ("dense-m32-n96-k48-bias", [3, 48, 32]),
        ("conv2d-h6-w6-ci8-co32-k3-s1-p1-nchw-relu", [1, 8, 3, 3, 32]),
        # Padded on the way, which is more than a copy: in each run.
        ("dense-m32-n37-k48-bias", [37, 48]),
    ],
)
def test_weights_of_any_layout_are_copied_once(workload: str, panels: list[int]) -> None:
    """What is measured and what a network runs take them in panels; TVM's own rule for such
    weights ends on our copy."""
    from wmhub.measure.programs import argument_info, compile_program
    from wmhub.measure.sketch import Sketch
    from wmhub.tvm_compat import tvm

    main = zoo.build(workload)["main"].with_attr("layout_free_buffers", [1])
    found = context(tvm.IRModule({"main": main}))
    random = np.random.default_rng(0)
    given = [random.standard_normal(s, np.float32) for _, _, s in argument_info(found.mod)]

    def output_of(library: Any) -> Any:
        tensors = [tvm.runtime.tensor(array) for array in given]
        library["main"](*tensors)
        return tensors[-1].numpy()

    right = output_of(tvm.compile(found.mod, target="llvm"))
    ours = 0
    for space in found.generate_design_space():
        sketch = Sketch(found.mod, space.trace, list(found.space_generator.postprocs))
        sketch.learn_locations(0)
        schedule = sketch.replay(sketch.space.draw(random))
        assert schedule is not None
        if steps(space.trace, "ReindexCacheRead"):
            ours += 1
            assert argument_info(schedule.mod)[1][2] == panels
        library = compile_program(schedule.mod, found.target, packs_weights=True)
        np.testing.assert_allclose(output_of(library), right, rtol=1e-3, atol=1e-4)
    assert ours


@pytest.mark.parametrize("workload", OURS)
def test_a_record_of_ours_needs_tvm_alone(workload: str) -> None:
    """The trace goes through JSON and gives the same program, and the same genes."""
    from wmhub.measure.sketch import Sketch
    from wmhub.tvm_compat import Schedule, Trace, same_structure

    found = context(zoo.build(workload))
    ours = 0
    for space in found.generate_design_space():
        ours += bool(steps(space.trace, "ReindexCacheRead"))
        sketch = Sketch(found.mod, space.trace, list(found.space_generator.postprocs))
        sketch.learn_locations(0)
        genes = sketch.space.draw(np.random.default_rng(0))
        schedule = sketch.replay(genes)
        again = Schedule(found.mod)
        Trace.apply_json_to_schedule(json.loads(trace_text(schedule.trace)), again)
        assert same_structure(again.mod) == same_structure(schedule.mod)
        assert sketch.genes_of(again.trace) == sketch.genes_of(schedule.trace)
    assert ours
