from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmhub.errors import CheckpointError, InvalidInputError, MissingDependencyError
from wmhub.evaluator import LatentSpace, Scores
from wmhub.names import HardwareKey
from wmhub.search.auto_scheduler import auto_scheduler_model

KEY = '["matmul", 64, 64, 64]'


class StepsEvaluator:
    """Prefers long innermost splits; remembers what it was asked."""

    latents = LatentSpace("wm-fake@1.0.0 (weights 0000)", 2, 0)
    name, hardware = "wm-fake", HardwareKey.parse("llvm-znver4-2c")

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def score_steps(self, workload_key: str, steps: Sequence[Sequence[Any]]) -> Scores:
        self.asked.append((workload_key, len(steps)))
        inner = np.asarray([s[0][4][-1] for s in steps], np.float32)
        other = np.asarray([s[0][4][0] for s in steps], np.float32)
        latent = np.stack([np.log2(inner), np.log2(other)], axis=1)
        doubt, leaves = np.full(len(steps), 0.5, np.float32), np.zeros((len(steps), 0), np.uint8)
        return Scores(np.log2(inner), doubt, latent, leaves)


class Value:
    """As TVM's FloatImm."""

    def __init__(self, value: float) -> None:
        self.value = value


class Task:
    workload_key = KEY

    def __init__(self, kind: str = "llvm") -> None:
        self.target = types.SimpleNamespace(kind=types.SimpleNamespace(name=kind))


class State:
    """Shows no fields, as the real one."""

    def __init__(self, inner: int, outer: int = 1, broken: bool = False) -> None:
        self._line = [["SP", 2, 0, 64, [outer, inner], 1], ["AN", 2, 5, 2]]
        self._broken = broken


class MeasureInput:
    def __init__(self, task: Task, state: State) -> None:
        self.task, self.state = task, state


class MeasureResult:
    def __init__(self, costs: Any, error_no: int, message: str, cost: float, stamp: float) -> None:
        self.costs, self.error_no = costs, error_no


def ran(*seconds: float) -> MeasureResult:
    return MeasureResult([Value(second) for second in seconds], 0, "", 0.1, 0.0)


def body(measured: MeasureInput) -> list[Any]:
    if measured.state._broken:
        raise RuntimeError("TVMError: cannot be expressed")
    return [[KEY, "llvm", [8, 64, 64, 0, 0, 0, 0, 0]], [[], measured.state._line]]


