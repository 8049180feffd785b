"""A tuned network is a library that anyone can run."""

from __future__ import annotations

import json
from contextlib import nullcontext
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
    network, x = torch.nn.Sequential(*layers).eval(), torch.randn(16, 24)
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
    # What is tuned of it has a schedule to read, and no library beside that of the whole.
    assert len(list((tmp_path / "out").glob("*.so"))) == 1
    assert all(task.schedule.exists() for task in result.tasks)
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
    assert "for 1 of 3 operators of the network no schedule was found" in result.notes[0]
    assert "the whole network is not timed: killed after 120 s" in result.notes[1]


@pytest.mark.usefixtures("warm")
def test_what_was_measured_is_written_before_a_network_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import networks

    def ends(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(networks, "with_schedules", ends)
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "out", workload=perceptron()[2], trials=3)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["trials"], report["networks"]) == (3, [])
    assert (tmp_path / "out" / "learned.npz").exists()
    monkeypatch.undo()


@pytest.mark.usefixtures("warm")
def test_of_several_networks_each_has_a_library(tmp_path: Path) -> None:
    source = tmp_path / "two.py"
    source.write_text(
        "import torch\n"
        "x = torch.randn(16, 24)\n"
        "first, second = (torch.export.export(torch.nn.Linear(24, n), (x,)) for n in (8, 16))\n"
    )
    result = tune(tmp_path / "out", workload=source, trials=4)
    assert [(one.name, one.operators, one.scheduled) for one in result.networks] == [
        ("first", 1, 1), ("second", 1, 1),
    ]  # fmt: skip
    assert all(one.library is not None and one.library.exists() for one in result.networks)
    # It goes on, with libraries that replace those.
    again = tune(tmp_path / "out", database=tmp_path / "out", workload=source, trials=2)
    assert [one.scheduled for one in again.networks] == [1, 1]


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
    assert all(task.schedule is not None for task in result.tasks)


@pytest.mark.usefixtures("warm")
def test_what_cannot_be_compiled_with_all_schedules_is_compiled_with_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import networks

    tried: list[int] = []
    with_schedules = networks.with_schedules

    def picky(network: Any, schedules: Any, target: Any) -> Any:
        tried.append(len(schedules))
        if len(schedules) > 1:
            raise RuntimeError("LLVM is at its end")
        return with_schedules(network, schedules, target)

    # Of three operators one is measured, so that the others have what the model thinks best.
    monkeypatch.setattr(networks, "with_schedules", picky)
    result = tune(tmp_path / "out", workload=perceptron()[2], trials=1)
    (found,) = result.networks
    assert tried == [3, 1]
    assert found.library is not None
    assert found.scheduled == 1
    assert (
        "main: 2 schedules are left out of the library of the whole network, which could not be "
        "compiled with them: LLVM is at its end"
    ) in result.notes


def test_what_only_failed_is_in_no_library(
    tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.tvm_callbacks import derived_object
    from wmhub.tvm_compat import meta_schedule as ms

    def crashes(self: Any, runner_inputs: Any) -> list[Any]:
        crash = ms.runner.RunnerResult(None, "it crashed")
        return [ms.runner.RunnerFuture(lambda: True, lambda: crash) for _ in runner_inputs]

    fails = derived_object(type("Fails", (ms.runner.PyRunner,), {"run": crashes}))()
    means = engine._replace(runner=fails)
    monkeypatch.setattr("wmhub.search.tune.measuring", lambda *_: nullcontext(means))
    result = tune(tmp_path / "out", workload=perceptron()[2], trials=3)
    (found,) = result.networks
    # What the model thinks best of the rest would be a guess, for which nobody has to pay.
    assert all(task.failed and task.schedule is not None for task in result.tasks)
    assert (found.operators, found.scheduled) == (3, 0)
    assert found.library is not None


@pytest.mark.usefixtures("warm")
def test_no_library_is_left_of_an_earlier_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import networks

    out = tmp_path / "out"
    program = perceptron()[2]
    tune(out, workload=program, trials=3)
    assert (out / "main.so").exists()

    def refuse(*_: Any) -> Any:
        raise RuntimeError("no memory for it")

    monkeypatch.setattr(networks, "compiled", refuse)
    tune(out, database=out, workload=program, trials=1)
    assert not list(out.glob("*.so"))
    assert not list(out.glob(".*"))
