from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scorers import FakeEvaluator

from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    MeasureError,
    MissingInputError,
    OutputExistsError,
)
from wmhub.names import HardwareKey

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

WORKLOAD = "dense-m32-n48-k64-bias-relu"


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is what the fake evaluator was trained on."""
    monkeypatch.setattr(
        "wmhub.search.tune.this_hardware",
        lambda hardware: HardwareKey.parse(str(hardware)) if hardware else FakeEvaluator.hardware,
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """One builder and runner for all tests: their workers take seconds to start."""
    from wmhub.search.measuring import measuring
    from wmhub.tvm_compat import llvm_target

    with measuring(llvm_target(cores=2), 2) as pair:
        yield pair


@pytest.fixture
def warm(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmhub.search.tune.measuring", lambda *_: nullcontext(engine))


def tune(output: Path, **options: Any) -> Any:
    from wmhub.search.evolve import Evolution
    from wmhub.search.task_search import LatentSearchConfig
    from wmhub.search.tune import tune as really_tune

    small = Evolution(population=64, generations=2)
    config = LatentSearchConfig(evolution=small, later=small)
    options = {"trials": 6, "batch": 3, "model": FakeEvaluator(), "config": config, **options}
    return really_tune(options.pop("workload", WORKLOAD), output=output, **options)


def output_of(mod_or_library: Any, arrays: list[np.ndarray]) -> np.ndarray:
    from wmhub.tvm_compat import tvm

    device = tvm.runtime.device("cpu", 0)
    tensors = [tvm.runtime.tensor(array, device) for array in arrays]
    mod_or_library["main"](*tensors)
    return np.asarray(tensors[-1].numpy())


@pytest.mark.usefixtures("warm")
def test_a_run_leaves_a_database_a_schedule_a_right_library_a_report_and_a_plot(
    tmp_path: Path,
) -> None:
    from wmhub.measure import zoo
    from wmhub.measure.programs import argument_info
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import tvm

    seen: list[int] = []
    result = tune(
        tmp_path / "out", baselines=True, on_progress=lambda p: seen.append(len(p.history))
    )
    assert seen == [3, 6]
    (task,) = result.tasks
    assert result.trials == task.trials == len(result.history) == 6
    ran = [trial.latency_s for trial in result.history if trial.latency_s is not None]
    # The fastest were measured again.
    assert result.best_latency_s == task.best_latency_s
    assert 0.3 * min(ran) < task.best_latency_s < 3 * min(ran)
    assert task.unscheduled_latency_s is not None
    assert task.first_random_latency_s is not None
    database = ms.database.JSONDatabase(work_dir=str(tmp_path / "out"))
    assert len(database.get_all_tuning_records()) == 6

    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["best_latency_s"] == result.best_latency_s
    assert (tmp_path / "out" / "latency.png").read_bytes().startswith(b"\x89PNG")

    random = np.random.default_rng(0)
    mod = zoo.build(WORKLOAD)
    shapes = [shape for _, _, shape in argument_info(mod)]
    arrays = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = output_of(tvm.compile(mod, target="llvm"), arrays)
    library = tvm.runtime.load_module(str(task.library))
    np.testing.assert_allclose(output_of(library, arrays), expected, rtol=1e-4, atol=1e-4)
    again = tvm.script.from_source(task.schedule.read_text())
    np.testing.assert_allclose(
        output_of(tvm.compile(again, target="llvm"), arrays), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("warm")
def test_a_run_goes_on_from_a_database_and_refuses_to_overwrite_one(tmp_path: Path) -> None:
    from wmhub.tvm_compat import meta_schedule as ms

    first = tune(tmp_path / "first", trials=3)
    with pytest.raises(OutputExistsError, match="--database"):
        tune(tmp_path / "first")
    second = tune(tmp_path / "second", trials=3, database=tmp_path / "first")
    traces = [
        str(record.trace)
        for record in ms.database.JSONDatabase(
            work_dir=str(tmp_path / "second")
        ).get_all_tuning_records()
    ]
    assert len(traces) == len(set(traces)) == 6
    assert second.best_latency_s is not None
    assert second.best_latency_s < 2 * first.best_latency_s
    # And in place, with nothing left to measure: what the database knows.
    third = tune(tmp_path / "second", trials=0, database=tmp_path / "second")
    assert third.best_latency_s is not None
    assert third.tasks[0].predicted_speedup is None


def test_no_trials_give_a_verified_schedule(tmp_path: Path) -> None:
    result = tune(tmp_path / "out", trials=0)
    (task,) = result.tasks
    assert result.trials == 0
    assert result.best_latency_s is None
    assert task.predicted_speedup is not None
    assert task.predicted_speedup > 1
    assert task.schedule is not None
    assert task.schedule.is_file()
    assert task.library is not None
    assert task.library.is_file()


@pytest.mark.usefixtures("warm")
def test_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    result = tune(
        tmp_path / "out", trials=30, on_progress=lambda p: os.kill(os.getpid(), signal.SIGINT)
    )
    assert result.interrupted
    assert result.trials == 3
    assert result.best_latency_s is not None
    assert (tmp_path / "out" / "report.json").is_file()
    assert signal.getsignal(signal.SIGINT) is before


def test_time_ends_a_run(tmp_path: Path) -> None:
    result = tune(tmp_path / "out", trials=30, seconds=1e-6)
    assert result.trials == 0
    assert not result.interrupted
    assert result.tasks[0].schedule is not None


@pytest.mark.usefixtures("warm")
def test_tvms_own_search_can_use_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.tvm_compat import meta_schedule as ms

    # Its default population of 2048 takes most of a minute.
    strategies = ms.search_strategy
    small = partial(
        strategies.EvolutionarySearch,
        population_size=16,
        init_min_unmeasured=8,
        genetic_num_iters=1,
    )
    monkeypatch.setattr(strategies, "EvolutionarySearch", small)
    result = tune(tmp_path / "out", trials=4, batch=4, search="evolutionary")
    assert result.search == "evolutionary"
    assert result.trials == 4
    learned = tmp_path / "out" / "learned.npz"
    # As after a kill: what was measured is in the database.
    learned.unlink()
    tune(tmp_path / "out", trials=4, batch=4, search="evolutionary", database=tmp_path / "out")
    with np.load(learned) as archive:
        # Four and four, of which TVM may choose one again.
        assert archive["rows0"].shape[1] > 4


def test_a_checkpoint_of_other_hardware_is_refused_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(HardwareMismatchError, match="--allow-other-hardware"):
        tune(tmp_path / "out", hardware="llvm-znver3-8c", trials=0)
    assert not (tmp_path / "out").exists()
    result = tune(tmp_path / "out", hardware="llvm-znver3-8c", trials=0, allow_other_hardware=True)
    assert "trained on llvm-rocketlake-2c" in result.notes[0]


def here(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The machine is ``key``, whatever backend is asked for."""
    profile = SimpleNamespace(key=HardwareKey.parse(key))
    monkeypatch.setattr("wmhub.hardware.probe.probe", lambda *_, **__: profile)


