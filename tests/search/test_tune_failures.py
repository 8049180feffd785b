"""`tune` where something goes wrong: what was measured is kept, and what was lost is told."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tuning import WORKLOAD, tune

from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    MeasureError,
    OutputExistsError,
)

pytest.importorskip("tvm")
pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("this_machine")]


@pytest.mark.usefixtures("warm")
def test_a_mistake_leaves_the_output_free_for_the_next_try(tmp_path: Path) -> None:
    tune(tmp_path / "first", trials=3)
    with pytest.raises(InvalidInputError):
        tune(tmp_path / "second", database=tmp_path / "first", workload=7)
    assert not (tmp_path / "second").exists()


class _Fails:
    """A runner on which no program runs."""

    def run(self, runner_inputs: Any) -> Any:
        from wmhub.tvm_compat import meta_schedule as ms

        result = ms.runner.RunnerResult(None, "the board is on fire")
        return [ms.runner.LocalRunnerFuture(res=None, error_message=result.error_msg)
                for _ in runner_inputs]  # fmt: skip


def test_where_every_candidate_fails_the_result_says_why(
    tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.tvm_callbacks import derived_object
    from wmhub.tvm_compat import meta_schedule as ms

    fails = derived_object(type("Fails", (ms.runner.PyRunner,), {"run": _Fails.run}))()
    means = engine._replace(runner=fails)
    monkeypatch.setattr("wmhub.search.tune.measuring", lambda *_: nullcontext(means))
    result = tune(tmp_path / "out", trials=4, batch=4)
    assert (result.trials, result.failed) == (4, 4)
    assert "all 4 candidates failed" in result.notes[0]
    assert "the board is on fire" in result.notes[0]
    # What the model thinks best is none of those.
    database = ms.database.JSONDatabase(work_dir=str(tmp_path / "out"))
    (task,) = result.tasks
    assert task.best_latency_s is None
    assert task.predicted_speedup is not None
    written = task.schedule.read_text()
    for record in database.get_all_tuning_records():
        assert record.as_measure_candidate().sch.mod.script() != written


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [MeasureError("the lock is held"), KeyboardInterrupt(), FULL])
def test_an_error_in_a_callback_is_what_it_was(
    tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from wmhub.search.job import Job
    from wmhub.tvm_callbacks import derived_object
    from wmhub.tvm_compat import meta_schedule as ms

    def build(self: Any, build_inputs: Any) -> Any:
        raise error

    raises = derived_object(type("Raises", (ms.builder.PyBuilder,), {"build": build}))()
    means = engine._replace(builder=raises)
    monkeypatch.setattr("wmhub.search.tune.measuring", lambda *_: nullcontext(means))
    # No task is to blame for it.
    monkeypatch.setattr(Job, "unfit", lambda self: pytest.fail("its tasks are tried"))
    for number, workload in enumerate((WORKLOAD, two_tasks())):
        with pytest.raises(type(error), match=f"^{re.escape(str(error))}"):
            tune(tmp_path / f"out{number}", workload=workload, trials=4, batch=4)


def interrupt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a callback of ours, from within TVM, be interrupted the next time and no more."""
    from wmhub.measure.rules import Product

    def of(*_: object) -> None:
        monkeypatch.setattr(Product, "of", real)
        raise KeyboardInterrupt

    real = Product.of
    monkeypatch.setattr(Product, "of", of)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("options", [{"trials": 0}, {"trials": 3, "baselines": True}])
def test_an_interruption_of_tvm_is_no_candidate_that_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    interrupt_once(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "out", workload=two_tasks(), **options)


@pytest.mark.usefixtures("warm")
def test_an_interruption_of_the_last_measuring_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.measure.sources import NamedWorkload
    from wmhub.search.contexts import make_contexts

    def playoff(finalists: Any, target: Any, means: Any) -> None:
        interrupt_once(monkeypatch)
        (schedule, *_) = (schedule for _, schedule in finalists)
        (context,) = make_contexts(
            [NamedWorkload("again", schedule.mod)], target, None, cores=1, seed=0, log=None
        )
        context.generate_design_space()

    monkeypatch.setattr("wmhub.search.run._playoff", playoff)
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "out", trials=3)


