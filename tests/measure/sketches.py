"""Design spaces on a CPU, for the tests of the rules that make sketches of ours."""

from __future__ import annotations

import json
from typing import Any

import numpy as np


def context(module: Any, generator: Any = None, mcpu: str = "haswell") -> Any:
    """A ``TuneContext`` of ``module`` for a CPU; with our rules by default."""
    from wmhub.measure.rules import space_generator
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    target = use_target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})
    return ms.TuneContext(
        mod=module,
        target=target,
        space_generator=generator or space_generator(target),
        rand_state=1,
        num_threads=1,
    )


def steps(trace: Any, name: str) -> list[Any]:
    """Instructions of that name as JSON has them."""
    from wmhub.measure.programs import trace_text

    return [one for one in json.loads(trace_text(trace))[0] if one[0] == name]


def traces_with(module: Any, name: str) -> list[Any]:
    """Traces of the sketches of ``module`` that have an instruction of that name."""
    traces = [space.trace for space in context(module).generate_design_space()]
    return [trace for trace in traces if steps(trace, name)]


def layouts(trace: Any, name: str) -> list[str]:
    """The layouts of copies that an instruction makes, with iterators as ``i0``, ``i1`` ..."""
    from wmhub.measure.programs import trace_text
    from wmhub.tvm_json import parse_index_map

    def shown(index: Any) -> str:
        if index.op == "var":
            return f"i{index.value}"
        return (
            str(index.value)
            if index.op == "const"
            else f" {index.op} ".join(map(shown, index.args))
        )

    found = [one[1][1] for one in json.loads(trace_text(trace))[0] if one[0] == name]
    return [", ".join(map(shown, parse_index_map(text)[1])) for text in found]


def check_results(module: Any, name: str, given: list[np.ndarray], right: np.ndarray) -> int:
    """Runs a random candidate of each sketch that has instruction ``name``; how many there were."""
    from wmhub.measure.sketch import Sketch
    from wmhub.tvm_compat import tvm

    found = context(module)
    random = np.random.default_rng(0)
    ran = 0
    for space in found.generate_design_space():
        if not steps(space.trace, name):
            continue
        sketch = Sketch(found.mod, space.trace, list(found.space_generator.postprocs))
        sketch.learn_locations(0)
        schedule = sketch.replay(sketch.space.draw(random))
        assert schedule is not None
        compiled = tvm.compile(schedule.mod, target=found.target)
        tensors = [tvm.runtime.tensor(array) for array in (*given, np.full_like(right, np.nan))]
        compiled["main"](*tensors)
        np.testing.assert_allclose(tensors[-1].numpy(), right, rtol=1e-3, atol=1e-4)
        ran += 1
    return ran
