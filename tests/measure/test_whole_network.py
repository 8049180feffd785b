"""A network's operators are what is tuned, and its library computes what it computed before."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmhub.errors import InvalidInputError, MeasureError

pytest.importorskip("tvm")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.tvm


class Residual(torch.nn.Module):  # type: ignore[misc]
    """Two convolutions with normalisations, of which one is grouped, around a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm_too = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(x + self.norm_too(self.second(x)))
        return self.head(x.mean((2, 3)))


def residual() -> tuple[Any, Any]:
    """The network with what it has learned, and an image."""
    torch.manual_seed(0)
    network = Residual().eval()
    for norm in (network.norm, network.norm_too):
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
        torch.nn.init.normal_(norm.running_mean)
    return network, torch.randn(1, 4, 12, 12)


def target() -> Any:
    from wmhub.tvm_compat import llvm_target, use_target

    return use_target(llvm_target(cores=2))


def output_of(library: Any, image: Any) -> np.ndarray:
    from wmhub.tvm_compat import relax, tvm

    machine = relax.VirtualMachine(library, tvm.runtime.device("cpu", 0))
    (found,) = machine["main"](tvm.runtime.tensor(image.numpy()))
    return np.asarray(found.numpy())


def test_operators_are_fused_with_what_surrounds_them() -> None:
    from wmhub.measure.whole_network import extracted, whole_network

    network, image = residual()
    found = whole_network("net", torch.export.export(network, (image,)), target())
    operators = {one.name: one.calls for one in extracted(found, target())}
    # No normalisation is left, nor an operator of its own for a sum or a rectifier.
    assert len(operators) == 4
    assert not any("divide" in name or "subtract" in name for name in operators)
    assert sum("relu" in name for name in operators) == 2
    assert set(operators.values()) == {1}


def schedules_of(operators: Any) -> list[tuple[Any, Any]]:
    """A random schedule of the last sketch of each, which is ours where there are any."""
    from wmhub.measure.rules import space_generator
    from wmhub.measure.sketch import Sketch
    from wmhub.tvm_compat import meta_schedule as ms

    found = []
    for operator in operators:
        context = ms.TuneContext(
            operator.mod, target=target(), space_generator=space_generator(target()),
            task_name=operator.name, rand_state=1, num_threads=1,
        )  # fmt: skip
        space = context.generate_design_space()[-1]
        sketch = Sketch(context.mod, space.trace, list(context.space_generator.postprocs))
        sketch.learn_locations(0)
        schedule = sketch.replay(sketch.space.draw(np.random.default_rng(0)))
        assert schedule is not None
        found.append((operator.mod, schedule))
    return found


def test_a_network_with_schedules_computes_the_same(tmp_path: Path) -> None:
    from wmhub.measure.whole_network import compiled, extracted, whole_network, with_schedules
    from wmhub.tvm_compat import tvm

    network, image = residual()
    found = whole_network("net", torch.export.export(network, (image,)), target())
    schedules = schedules_of(extracted(found, target())[:-1])
    packed = [str(schedule.mod.script()) for _, schedule in schedules]
    assert sum("layout_rewrite_preproc" in text for text in packed) >= 2
    made = with_schedules(found, schedules, target())
    assert (made.operators, made.scheduled) == (4, 3)
    # What lays out weights is done, and called no more.
    assert str(made.module["main"].script()).count("call_tir(") == 4
    compiled(made, target()).export_library(str(tmp_path / "net.so"))
    with torch.no_grad():
        expected = network(image).numpy()
    library = tvm.runtime.load_module(str(tmp_path / "net.so"))
    np.testing.assert_allclose(output_of(library, image), expected, rtol=1e-4, atol=1e-5)