def test_ctrl_c_ends_what_measures_nothing_after_the_task_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search.task_search import TaskSearch

    def best(self: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    real = TaskSearch.best
    monkeypatch.setattr(TaskSearch, "best", best)
    result = tune(tmp_path / "out", workload=two_tasks(), trials=0)
    assert result.interrupted
    assert [task.schedule is None for task in result.tasks] == [False, True]
    assert (tmp_path / "out" / "report.json").is_file()


@pytest.mark.usefixtures("warm")
def test_a_task_without_a_schedule_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import outcome as module

    def hopeless(*_: object) -> None:
        raise MeasureError("none of the 64 best candidates is a valid schedule here")

    monkeypatch.setattr(module, "_best", hopeless)
    result = tune(tmp_path / "out", trials=3)
    assert result.tasks[0].schedule is None
    assert "no schedule: none of the 64" in result.notes[0]
    assert (tmp_path / "out" / "report.json").is_file()
    with pytest.raises(MeasureError, match="none of the 64"):
        tune(tmp_path / "other", trials=0)


def two_tasks() -> Any:
    """A module whose two functions are a task each."""
    from wmhub.measure import zoo
    from wmhub.tvm_compat import tvm

    names = ("matmul-m8-n8-k8", "matmul-m8-n8-k16")
    return tvm.IRModule({f"f{n}": zoo.build(name)["main"] for n, name in enumerate(names)})


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("trials", [0, 6])
def test_a_task_that_cannot_be_searched_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: int
) -> None:
    from wmhub.search import job, latent

    for module in (job, latent):
        real = module.task_search

        def hopeless(context: Any, *rest: Any, real: Any = real) -> Any:
            if str(context.task_name) == "f1":
                raise MeasureError("TVM found no design space for its target")
            return real(context, *rest)

        monkeypatch.setattr(module, "task_search", hopeless)
    result = tune(tmp_path / "out", workload=two_tasks(), trials=trials)
    assert [task.schedule is None for task in result.tasks] == [False, True]
    assert {trial.task for trial in result.history} == ({"f0"} if trials else set())
    told = "\n".join(result.notes)
    assert "f1: no schedule: TVM found no design space" in told
    assert ("f1 is not measured: TVM found no design space" in told) == bool(trials)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("search", ["latent", "evolutionary"])
def test_a_task_that_the_model_cannot_read_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    from wmhub.search import cost_model
    from wmhub.search.task_search import TaskSearch
    from wmhub.tvm_compat import meta_schedule as ms

    def unread(self: Any, candidates: Any) -> Any:
        if any("16" in str(sketch._mod) for sketch in self._sketches):
            raise InvalidInputError("a block of 4,096 reads is more than can be followed")
        return real(self, candidates)

    def unread_too(scorer: Any, traces: Any) -> Any:
        raise InvalidInputError("a block of 4,096 reads is more than can be followed")

    real = TaskSearch.scores
    if search == "latent":
        monkeypatch.setattr(TaskSearch, "scores", unread)
        result = tune(tmp_path / "out", workload=two_tasks(), trials=6)
        assert {trial.task for trial in result.history} == {"f0"}
        told = "\n".join(result.notes)
        assert "f1 is not searched any further: a block of 4,096 reads" in told
        assert "f1: no schedule: a block of 4,096 reads" in told
        assert (tmp_path / "out" / "report.json").is_file()
        return
    small = partial(
        ms.search_strategy.EvolutionarySearch,
        population_size=16,
        init_min_unmeasured=8,
        genetic_num_iters=1,
    )
    monkeypatch.setattr(ms.search_strategy, "EvolutionarySearch", small)
    monkeypatch.setattr(cost_model, "score_traces", unread_too)
    with pytest.warns(RuntimeWarning, match="not read, and so not ranked: a block of 4,096"):
        result = tune(tmp_path / "out", workload=two_tasks(), trials=6, search=search)
    assert {trial.task for trial in result.history} == {"f0", "f1"}


@pytest.mark.usefixtures("warm")
def test_with_few_trials_no_task_goes_without(tmp_path: Path) -> None:
    result = tune(tmp_path / "out", workload=two_tasks(), trials=3, batch=16)
    # Who gets the third is a matter of their gradients.
    assert [trial.task for trial in result.history[:2]] == ["f0", "f1"]
    assert len(result.history) == 3
    assert result.workload == "a module of 2 tasks"
    fewer = tune(tmp_path / "fewer", workload=two_tasks(), trials=1)
    assert [trial.task for trial in fewer.history] == ["f0"]
    assert "1 trials for 2 tasks: some go without any" in fewer.notes


