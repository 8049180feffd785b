"""A tuned network is a library that anyone can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuning import tune

pytest.importorskip("tvm")
torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("this_machine")]


def perceptron() -> tuple[Any, Any, Any]:
    """A network, what it is for, and it as TVM takes it."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(24, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8), torch.nn.Softmax(-1)
    network, x = torch.nn.Sequential(*layers).eval(), torch.randn(4, 24)
    return network, x, torch.export.export(network, (x,))


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("trials", [0, 9])
def test_a_network_becomes_one_library_with_all_schedules(tmp_path: Path, trials: int) -> None:
    from wmhub.tvm_compat import relax, tvm

    network, x, program = perceptron()
    result = tune(tmp_path / "out", workload=program, trials=trials)
    (found,) = result.networks
    assert (found.name, found.operators, found.scheduled) == ("main", 3, 3)
    assert found.library == tmp_path / "out" / "main.so"
    assert (found.latency_s is None) == (not trials)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["networks"][0]["latency_s"] == found.latency_s
    assert not result.notes
    library = tvm.runtime.load_module(str(found.library))
    machine = relax.VirtualMachine(library, tvm.runtime.device("cpu", 0))
    (output,) = machine["main"](tvm.runtime.tensor(x.numpy()))
    with torch.no_grad():
        np.testing.assert_allclose(output.numpy(), network(x).numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("warm")
def test_what_is_missing_of_a_network_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.errors import MeasureError
    from wmhub.search import networks, outcome

    best = outcome._best
    left: list[str] = []

    def without_first(job: Any, task: Any, *rest: Any) -> Any:
        left.append(task.name)
        return (None, None, None) if len(left) == 1 else best(job, task, *rest)

    def hangs(*_: Any) -> float:
        raise MeasureError("killed after 120 s")

    monkeypatch.setattr(outcome, "_best", without_first)
    monkeypatch.setattr(networks, "time_network", hangs)
    result = tune(tmp_path / "out", workload=perceptron()[2], trials=6)
    (found,) = result.networks
    assert (found.operators, found.scheduled, found.latency_s) == (3, 2, None)
    assert "1 of 3 operators of the network have no schedule" in result.notes[0]
    assert "the whole network is not timed: killed after 120 s" in result.notes[1]


@pytest.mark.usefixtures("warm")
def test_a_network_that_cannot_be_compiled_costs_its_tasks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import networks

    def refuse(*_: Any) -> Any:
        raise RuntimeError("Traceback\nno memory for it")

    monkeypatch.setattr(networks, "compiled", refuse)
    result = tune(tmp_path / "out", workload=perceptron()[2], trials=3)
    (found,) = result.networks
    assert found.library is None
    assert result.notes[-1] == "main: no library of the whole network: no memory for it"
    assert all(task.library is not None for task in result.tasks)
