from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wmhub.measure import zoo
from wmhub.measure.engine import Engine
from wmhub.measure.lock import MachineLock
from wmhub.measure.timing import TimingPlan

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


@pytest.mark.slow
def test_plain_tune_tir_measures_through_the_engine(engine: Engine, tmp_path: Path) -> None:
    from wmhub.measure.metaschedule import builder_and_runner
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    builder, runner = builder_and_runner(engine)
    database = ms.tune_tir(
        zoo.build("matmul-m16-n16-k16"),
        use_target(engine.target),
        str(tmp_path),
        max_trials_global=6,
        num_trials_per_iter=3,
        builder=builder,
        runner=runner,
        cost_model="random",
        num_tuning_cores=1,
        seed=1,
    )
    records = database.get_all_tuning_records()
    assert len(records) >= 3
    assert all(0 < float(seconds) < 1 for record in records for seconds in record.run_secs)
    # TVM deleted the folders of the artifacts and nothing else.
    assert not [path for path in builder.handles if Path(path).exists()]


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
    with pytest.raises(RuntimeError, match="was not built by"):
        # TVM turns every error of a runner into a RuntimeError.
        runner.run(inputs([str(Path(path).with_name("other")) for path in paths]))
    builder.build([])
    assert not [path for path in paths if Path(path).parent.exists()]


def test_a_candidate_is_compared_with_its_own_task_alone() -> None:
    from types import SimpleNamespace

    from wmhub.measure.metaschedule import EngineBuilder, name_task
    from wmhub.measure.programs import load_program
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import use_target

    groups: list[str] = []
    engine = SimpleNamespace(
        release=lambda _: None,
        build=lambda programs: groups.extend(program.group for program in programs) or [],
    )
    builder = EngineBuilder(engine)
    module = load_program(program("fine"))
    item = ms.builder.BuilderInput(module, use_target({"kind": "llvm", "num-cores": 1}))
    for task in ("softmax", "relu", "softmax"):
        name_task(builder, task)
        builder.build([item])
    assert groups[0] == groups[2] != groups[1]
    # Another builder need not know.
    name_task(object(), "softmax")
