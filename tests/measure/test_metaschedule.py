from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure import zoo
from wmhub.measure.candidate import Measurement, Program
from wmhub.measure.engine import Engine
from wmhub.measure.lock import MachineLock
from wmhub.measure.timing import TimingPlan
from wmhub.records import FailureKind

sys.path.insert(0, str(Path(__file__).parent))
from misbehaving import program

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    from wmhub.tvm_compat import llvm_target

    lock = MachineLock(tmp_path_factory.mktemp("lock") / "lock")
    plan = TimingPlan(rounds=2, extra_rounds=0, round_seconds=0.0)
    with Engine(llvm_target(2), workers=1, plan=plan, lock=lock) as engine:
        yield engine


def tuned(engine: Engine, mod: Any, folder: Path, trials: int, batch: int) -> tuple[Any, Any]:
    """The builder and the records of plain ``tune_tir`` through ``engine``."""
    from wmhub.measure.metaschedule import builder_and_runner
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    builder, runner = builder_and_runner(engine)
    database = ms.tune_tir(
        mod,
        use_target(engine.target),
        str(folder),
        max_trials_global=trials,
        num_trials_per_iter=batch,
        builder=builder,
        runner=runner,
        cost_model="random",
        num_tuning_cores=1,
        seed=1,
    )
    return builder, database.get_all_tuning_records()


@pytest.mark.slow
def test_plain_tune_tir_measures_through_the_engine(engine: Engine, tmp_path: Path) -> None:
    builder, records = tuned(engine, zoo.build("matmul-m16-n16-k16"), tmp_path, 6, 3)
    assert len(records) >= 3
    assert all(0 < float(seconds) < 1 for record in records for seconds in record.run_secs)
    # TVM deleted the folders of the artifacts and nothing else.
    assert not [path for path in builder.handles if Path(path).exists()]


@pytest.mark.slow
def test_plain_tune_tir_of_several_tasks_measures_all_of_them(
    engine: Engine, tmp_path: Path
) -> None:
    from wmhub.tvm_compat import tvm

    names = ("matmul-m16-n16-k16", "matmul-m16-n16-k32")
    functions = {f"f{n}": zoo.build(name)["main"] for n, name in enumerate(names)}
    both = tvm.IRModule({n: f.with_attr("global_symbol", n) for n, f in functions.items()})
    # Its callbacks remove what was built for a task when all have been built for.
    builder, records = tuned(engine, both, tmp_path, 8, 2)
    assert len(records) == 8
    assert len({str(record.workload.mod.script()) for record in records}) == 2
    assert builder._folders
    assert not any(folder.exists() for folder in builder._folders)


def test_a_failure_is_told_as_metaschedule_tells_it(engine: Engine) -> None:
    from wmhub.measure.metaschedule import builder_and_runner
    from wmhub.measure.programs import load_program
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    builder, runner = builder_and_runner(engine)
    modules = [load_program(program(kind)) for kind in ("fine", "crash")]
    target = use_target(engine.target)
    built = builder.build([ms.builder.BuilderInput(module, target) for module in modules])
    assert [result.error_msg for result in built] == [None, None]

    def inputs(paths: list[str]) -> list[Any]:
        return [
            ms.runner.RunnerInput(path, "cpu", ms.arg_info.ArgInfo.from_entry_func(module))
            for path, module in zip(paths, modules, strict=True)
        ]

    paths = [str(result.artifact_path) for result in built]
    fine, crashed = (future.result() for future in runner.run(inputs(paths)))
    assert fine.error_msg is None
    assert float(fine.run_secs[0]) > 0
    assert crashed.run_secs is None
    assert "SIGABRT" in str(crashed.error_msg)
    again, still = (future.result() for future in runner.run(inputs(paths)))
    assert [float(s) for s in again.run_secs] != [float(s) for s in fine.run_secs]
    assert "SIGABRT" in str(still.error_msg)
    with pytest.raises(InvalidInputError, match="was not built by"):
        runner.run(inputs([str(Path(path).with_name("other")) for path in paths]))
    # Others may still want to remove them, so they stay until the end.
    assert all(Path(path).parent.exists() for path in paths)
    engine.closing.close()
    assert not [path for path in paths if Path(path).parent.exists()]