@pytest.mark.usefixtures("warm")
def test_records_of_another_target_are_not_given_to_tvms_search(tmp_path: Path) -> None:
    tune(tmp_path / "known", trials=3)
    records = tmp_path / "known" / "database_tuning_record.json"
    records.write_text(records.read_text().replace('"num-cores": 2', '"num-cores": 4'))
    records.write_text(records.read_text().replace('"num-cores":2', '"num-cores":4'))
    with pytest.raises(InvalidInputError, match="3 of its records are of another target, and"):
        tune(tmp_path / "out", database=tmp_path / "known", trials=3, search="evolutionary")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("warm")
def test_each_batch_is_recorded_before_the_next_begins(tmp_path: Path) -> None:
    from wmhub.search.output import records_in

    recorded: list[tuple[int, int]] = []

    def look(progress: Any) -> None:
        recorded.append((len(progress.history), records_in(tmp_path / "out")))

    tune(tmp_path / "out", workload=two_tasks(), trials=6, batch=3, on_progress=look)
    assert recorded == [(3, 3), (6, 6)]
    elapsed = [trial.elapsed_s for trial in tune(tmp_path / "more", workload=two_tasks()).history]
    assert elapsed[0] < elapsed[3]


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    from wmhub.holding import held

    with held(tmp_path / "out"), pytest.raises(OutputExistsError, match="another process"):
        tune(tmp_path / "out", trials=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("warm")
def test_what_a_full_disk_leaves_is_said_and_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import output as files

    def cut(output: Path) -> int:
        path = output / files.DATABASE[1]
        path.write_bytes(path.read_bytes()[:-40])
        return 4

    with monkeypatch.context() as patch:
        patch.setattr(files, "records_in", cut)
        result = tune(tmp_path / "out")
    assert result.best_latency_s is not None
    assert (tmp_path / "out/report.json").is_file()
    told = "\n".join(result.notes)
    assert "2 of 6 trials are not in" in told
    more = tune(tmp_path / "out", database=tmp_path / "out", trials=3)
    assert len(more.history) == 3
    assert files.records_in(tmp_path / "out") == 5 + 3


@pytest.mark.usefixtures("warm")
def test_a_full_disk_costs_what_was_learned_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("wmhub.search.output.write_file", full)
        result = tune(tmp_path / "fuller", trials=3)
    assert result.best_latency_s is not None
    for name in ("its schedule is not written", "report.json could not be written"):
        assert f"{name}: No space left on device" in "\n".join(result.notes)
    monkeypatch.setattr("wmhub.search.learner.write_file", full)
    result = tune(tmp_path / "out", trials=3)
    assert result.notes[-1] == "learned.npz could not be written: No space left on device"
    assert (tmp_path / "out" / "report.json").is_file()
    assert result.tasks[0].schedule is not None
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith("learned")]


@pytest.mark.usefixtures("warm")
def test_a_database_that_tvm_cannot_read_is_named_and_not_taken_over(tmp_path: Path) -> None:
    from wmhub.search.output import DATABASE

    tune(tmp_path / "known", trials=3)
    workloads, records = (tmp_path / "known" / name for name in DATABASE)
    bodies = workloads.read_text(), records.read_text()
    damages = {
        "old instruction": (bodies[0], bodies[1].replace("GetSBlock", "GetBlock")),
        "unknown kind": (bodies[0], bodies[1].replace('"llvm"', '"abacus"')),
        "no base64": (bodies[0].replace('","', '","?'), bodies[1]),
        "short row": (bodies[0], "[0, [1]]\n"),
    }
    for name, (first, second) in damages.items():
        assert (first, second) != bodies, name
        workloads.write_text(first)
        records.write_text(second)
        with pytest.raises(InvalidInputError, match=r"known: TVM cannot read this database: \w"):
            tune(tmp_path / "out", database=tmp_path / "known", trials=3)
        assert not (tmp_path / "out").exists(), name


