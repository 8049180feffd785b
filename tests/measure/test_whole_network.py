"""A network's operators are what is tuned, and its library computes what it computed before."""

from __future__ import annotations

import copy
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


def test_a_network_with_schedules_computes_the_same(tmp_path: Path) -> None:
    from wmhub.measure.rules import space_generator
    from wmhub.measure.whole_network import compiled, extracted, whole_network
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import tvm

    network, image = residual()
    found = whole_network("net", torch.export.export(network, (image,)), target())
    operators = extracted(found, target())
    schedules = []
    for operator in operators[:-1]:
        context = ms.TuneContext(
            operator.mod, target=target(), space_generator=space_generator(target()),
            task_name=operator.name, rand_state=1, num_threads=1,
        )  # fmt: skip
        schedules.append((operator.mod, context.generate_design_space()[0]))
    made = compiled(found, schedules, target())
    assert (made.operators, made.scheduled) == (4, 3)
    made.executable.export_library(str(tmp_path / "net.so"))
    with torch.no_grad():
        expected = copy.deepcopy(network)(image).numpy()
    library = tvm.runtime.load_module(str(tmp_path / "net.so"))
    np.testing.assert_allclose(output_of(library, image), expected, rtol=1e-4, atol=1e-5)


def test_a_gpu_runs_what_no_schedule_was_found_for() -> None:
    from wmhub.measure.whole_network import whole_network, with_schedules
    from wmhub.tvm_compat import tvm, use_target

    network, image = residual()
    program = torch.export.export(network, (image,))
    gpu = use_target({"kind": "cuda", "arch": "sm_80"}, intrinsics=False)
    module, operators, scheduled = with_schedules(whole_network("net", program, gpu), [], gpu)
    assert (operators, scheduled) == (4, 0)
    functions = [f for _, f in module.functions.items() if isinstance(f, tvm.tirx.PrimFunc)]
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


def test_a_whole_network_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    from wmhub.measure.network_timing import time_network
    from wmhub.measure.whole_network import arguments_of, compiled, whole_network

    network, image = residual()
    found = whole_network("net", torch.export.export(network, (image,)), target())
    library = tmp_path / "net.so"
    compiled(found, [], target()).executable.export_library(str(library))
    known = arguments_of(found)
    assert known == ("main", [["TENSOR", "float32", [1, 4, 12, 12]]])
    assert 0 < time_network(library, *known, "cpu", 2, 60.0) < 1
    with pytest.raises(MeasureError, match=r"killed after 0\.01 s"):
        time_network(library, *known, "cpu", 2, 0.01)
    library.write_bytes(b"")
    with pytest.raises(MeasureError, match=r"net\.so"):
        time_network(library, *known, "cpu", 2, 60.0)
