from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure import crew as crew_module
from wmhub.measure.candidate import Measurement, Program
from wmhub.measure.crew import Crew, workers_ahead
from wmhub.measure.engine import Engine
from wmhub.measure.lock import MachineLock
from wmhub.measure.messages import Dropped, DropRequest, Ran, WorkerSettings
from wmhub.measure.process import WorkerProcess
from wmhub.measure.timing import TimingPlan
from wmhub.measure.wire import Channel
from wmhub.records import FailureKind

sys.path.insert(0, str(Path(__file__).parent))
from misbehaving import program

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.fixture(scope="module")
def target() -> dict[str, object]:
    from wmhub.tvm_compat import llvm_target

    return llvm_target(2)


@pytest.fixture(scope="module")
def engine(target: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    lock = MachineLock(tmp_path_factory.mktemp("lock") / "lock")
    plan = TimingPlan(rounds=2, extra_rounds=0, round_seconds=0.0)
    with Engine(target, workers=2, plan=plan, run_timeout_seconds=0.6, lock=lock) as engine:
        yield engine


def _programs(*kinds: str) -> list[Program]:
    return [Program(program(kind), kind) for kind in kinds]


def test_every_misbehaviour_is_a_failure_of_its_own_and_costs_no_other(engine: Engine) -> None:
    kinds = ["fine", "crash", "hang", "fine", "exit", "hungry", "kill", "slow", "fine"]
    results = engine.measure(_programs(*kinds))
    assert [result.failure for result in results] == [
        None,
        FailureKind.CRASH,
        FailureKind.RUN_TIMEOUT,
        None,
        FailureKind.CRASH,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.OUT_OF_MEMORY,
        None,
        None,
    ]
    assert "SIGABRT" in results[1].message
    assert "killed after 0.6 s" in results[2].message
    assert all(result.message for result in results if result.failure is not None)
    assert all(min(result.run_seconds) > 0 for result in results if result.failure is None)
    assert results[7].run_seconds[0] == pytest.approx(0.03, rel=0.5)


def test_a_program_that_does_not_compile_or_load_is_a_failure(engine: Engine) -> None:
    broken = program("fine").replace("abs", "no_such_function_anywhere")
    results = engine.measure([Program("{}"), *_programs("fine"), Program(broken)])
    assert results[0].failure is FailureKind.COMPILE_HOST
    assert results[1].failure is None
    assert results[2].failure is not None


def test_results_are_reported_once_each_as_they_come(engine: Engine) -> None:
    seen: dict[int, Measurement] = {}

    def done(index: int, result: Measurement) -> None:
        assert index not in seen
        seen[index] = result

    results = engine.measure(_programs("fine", "crash", "fine"), done)
    assert [seen[index] for index in range(3)] == results


def test_workers_killed_from_outside_cost_no_candidate(engine: Engine) -> None:
    engine.measure(_programs("fine"))

    def kill() -> None:
        for pid in engine.pids:
            time.sleep(0.15)
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    results = engine.measure(_programs(*["slow", "fine"] * 4))
    killer.join()
    assert [result.failure for result in results] == [None] * 8


def test_what_a_killed_worker_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "pid"
    # As a worker that has started a compiler.
    (tmp_path / "stubborn.py").write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(log)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    worker = WorkerProcess("stubborn")
    until = time.monotonic() + 20
    while not (log.exists() and log.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    child = int(log.read_text())
    worker.forget()
    stat = Path(f"/proc/{child}/stat")
    while stat.exists() and stat.read_text().split()[2] != "Z" and time.monotonic() < until:
        time.sleep(0.02)
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_build_that_takes_too_long_is_killed(target: dict[str, object], tmp_path: Path) -> None:
    lock = MachineLock(tmp_path / "lock")
    with Engine(target, workers=1, build_timeout_seconds=1e-3, lock=lock) as engine:
        (result,) = engine.measure(_programs("fine"))
    assert result.failure is FailureKind.BUILD_TIMEOUT
    assert result.message == "killed after 0.001 s"
    assert result.build_seconds == pytest.approx(1e-3)


def test_slow_candidates_are_measured_against_the_best_of_their_group(engine: Engine) -> None:
    engine.know_best("known", 1e-3)
    (slow,) = engine.measure([Program(program("slow"), "known")])
    assert len(slow.run_seconds) == 1


def test_workers_ahead_are_taken_and_the_rest_ends(
    target: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = SimpleNamespace(cores=3, usable_threads=6, memory_bytes=1 << 34)
    monkeypatch.setattr("wmhub.measure.crew.read_cpu", lambda: facts)
    with workers_ahead():
        ahead = [worker.process.pid for worker in crew_module._ahead]
        assert len(ahead) == 2
        with Engine(target, workers=1, lock=MachineLock(tmp_path / "lock")) as engine:
            assert engine.pids == ahead[:1]
            assert not Path(f"/proc/{ahead[1]}").exists()
            (result,) = engine.measure(_programs("fine"))
    assert result.failure is None
    with workers_ahead():
        ahead += [worker.process.pid for worker in crew_module._ahead]
    assert len(ahead) == 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in ahead)


def test_another_takes_the_place_of_a_worker_ahead_that_died(
    target: dict[str, object], tmp_path: Path
) -> None:
    with workers_ahead():
        dead = [worker.process for worker in crew_module._ahead]
        for process in dead:
            process.kill()
            process.wait()
        with Engine(target, workers=1, lock=MachineLock(tmp_path / "lock")) as engine:
            (result,) = engine.measure(_programs("fine"))
            assert result.failure is None
            assert not {process.pid for process in dead} & {*engine.pids}


def test_closing_leaves_no_process(target: dict[str, object], tmp_path: Path) -> None:
    with Engine(target, workers=1, lock=MachineLock(tmp_path / "lock")) as engine:
        (pid,) = engine.pids
    assert not Path(f"/proc/{pid}").exists()


def test_a_target_that_tvm_refuses_names_the_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(MeasureError, match="could not start"),
        Engine({"kind": "no-such-kind"}, workers=1, lock=MachineLock(tmp_path / "lock")) as engine,
    ):
        engine.wait_ready()


@pytest.mark.parametrize("options", [{"workers": 0}, {"run_timeout_seconds": 0.0}])
def test_nonsense_is_refused(target: dict[str, object], options: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        Engine(target, **options)  # type: ignore[arg-type]


def test_the_pause_between_rounds_is_no_programs_time(
    target: dict[str, object], tmp_path: Path
) -> None:
    plan = TimingPlan(rounds=3, extra_rounds=0, round_seconds=0.5)
    lock = MachineLock(tmp_path / "lock")
    with Engine(target, workers=1, plan=plan, run_timeout_seconds=0.2, lock=lock) as engine:
        results = engine.measure(_programs("fine", "fine"))
    assert [result.failure for result in results] == [None, None]
    assert all(len(result.run_seconds) == 3 for result in results)


def test_what_a_broken_off_run_left_is_no_answer() -> None:
    ours, theirs = Channel.pair()
    crew = Crew(1, WorkerSettings({}, 1, False, "", {}))
    worker = SimpleNamespace(channel=ours)
    crew.workers.append(worker)  # type: ignore[arg-type]
    theirs.send(Ran(7, [1.0], 1.0))
    theirs.send(Dropped(1))
    crew.drop([7])
    assert crew.workers == [worker]
    assert theirs.receive(1.0) == DropRequest([7])
    ours.close()
    theirs.close()


def test_a_limit_of_the_system_is_kept() -> None:
    code = (
        "import resource\n"
        "from wmhub.measure.child import limit_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "limit_memory(1 << 40)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] >> 30)\n"
        "limit_memory(1 << 30)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] < 8 << 30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "True"]


def test_threads_are_not_bound_where_cpus_are_not_all_ours(
    monkeypatch: pytest.MonkeyPatch, target: dict[str, object]
) -> None:
    for is_shared in (False, True):
        facts = SimpleNamespace(is_shared=is_shared, usable_threads=2, memory_bytes=1 << 34)
        for module in ("engine", "targets"):
            monkeypatch.setattr(f"wmhub.measure.{module}.read_cpu", lambda facts=facts: facts)
        environment = Engine(target, workers=1)._crew.settings.environment
        assert environment.get("TVM_BIND_THREADS") == ("0" if is_shared else None)
        # Its own 300,000 are a tenth of a second, in which others are timed.
        assert int(environment["TVM_THREAD_POOL_SPIN_COUNT"]) <= 10_000


def test_a_machine_that_no_longer_works_is_told_from_its_candidates(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.require_sound()
    broken = Measurement((), FailureKind.RUNTIME_DEVICE, "the driver is gone", 0.1, 0.0)
    monkeypatch.setattr(engine, "measure", lambda programs: [broken] * len(programs))
    with pytest.raises(MeasureError, match="can be run: runtime_device: the driver is gone"):
        engine.require_sound()


def test_no_more_workers_than_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch, target: dict[str, object]
) -> None:
    many = {**target, "num-cores": 256}
    for gib, count in [(1, 2), (8, 16), (1024, 32)]:
        facts = SimpleNamespace(is_shared=False, usable_threads=256, memory_bytes=gib << 30)
        for module in ("engine", "crew"):
            monkeypatch.setattr(f"wmhub.measure.{module}.read_cpu", lambda facts=facts: facts)
        assert Engine(many)._crew.count == count
        assert Engine(many, workers=40)._crew.count == 40


@pytest.mark.parametrize(("on_cpu", "parts"), [(True, [20]), (False, [8, 8, 4])])
def test_few_workers_at_once_have_their_programs_on_a_gpu(
    target: dict[str, object], on_cpu: bool, parts: list[int]
) -> None:
    engine = Engine(target)
    assert engine._at_once() == []
    engine._on_cpu = on_cpu
    workers: list[Any] = list(range(20))
    engine._crew.workers += workers
    found = engine._at_once()
    assert [len(part) for part in found] == parts
    assert [worker for part in found for worker in part] == workers
    engine._crew.workers.clear()