def test_what_is_measured_here_is_not_called_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch, "llvm-rocketlake-2c")
    with pytest.raises(HardwareMismatchError, match="this machine is llvm-rocketlake-2c, not"):
        tune(tmp_path / "out", hardware="llvm-rocketlake-8c")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("named", "allowed"), [("llvm-emeraldrapids-2c", False), ("llvm-rocketlake-8c", True)]
)
@pytest.mark.usefixtures("warm")
def test_what_is_alike_or_allowed_is_measured_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, allowed: bool
) -> None:
    here(monkeypatch, "llvm-rocketlake-2c")
    from wmhub.tvm_compat import use_target

    made: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "wmhub.search.tune.use_target",
        lambda target, **options: made.append(target) or use_target(target, **options),
    )
    result = tune(tmp_path / "out", hardware=named, trials=3, allow_other_hardware=allowed)
    assert result.hardware == "llvm-rocketlake-2c"
    assert made[0]["num-cores"] == 2
    assert any(f"llvm-rocketlake-2c, not {named}" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"trials": -1}, InvalidInputError, "trials"),
        ({"search": "magic"}, InvalidInputError, "magic"),
        ({"rpc": "10.0.0.1:9190/pi"}, InvalidInputError, "name with hardware what the devices are"),
        ({"rpc": "nowhere", "hardware": "llvm-rocketlake-2c"}, InvalidInputError, "HOST:PORT/KEY"),
        ({"builder": "hammer"}, InvalidInputError, "hammer"),
        ({"workload": 7}, InvalidInputError, "int"),
        ({"database": "/no/such"}, MissingInputError, "database"),
    ],
)
def test_bad_arguments_are_named(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        tune(tmp_path / "out", **options)


def test_the_command_line_takes_exploration_for_our_own_search_alone(tmp_path: Path) -> None:
    from wmhub.cli.tune import command

    options = ["--search", "evolutionary", "--exploration", "0.3", "--output", str(tmp_path / "o")]
    done = CliRunner().invoke(command, [WORKLOAD, *options])
    assert done.exit_code == 2
    assert "--exploration is of --search latent" in done.output


def test_the_command_line_prints_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.cli.schedule import command

    monkeypatch.setattr(
        "wmhub.search.choose.from_pretrained", lambda name, locked=None: FakeEvaluator()
    )
    output = str(tmp_path / "out")
    arguments = [WORKLOAD, "--model", "wm-fake", "--output", output, "--json"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["model"] == "wm-fake"
    assert "not measured" in done.stderr


@pytest.mark.usefixtures("warm")
def test_the_demo_uses_an_embedded_checkpoint_and_can_be_run_again(tmp_path: Path) -> None:
    from wmhub.hub import known_hardware
    from wmhub.hub.artifact import MODEL
    from wmhub.search.demo import demo
    from wmhub.search.output import records_in

    if not known_hardware(MODEL):
        pytest.skip("this checkout has no embedded checkpoint")
    for _ in range(2):
        result = demo(tmp_path / "demo", workload=WORKLOAD, trials=2)
        assert result.trials == 2
        assert result.model in known_hardware(MODEL)
        assert result.tasks[0].unscheduled_latency_s is not None
        assert result.tasks[0].first_random_latency_s is not None
        assert (tmp_path / "demo" / "latency.png").is_file()
    # What someone adds to a demo cannot be made again by one.
    tune(tmp_path / "demo", database=tmp_path / "demo", trials=3, allow_other_hardware=True)
    with pytest.raises(OutputExistsError, match="added to a demo"):
        demo(tmp_path / "demo", workload=WORKLOAD, trials=2)
    assert records_in(tmp_path / "demo") == 5


@pytest.mark.parametrize("options", [{"baselines": True}, {"rpc": "10.0.0.1:9190/pi"}])
def test_without_trials_nothing_is_measured(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="without trials"):
        tune(tmp_path / "out", trials=0, **options)


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


@pytest.mark.parametrize("error", [MeasureError("the lock is held"), KeyboardInterrupt()])
def test_an_error_in_a_callback_is_what_it_was(
    tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from wmhub.tvm_callbacks import derived_object
    from wmhub.tvm_compat import meta_schedule as ms

    def build(self: Any, build_inputs: Any) -> Any:
        raise error

    raises = derived_object(type("Raises", (ms.builder.PyBuilder,), {"build": build}))()
    means = engine._replace(builder=raises)
    monkeypatch.setattr("wmhub.search.tune.measuring", lambda *_: nullcontext(means))
    with pytest.raises(type(error), match=f"^{error}"):
        tune(tmp_path / "out", trials=4, batch=4)


@pytest.mark.usefixtures("warm")
def test_a_task_without_a_schedule_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import tune as module

    def hopeless(*_: object) -> None:
        raise MeasureError("none of the 64 best candidates is a valid schedule here")

    monkeypatch.setattr(module, "_best", hopeless)
    result = tune(tmp_path / "out", trials=3)
    assert result.tasks[0].schedule is None
    assert "no schedule: none of the 64" in result.notes[0]
    assert (tmp_path / "out" / "report.json").is_file()
    with pytest.raises(MeasureError, match="none of the 64"):
        tune(tmp_path / "other", trials=0)


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    from wmhub.search.output import held

    with held(tmp_path / "out"), pytest.raises(OutputExistsError, match="another process"):
        tune(tmp_path / "out", trials=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("warm")
def test_what_a_full_disk_leaves_is_said_and_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import output as files

    def cut(_job: Any, _context: Any) -> Any:
        path = tmp_path / "out" / files.DATABASE[1]
        path.write_bytes(path.read_bytes()[:-40])
        raise RuntimeError("parallel_for_dynamic error with\nUnexpected end of string")

    with monkeypatch.context() as patch:
        patch.setattr("wmhub.search.tune.best_measured", cut)
        patch.setattr(files, "records_in", lambda _output: 4)
        result = tune(tmp_path / "out")
    assert result.best_latency_s is not None
    assert (tmp_path / "out/report.json").is_file()
    told = "\n".join(result.notes)
    assert "2 of 6 trials are not in" in told
    assert "cannot be read again: Unexpected end of string" in told
    more = tune(tmp_path / "out", database=tmp_path / "out", trials=3)
    assert len(more.history) == 3
    assert files.records_in(tmp_path / "out") == 5 + 3


@pytest.mark.usefixtures("warm")
def test_a_full_disk_costs_what_was_learned_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

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
        "w", "m", "h", "h", "latent", 4, 4, 1.0, False, None, tasks, (), tmp_path
    )  # fmt: skip
    monkeypatch.setattr("wmhub.search.tune.tune", lambda *_, **__: result)
    done = CliRunner().invoke(command, [WORKLOAD, "--output", str(tmp_path), "--json"])
    assert done.exit_code == (0 if found else 1)
    assert json.loads(done.stdout)["trials"] == 4