class FakeEngine:
    """Keeps count of what it builds; the n-th program runs for n seconds, the third never. Broken,
    it cannot build those of even number, nor run the others."""

    is_broken = False

    def __init__(self) -> None:
        self.closing = contextlib.ExitStack()
        self.programs: list[Program] = []
        self.linked: set[int] = set()
        self.timed: set[int] = set()
        self.asked = 0

    def build(self, programs: list[Program]) -> list[int]:
        before = len(self.programs)
        self.programs += programs
        new = list(range(before, len(self.programs)))
        self.linked.update(new)
        return new

    def outcome(self, id_: int) -> Measurement | None:
        is_unbuilt = self.is_broken and id_ % 2 == 0
        return self._ran(id_) if is_unbuilt or id_ in self.timed else None

    def require_sound(self) -> None:
        self.asked += 1
        if self.is_broken:
            raise MeasureError("not even a trivial program can be run")

    def run(self, ids: list[int]) -> list[Measurement]:
        self.timed.update(ids)
        return [self._ran(id_) for id_ in ids]

    def _ran(self, id_: int) -> Measurement:
        if id_ == 2 or self.is_broken:
            return Measurement((), FailureKind.CRASH, "", 0.0, 0.0)
        return Measurement((1.0 + id_,), None, "", 0.0, 0.0)

    def forget_timings(self, ids: list[int]) -> None:
        self.timed.difference_update(ids)

    def release(self, ids: list[int]) -> None:
        self.linked.difference_update(ids)


def measuring(engine: FakeEngine) -> Callable[[str, list[int]], list[float | None]]:
    """What measures some of ten programs for a task, as TVM does, and gives their seconds."""
    from wmhub.measure.metaschedule import builder_and_runner, name_task
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    builder, runner = builder_and_runner(engine)
    target = use_target({"kind": "llvm", "num-cores": 1})
    modules = [zoo.build(f"matmul-m{m}-n16-k16") for m in range(2, 12)]

    def measured(task: str, numbers: list[int]) -> list[float | None]:
        name_task(builder, task)
        mods = [modules[number] for number in numbers]
        built = builder.build([ms.builder.BuilderInput(mod, target) for mod in mods])
        paths = [result.artifact_path for result in built]
        assert len(set(paths) - {None}) == len(paths) - paths.count(None)
        inputs = [
            ms.runner.RunnerInput(path, "cpu", ms.arg_info.ArgInfo.from_entry_func(mod))
            for path, mod in zip(paths, mods, strict=True)
            if path is not None
        ]
        results = [future.result() for future in runner.run(inputs)]
        if results:
            runner.run(inputs)  # As a search does at its end.
        return [None if r.run_secs is None else float(r.run_secs[0]) for r in results]

    return measured


def test_a_candidate_is_compared_with_its_own_task_alone() -> None:
    from wmhub.measure.metaschedule import EngineBuilder, name_task
    from wmhub.measure.programs import load_program
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    engine = FakeEngine()
    builder = EngineBuilder(engine)
    module = load_program(program("fine"))
    item = ms.builder.BuilderInput(module, use_target({"kind": "llvm", "num-cores": 1}))
    for task in ("softmax", "relu", "softmax"):
        name_task(builder, task)
        builder.build([item])
    groups = [program.group for program in engine.programs]
    assert groups[0] == groups[2] != groups[1]
    # Another builder need not know.
    name_task(object(), "softmax")


def test_without_a_task_candidates_of_other_arguments_are_compared_with_nothing() -> None:
    from wmhub.measure.metaschedule import EngineBuilder
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    engine = FakeEngine()
    target = use_target({"kind": "llvm", "num-cores": 1})
    modules = [zoo.build(f"matmul-m{m}-n16-k16") for m in (2, 3, 2)]
    EngineBuilder(engine).build([ms.builder.BuilderInput(mod, target) for mod in modules])
    groups = [program.group for program in engine.programs]
    assert groups[0] == groups[2] != groups[1]


def test_the_fastest_of_a_task_stay_linked_whatever_their_arguments() -> None:
    engine = FakeEngine()
    measured = measuring(engine)
    assert measured("relu", [0, 1, 2, 3]) == [1, 2, None, 4]
    assert measured("relu", [4, 5, 6]) == [5, 6, 7]
    assert measured("gelu", [7]) == [8]
    # The failed one and those behind the fourth are gone; of another task nothing counts.
    assert engine.linked == {0, 1, 3, 4, 7}
    assert measured("relu", [4, 8, 0, 0]) == [5, 9, 1, 10]
    assert len(engine.programs) == 10  # Two of four: the eighth, and the first's double.
    assert measured("gelu", [0]) == [11]
    assert engine.linked == {0, 1, 3, 4, 7, 10}


def test_a_machine_that_is_broken_is_not_taken_for_candidates_that_fail() -> None:
    from wmhub.tvm_callbacks import own_errors

    engine = FakeEngine()
    measured = measuring(engine)
    assert measured("relu", [0, 1, 2, 3]) == [1, 2, None, 4]
    assert engine.asked == 0
    engine.is_broken = True
    # Two builds of three fail, and the third does not run; one that does not run; none is built.
    for numbers in ([4, 5, 6], [7], [8]):
        with pytest.raises(MeasureError, match="not even a trivial program"), own_errors():
            measured("relu", numbers)
    assert engine.asked == 3


def test_of_a_sound_machine_each_batch_that_failed_is_asked_about_once() -> None:
    engine = FakeEngine()
    measured = measuring(engine)
    measured("relu", [0, 1])
    assert measured("relu", [2]) == [None]
    assert engine.asked == 1
