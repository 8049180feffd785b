from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scorers import FakeEvaluator, make_context, workload

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.search.evolve import Evolution
from wmhub.search.learner import Learner

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm
SMALL = Evolution(population=64, generations=3)


def tune(mods: list[Any], work_dir: Path, evaluator: FakeEvaluator, **options: Any) -> Any:
    from tvm.s_tir.meta_schedule.testing.dummy_object import DummyBuilder

    from wmhub.measure.sources import NamedWorkload
    from wmhub.search.contexts import make_contexts
    from wmhub.search.latent import LatentSearch
    from wmhub.search.latent_config import LatentSearchConfig
    from wmhub.tvm_compat import llvm_target, use_target
    from wmhub.tvm_compat import meta_schedule as ms

    contexts = make_contexts(
        [NamedWorkload(f"task{number}", mod) for number, mod in enumerate(mods)],
        use_target(llvm_target(cores=options.pop("cores", 2))),
        LatentSearch(Learner(evaluator), LatentSearchConfig(evolution=SMALL, later=SMALL)),
        cores=1,
        seed=3,
        log=work_dir / "log.txt",
    )
    return ms.tune.tune_tasks(
        tasks=contexts,
        task_weights=[1.0] * len(mods),
        work_dir=str(work_dir),
        num_trials_per_iter=4,
        builder=DummyBuilder(),
        runner=flaky_runner(),
        cost_model="none",
        measure_callbacks=[ms.measure_callback.AddToDatabase()],
        **options,
    )


def flaky_runner() -> Any:
    """Every third run fails."""
    from wmhub.tvm_compat import derived_object
    from wmhub.tvm_compat import meta_schedule as ms

    @derived_object
    class Future(ms.runner.PyRunnerFuture):  # type: ignore[misc]
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            if self.number % 3 == 0:
                return ms.runner.RunnerResult(None, "it broke")
            return ms.runner.RunnerResult([1e-3 / self.number], None)

    @derived_object
    class Flaky(ms.runner.PyRunner):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.runs = 0

        def run(self, runner_inputs: Any) -> list[Any]:
            self.runs += len(runner_inputs)
            return [Future(self.runs - i) for i in range(len(runner_inputs))]

    return Flaky()


def test_it_serves_the_task_scheduler_over_two_tasks(tmp_path: Path) -> None:
    evaluator = FakeEvaluator()
    mods = [workload(), workload("GMM", 0)]
    database = tune(mods, tmp_path, evaluator, max_trials_global=16)
    records = database.get_all_tuning_records()
    assert len(records) == 16
    assert len(evaluator.scorers) == 2
    assert len({str(record.trace) for record in records}) == 16


def test_a_task_that_cannot_be_searched_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import latent

    def hopeless(context: Any, *rest: Any) -> Any:
        if str(context.task_name) == "task0":
            raise MeasureError("it has no design space")
        return real(context, *rest)

    real = latent.task_search
    monkeypatch.setattr(latent, "task_search", hopeless)
    mods = [workload(), workload("GMM", 0)]
    with pytest.warns(RuntimeWarning, match="task0 is not measured: it has no design space"):
        database = tune(mods, tmp_path, FakeEvaluator(), max_trials_global=8)
    counts = [len(latent.measured_before(database, make_context(mod))) for mod in mods]
    assert counts == [0, 8]


def test_a_task_whose_candidates_cannot_be_read_ends_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search.task_search import TaskSearch

    def unread(self: Any, count: int) -> Any:
        raise InvalidInputError("a block of 4,096 reads is more than can be followed")

    monkeypatch.setattr(TaskSearch, "batch", unread)
    with pytest.warns(RuntimeWarning, match="task0 is not searched any further: a block of 4,096"):
        database = tune([workload("GMM", 0)], tmp_path, FakeEvaluator(), max_trials_global=8)
    assert len(database.get_all_tuning_records()) == 0