@pytest.mark.usefixtures("warm")
def test_a_database_of_other_hardware_is_refused_unless_allowed(tmp_path: Path) -> None:
    tune(tmp_path / "known", trials=3)
    report = tmp_path / "known" / "report.json"
    report.write_text(report.read_text().replace("llvm-rocketlake-2c", "llvm-znver4-2c"))
    given: dict[str, Any] = {"database": tmp_path / "known", "trials": 0}
    with pytest.raises(HardwareMismatchError, match="was measured on llvm-znver4-2c"):
        tune(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
    result = tune(tmp_path / "out", allow_other_hardware=True, **given)
    assert "was measured on llvm-znver4-2c" in "".join(result.notes)
    # What was allowed once is told, and asked for, again.
    assert result.measured_on == ("llvm-znver4-2c",)
    with pytest.raises(HardwareMismatchError, match="was measured on llvm-znver4-2c"):
        tune(tmp_path / "more", database=tmp_path / "out", trials=0)


@pytest.mark.usefixtures("warm")
def test_ctrl_c_ends_the_baselines_too_and_what_is_left_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.measure import zoo
    from wmhub.search import job as module
    from wmhub.tvm_compat import relax, tvm

    asked: list[str] = []

    def baseline(job: Any, task: Any, means: Any) -> Any:
        asked.append(task.name)
        os.kill(os.getpid(), signal.SIGINT)
        return module.NO_BASELINE

    monkeypatch.setattr(module, "_baseline", baseline)
    workload = tvm.IRModule(
        {
            "first": zoo.build("matmul-m8-n8-k8")["main"],
            "second": zoo.build("matmul-m8-n8-k16")["main"],
            "puts": relax.ExternFunc("puts"),
        }
    )
    result = tune(tmp_path / "out", workload=workload, baselines=True)
    assert len(asked) == 1
    assert result.interrupted
    assert result.trials == 0
    assert "puts is left out: ExternFunc is no program" in result.notes[0]


@pytest.mark.parametrize("found", [True, False])
def test_the_command_line_ends_with_1_where_nothing_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    from wmhub.cli.tune import command
    from wmhub.search.result import TaskResult, TuneResult

    path = tmp_path / "a.py" if found else None
    tasks = tuple(
        TaskResult(name, 1, 2, 2, None, None, None, None, schedule, None)
        for name, schedule in (("a", path), ("b", None))
    )
    result = TuneResult(
        "w", "m", "h", "h", ("h",), "latent", 4, 4, 1.0, False, None, tasks, (), tmp_path
    )  # fmt: skip
    monkeypatch.setattr("wmhub.search.tune.tune", lambda *_, **__: result)
    done = CliRunner().invoke(command, [WORKLOAD, "--output", str(tmp_path), "--json"])
    assert done.exit_code == (0 if found else 1)
    assert json.loads(done.stdout)["trials"] == 4


@pytest.mark.parametrize("error", [MeasureError("the board is gone"), FULL])
def test_what_ends_a_run_takes_nothing_along(
    tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from wmhub.tvm_callbacks import derived_object
    from wmhub.tvm_compat import meta_schedule as ms

    batches = 0

    def build(self: Any, build_inputs: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches > 1:
            raise error
        return list(engine.builder.build(build_inputs))

    fails = derived_object(type("Fails", (ms.builder.PyBuilder,), {"build": build}))()
    means = engine._replace(builder=fails)
    monkeypatch.setattr("wmhub.search.tune.measuring", lambda *_: nullcontext(means))
    result = tune(tmp_path / "out", trials=12, batch=4)
    assert batches == 2
    assert result.trials == 4
    (task,) = result.tasks
    assert task.best_latency_s is not None
    assert task.schedule is not None
    assert f"measuring ended early: {error}" in result.notes


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("interrupt", [False, True])
def test_what_ends_the_last_measuring_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt: bool
) -> None:
    asked = 0

    def playoff(*_: object) -> Any:
        nonlocal asked
        asked += 1
        if interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("MeasureError: the tracker is gone")

    monkeypatch.setattr("wmhub.search.run._playoff", playoff)
    result = tune(tmp_path / "out", workload=two_tasks())
    assert asked == 1
    assert result.interrupted == interrupt
    assert all(task.schedule is not None for task in result.tasks)
    assert "not measured again: MeasureError: the tracker is gone" in result.notes[-1]


def test_a_seed_that_tvm_cannot_take_is_refused(tmp_path: Path) -> None:
    for seed in (-1, 2**32):
        with pytest.raises(InvalidInputError, match="a seed must be from 0 to 4294967295"):
            tune(tmp_path / "out", seed=seed)