class Sorts(torch.nn.Module):  # type: ignore[misc]
    """What TVM leaves to its runtime, beside what it schedules, and numbers of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = torch.nn.Embedding(10, 32), torch.nn.Linear(32, 48)

    def forward(self, tokens: Any) -> Any:
        x = self.head(self.table(tokens))
        x = x.index_put((torch.tensor([0, 2]), torch.tensor([1, 3])), torch.tensor([1.0, 2.0]))
        return torch.topk(x, 3).values


def test_what_has_no_block_costs_the_others_nothing() -> None:
    from wmhub.measure.whole_network import (
        arguments_of,
        compiled,
        extracted,
        whole_network,
        with_schedules,
    )

    torch.manual_seed(0)
    network, tokens = Sorts().eval(), torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
    whole = whole_network("net", torch.export.export(network, (tokens,)), target())
    assert arguments_of(whole) == ("main", [["TENSOR", "int64", [8]]])
    operators = [one for one in extracted(whole, target()) if "index_put" not in one.name]
    assert any("topk" in one.name for one in operators)
    made = with_schedules(whole, schedules_of(operators), target())
    assert made.scheduled == len(operators) == made.operators - 1
    with torch.no_grad():
        expected = network(tokens).numpy()
    np.testing.assert_allclose(
        output_of(compiled(made, target()), tokens), expected, rtol=1e-4, atol=1e-5
    )


def layers_with(dtype: str, layout: str) -> Any:
    """A convolution and a batch normalisation of Relax."""
    from wmhub.tvm_compat import relax, tvm

    sizes = {"NCHW": ([1, 4, 8, 8], [8, 4, 3, 3], 1), "NHWC": ([1, 8, 8, 4], [3, 3, 4, 8], 3)}
    image, weights, axis = sizes[layout]
    type_of = getattr(relax, "TensorStructInfo", None) or relax.TensorType
    random = np.random.default_rng(0)
    x = relax.Var("x", type_of(image, dtype))
    w = relax.const(random.standard_normal(weights), dtype)
    norm = [relax.const(random.uniform(0.5, 1.0, 8), dtype) for _ in range(4)]
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            kernel = "OIHW" if layout == "NCHW" else "HWIO"
            y = relax.op.nn.conv2d(x, w, padding=1, data_layout=layout, kernel_layout=kernel)
            y = builder.emit(relax.op.nn.batch_norm(builder.emit(y), *norm, axis=axis))
            y = builder.emit_output(relax.TupleGetItem(y, 0))
        builder.emit_func_output(y)
    assert isinstance(builder.get(), tvm.IRModule)
    return builder.get()


@pytest.mark.parametrize(
    ("dtype", "layout", "folds"),
    [("float32", "NCHW", True), ("float64", "NCHW", False), ("float32", "NHWC", False)],
)
def test_a_normalisation_that_tvm_cannot_fold_stays(dtype: str, layout: str, folds: bool) -> None:
    from wmhub.measure.whole_network import extracted, whole_network

    (operator,) = extracted(whole_network("net", layers_with(dtype, layout), target()), target())
    assert ("divide" not in operator.name) == folds


def test_who_calls_a_network_gives_weights_as_they_were(tmp_path: Path) -> None:
    from tvm.relax.frontend.torch import from_exported_program

    from wmhub.measure.whole_network import (
        arguments_of,
        compiled,
        extracted,
        whole_network,
        with_schedules,
    )
    from wmhub.tvm_compat import relax, tvm

    network, x = torch.nn.Linear(32, 48).eval(), torch.randn(16, 32)
    program = torch.export.export(network, (x,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Of torch about its own insides.
        module = from_exported_program(program, keep_params_as_input=True)
    found = whole_network("net", module, target())
    known = arguments_of(found)
    assert known is not None
    assert [shape for _, _, shape in known[1]] == [[16, 32], [48, 32], [48]]
    made = with_schedules(found, schedules_of(extracted(found, target())), target())
    machine = relax.VirtualMachine(compiled(made, target()), tvm.runtime.device("cpu", 0))
    given = [x, network.weight, network.bias]
    (output,) = machine["main"](*(tvm.runtime.tensor(one.detach().numpy()) for one in given))
    with torch.no_grad():
        np.testing.assert_allclose(output.numpy(), network(x).numpy(), rtol=1e-4, atol=1e-5)


def test_a_gpu_runs_what_no_schedule_was_found_for() -> None:
    from wmhub.measure.whole_network import whole_network, with_schedules
    from wmhub.tvm_compat import tvm, use_target

    network, image = residual()
    program = torch.export.export(network, (image,))
    gpu = use_target({"kind": "cuda", "arch": "sm_80"}, intrinsics=False)
    made = with_schedules(whole_network("net", program, gpu), [], gpu)
    assert (made.operators, made.scheduled) == (4, 0)
    functions = [f for _, f in made.module.functions.items() if isinstance(f, tvm.tirx.PrimFunc)]
    assert len(functions) == 4
    assert all("threadIdx.x" in function.script() for function in functions)


SYMBOLIC = """
# from tvm.script import ir as I
# from tvm.script import relax as R