def test_the_fastest_of_a_database_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import latent
    from wmhub.search.latent import fastest_measured

    mod = workload("GMM", 0)
    database = tune([mod], tmp_path, FakeEvaluator(), max_trials_global=16)
    fastest = fastest_measured(database, make_context(mod), 4)
    # Of the sixteen runs every third failed, and each was faster than the one before.
    assert [seconds for seconds, _ in fastest] == [1e-3 / run for run in (16, 14, 13, 11)]
    assert len(fastest_measured(database, make_context(mod), 100)) == 11
    assert fastest_measured(database, make_context(workload()), 4) == []
    # What is there twice is one, and what this TVM cannot replay makes room for the next.
    for record in list(database.get_all_tuning_records()):
        database.commit_tuning_record(record)
    assert len(fastest_measured(database, make_context(mod), 100)) == 11
    replayed: list[Any] = []

    def every_second(record: Any) -> Any:
        replayed.append(record)
        if len(replayed) % 2:
            raise RuntimeError("no such intrinsic")
        return real(record)

    real = latent.replayed
    monkeypatch.setattr(latent, "replayed", every_second)
    fastest = fastest_measured(database, make_context(mod), 2)
    assert [seconds for seconds, _ in fastest] == [1e-3 / run for run in (14, 11)]


def test_a_database_is_gone_on_from(tmp_path: Path) -> None:
    mod = workload("GMM", 0)
    tune([mod], tmp_path, FakeEvaluator(), max_trials_global=8)
    database = tune([mod], tmp_path, FakeEvaluator(), max_trials_global=8)
    traces = [str(record.trace) for record in database.get_all_tuning_records()]
    assert len(traces) == len(set(traces)) == 16


def test_records_of_another_target_are_not_taken_up(tmp_path: Path) -> None:
    from wmhub.search.latent import measured_before
    from wmhub.tvm_compat import meta_schedule as ms

    mod = workload("GMM", 0)
    tune([mod], tmp_path, FakeEvaluator(), max_trials_global=4, cores=3)
    database = ms.database.JSONDatabase(work_dir=str(tmp_path))
    assert len(measured_before(database, make_context(mod, cores=3))) == 4
    assert measured_before(database, make_context(mod, cores=2)) == []


def test_the_luckiest_measurement_does_not_win() -> None:
    from wmhub.search.measuring import Means
    from wmhub.search.run import _playoff
    from wmhub.tvm_compat import derived_object, llvm_target, use_target
    from wmhub.tvm_compat import meta_schedule as ms

    seconds = iter([3e-3, 2e-3, 3.1e-3, 2.1e-3, 0.5e-3, 1.9e-3])

    @derived_object
    class Once(ms.runner.PyRunner):  # type: ignore[misc]
        def run(self, runner_inputs: Any) -> list[Any]:
            results = [ms.runner.RunnerResult([next(seconds)], None) for _ in runner_inputs]
            return [
                ms.runner.RunnerFuture(lambda: True, lambda result=result: result)
                for result in results
            ]

    @derived_object
    class Built(ms.builder.PyBuilder):  # type: ignore[misc]
        def build(self, build_inputs: Any) -> list[Any]:
            return [ms.builder.BuilderResult("/no/such/folder/x", None) for _ in build_inputs]

    context = make_context(workload("GMM", 0))
    lucky, steady = (space for space in context.generate_design_space()[:2])
    means = Means(Built(), Once(), lambda: None)
    target = use_target(llvm_target(cores=2))
    again = _playoff([(1e-3, lucky), (1.5e-3, steady)], target, means)
    assert [time for time, _ in again] == [2e-3, 3e-3]
    assert again[0][1].same_as(steady)


def test_only_a_builders_own_folder_is_removed(tmp_path: Path, monkeypatch: Any) -> None:
    from wmhub.search.measuring import discard

    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "tmp1").mkdir()
    (tmp_path / "tmp1" / "built.tar").touch()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep")
    discard([str(tmp_path / "tmp1" / "built.tar"), str(tmp_path / "deep" / "er" / "x"), "x", None])
    assert not (tmp_path / "tmp1").exists()
    assert (tmp_path / "deep" / "er").is_dir()
    discard([str(tmp_path / "x")])
    assert tmp_path.is_dir()