@pytest.fixture(params=["fast", "record"])
def tvm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The methods of a TVM of 0.8, with and without its fast serialisation."""
    names = ("", "auto_scheduler", "auto_scheduler.cost_model", "auto_scheduler._ffi_api",
             "auto_scheduler.cost_model.cost_model", "auto_scheduler.measure_record")  # fmt: skip
    modules = {name: types.ModuleType(f"tvm.{name}".rstrip(".")) for name in names}
    for name, module in modules.items():
        module.__path__ = []
        monkeypatch.setitem(sys.modules, f"tvm.{name}".rstrip("."), module)

    class PythonBasedModel:
        def __init__(self) -> None:
            self.ready = True

    class RecordReader:
        def __init__(self, file_name: str) -> None:
            self._lines = Path(file_name).read_text().split()

        def read_lines(self, max_lines: int | None = None) -> Any:
            inner = [int(line) for line in self._lines[:max_lines]]
            inputs = [MeasureInput(Task(), State(n)) for n in inner]
            return inputs, [ran(1e-3 * n) for n in inner]

    def dump(measured: MeasureInput, result: MeasureResult) -> str:
        return json.dumps({"i": body(measured), "r": [[0.0], 0, 0, 0], "v": "v0.6"})

    modules["auto_scheduler.cost_model.cost_model"].PythonBasedModel = PythonBasedModel  # type: ignore[attr-defined]
    modules["auto_scheduler.measure_record"].dump_record_to_string = dump  # type: ignore[attr-defined]
    if request.param == "fast":
        modules["auto_scheduler._ffi_api"].SerializeMeasureInput = (  # type: ignore[attr-defined]
            lambda measured: json.dumps(body(measured))
        )
    top = modules["auto_scheduler"]
    top.MeasureInput, top.MeasureResult = MeasureInput, MeasureResult  # type: ignore[attr-defined]
    top.RecordReader = RecordReader  # type: ignore[attr-defined]
    return top


@pytest.mark.usefixtures("tvm")
def test_scores_are_positive_and_in_the_models_order() -> None:
    evaluator = StepsEvaluator()
    model = auto_scheduler_model(evaluator)
    assert model.ready
    predicted = model.predict(Task(), [State(4), State(16), State(8)])
    assert isinstance(predicted, list)
    assert predicted[1] == pytest.approx(1.0)
    assert predicted[1] > predicted[2] > predicted[0] > 0
    assert evaluator.asked == [(KEY, 3)]
    # The same candidate scores the same in another call, as one heap compares both.
    assert model.predict(Task(), [State(4)]) == [pytest.approx(predicted[0])]


@pytest.mark.usefixtures("tvm")
def test_another_backend_is_warned_of_once() -> None:
    model = auto_scheduler_model(StepsEvaluator(), adapt=False)
    states = [State(4), State(8)]
    with pytest.warns(
        RuntimeWarning, match="wm-fake: trained on llvm-znver4-2c.* a target of cuda"
    ):
        model.predict(Task("cuda"), states)
    assert model.predict(Task("cuda"), states) == model.predict(Task("llvm"), states)


@pytest.mark.usefixtures("tvm")
def test_a_state_that_cannot_be_expressed_is_discarded() -> None:
    model = auto_scheduler_model(StepsEvaluator())
    predicted = model.predict(Task(), [State(4), State(8, broken=True)])
    assert predicted[0] > 0
    assert predicted[1] == -math.inf
    assert model.predict(Task(), []) == []
    # Ansor draws until one has a score: without any it would do so for ever.
    with pytest.raises(InvalidInputError, match="tells the steps of none of 2 candidates"):
        model.predict(Task(), [State(8, broken=True)] * 2)


@pytest.mark.usefixtures("tvm")
def test_a_model_that_says_nan_does_not_hang_the_search() -> None:
    class Broken(StepsEvaluator):
        def score_steps(self, workload_key: str, steps: Sequence[Sequence[Any]]) -> Scores:
            scores = super().score_steps(workload_key, steps)
            nothing = np.full(len(steps), np.nan, np.float32)
            return dataclasses.replace(scores, score=nothing)

    predicted = auto_scheduler_model(Broken()).predict(Task(), [State(4), State(8)])
    assert np.isfinite(predicted).all()
    assert max(predicted) > 0


@pytest.mark.usefixtures("tvm")
def test_update_learns_and_survives_failures(tmp_path: Path) -> None:
    # Measurements say the opposite of the model.
    sizes = [1, 2, 4, 8, 16, 32]
    inputs = [MeasureInput(Task(), State(size)) for size in sizes]
    results = [ran(1e-3 * size**3) for size in sizes]
    results[2] = MeasureResult([Value(1e10)], 4, "it broke", 0.1, 0.0)
    model = auto_scheduler_model(StepsEvaluator())
    model.update(inputs, results)
    predicted = model.predict(Task(), [State(1), State(32)])
    assert predicted[0] > predicted[1]
    model.save(str(tmp_path / "learned.npz"))
    again = auto_scheduler_model(StepsEvaluator())
    again.load(str(tmp_path / "learned.npz"))
    np.testing.assert_allclose(again.predict(Task(), [State(1), State(32)]), predicted, rtol=1e-4)
    frozen = auto_scheduler_model(StepsEvaluator(), adapt=False)
    frozen.update(inputs, results)
    assert frozen.predict(Task(), [State(1), State(32)])[1] == pytest.approx(1.0)
    other = StepsEvaluator()
    other.latents = LatentSpace("wm-fake@1.0.0 (weights 1111)", 2, 0)
    with pytest.raises(CheckpointError, match="wm-fake"):
        auto_scheduler_model(other).load(str(tmp_path / "learned.npz"))


@pytest.mark.usefixtures("tvm")
def test_a_log_can_be_learned_from(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_text("1\n4\n16\n32\n")
    evaluator = StepsEvaluator()
    auto_scheduler_model(evaluator).update_from_file(str(log), 3)
    assert evaluator.asked == [(KEY, 3)]


@pytest.mark.usefixtures("tvm")
def test_stages_have_no_scores_of_their_own() -> None:
    model = auto_scheduler_model(StepsEvaluator())
    states = [State(4), State(8)]
    flat = model.predict_stages(Task(), states)
    # TVM asks the answer for its shape, and a number of stages other than 0 must be its own.
    assert flat.shape == (4,)
    assert flat.tolist() == [*model.predict(Task(), states), 0.0, 0.0]


@pytest.mark.usefixtures("tvm")
def test_steps_that_are_no_schedule_cost_no_others_their_score() -> None:
    class Strict(StepsEvaluator):
        def score_steps(self, workload_key: str, steps: Sequence[Sequence[Any]]) -> Scores:
            if any(candidate[0][4][-1] == 7 for candidate in steps):
                raise InvalidInputError("7 does not divide")
            return super().score_steps(workload_key, steps)

    model = auto_scheduler_model(Strict())
    assert model.predict(Task(), [State(4), State(7), State(8)])[1] == -math.inf
    sizes = [1, 2, 4, 7, 8, 16, 32]
    model.update([MeasureInput(Task(), State(n)) for n in sizes], [ran(n**3) for n in sizes])
    learned = model.predict(Task(), [State(1), State(7), State(32)])
    assert learned[0] > learned[2] > learned[1]
    with pytest.raises(InvalidInputError, match="7 does not divide"):
        model.predict(Task(), [State(7)])


def test_without_such_a_tvm_the_error_names_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm.auto_scheduler", None)
    with pytest.raises(MissingDependencyError, match=r"0\.8 to 0\.19"):
        auto_scheduler_model(StepsEvaluator())
    none: dict[str, str | None] = {"apache-tvm": None, "apache-tvm-ffi": None}
    for is_here, says in ((True, "cannot import it (import of"), (False, "no TVM is installed")):
        monkeypatch.setattr("wmhub.search.auto_scheduler.tvm_versions", lambda: none)
        monkeypatch.setattr("wmhub.search.auto_scheduler.is_tvm_here", lambda here=is_here: here)
        with pytest.raises(MissingDependencyError, match=re.escape(says)):
            auto_scheduler_model(StepsEvaluator())


def test_importing_it_loads_no_tvm() -> None:
    code = "import sys, wmhub.search.auto_scheduler; assert 'tvm' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