@I.ir_module
class Module:
    @R.function
    def {0}(x: R.Tensor(("n", 16), "float32"), w: R.Tensor((16, 16), "float32")):
        with R.dataflow():
            a = R.matmul(x, w)
            R.output(a)
        return a
    @R.function
    def {1}(w: R.Tensor((16, 8), "float32")):
        with R.dataflow():
            a = R.nn.relu(w)
            R.output(a)
        return a
"""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("f", "main"), ("main", [["TENSOR", "float32", [16, 8]]])),
        # Of any size; and it is not clear which of two runs the network.
        (("main", "f"), None),
        (("f", "g"), None),
    ],
)
def test_the_arguments_of_the_function_that_runs_a_network(
    names: tuple[str, str], expected: object
) -> None:
    from wmhub.measure.whole_network import arguments_of, whole_network
    from wmhub.tvm_compat import tvm

    module = tvm.script.from_source(SYMBOLIC.format(*names))
    assert arguments_of(whole_network("net", module, target())) == expected


def test_what_cannot_be_lowered_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.measure.whole_network import whole_network
    from wmhub.tvm_compat import relax, tvm

    network, image = residual()
    program = torch.export.export(network, (image,))

    def refuse(*_: Any) -> Any:
        raise TypeError("first\nno such operator")

    refusing = tvm.transform.module_pass(refuse, opt_level=0)
    monkeypatch.setattr(relax.transform, "FuseOps", lambda: refusing)
    with pytest.raises(InvalidInputError, match=r"make tasks of this network: .*no such operator$"):
        whole_network("net", program, target())


def test_a_program_in_training_is_refused() -> None:
    from wmhub.measure.whole_network import whole_network

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).train()
    program = torch.export.export(network, (torch.randn(2, 3, 6, 6),))
    with pytest.raises(InvalidInputError, match=r"in training mode.*export model\.eval\(\)"):
        whole_network("net", program, target())


def test_a_whole_network_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    from wmhub.measure.network_timing import time_network
    from wmhub.measure.whole_network import arguments_of, compiled, whole_network, with_schedules

    network, image = residual()
    found = whole_network("net", torch.export.export(network, (image,)), target())
    library = tmp_path / "net.so"
    compiled(with_schedules(found, [], target()), target()).export_library(str(library))
    known = arguments_of(found)
    assert known == ("main", [["TENSOR", "float32", [1, 4, 12, 12]]])
    assert 0 < time_network(library, *known, "cpu", 2, 60.0) < 1
    with pytest.raises(MeasureError, match=r"killed after 0\.01 s"):
        time_network(library, *known, "cpu", 2, 0.01)
    library.write_bytes(b"")
    with pytest.raises(MeasureError, match=r"net\.so"):
        time_network(library, *known, "cpu", 2, 60.0)
