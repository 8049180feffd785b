from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scorers import FakeEvaluator
from tuning import WORKLOAD, tune

from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    MissingInputError,
    OutputExistsError,
)
from wmhub.names import HardwareKey

pytest.importorskip("tvm")
pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("this_machine")]


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
        (
            {"builder": "local", "rpc": "10.0.0.1:9190/pi", "hardware": "llvm-rocketlake-2c"},
            InvalidInputError,
            "leave out builder local",
        ),
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

    monkeypatch.setattr("wmhub.hub.from_pretrained", lambda name, locked=None: FakeEvaluator())
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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"baselines": True}, "baselines"),
        ({"rpc": "10.0.0.1:9190/pi"}, "rpc"),
        ({"builder": "engine", "seconds": 60.0}, "builder and seconds"),
        ({"search": "evolutionary"}, "the evolutionary search"),
    ],
)
def test_without_trials_nothing_is_measured(
    tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"without trials .*: leave out {named}$"):
        tune(tmp_path / "out", trials=0, **options)


@pytest.mark.usefixtures("warm")
def test_the_command_that_goes_on_after_a_kill_is_the_one_that_begins(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for trials in (3, 6):
        tune(output, database=output, trials=3)
        assert len((output / "database_tuning_record.json").read_text().splitlines()) == trials


@pytest.mark.usefixtures("warm")
def test_a_library_takes_weights_as_the_program_has_them(tmp_path: Path) -> None:
    """Though the schedule wants them packed, as a whole network would."""
    from wmhub.measure import zoo
    from wmhub.tvm_compat import tvm

    main = zoo.build("matmul-m32-n64-k32")["main"].with_attr("layout_free_buffers", [1])
    result = tune(tmp_path / "out", workload=tvm.IRModule({"main": main}), trials=8, batch=4)
    (task,) = result.tasks
    assert result.failed == 0
    assert "layout_rewrite" in task.schedule.read_text()
    records = (tmp_path / "out" / "database_tuning_record.json").read_text().splitlines()
    packed = [json.loads(record)[1][3][1][2] for record in records]
    assert any(len(shape) > 2 for shape in packed)
    x, w = (np.random.default_rng(0).random(s, dtype=np.float32) for s in ((32, 32), (32, 64)))
    library = tvm.runtime.load_module(str(task.library))
    given = [tvm.runtime.tensor(a) for a in (x, w, np.zeros((32, 64), np.float32))]
    library["main"](*given)
    np.testing.assert_allclose(given[2].numpy(), x @ w, rtol=1e-4)
