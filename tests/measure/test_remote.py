from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boards import device, free_port, tracker_at

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure.candidate import Measurement, Program
from wmhub.measure.messages import ArchiveRequest, Ran, RunnerSettings
from wmhub.measure.remote import RemoteEngine, Tracker, _Runner
from wmhub.measure.rpc_session import session_seconds
from wmhub.measure.timing import TimingPlan
from wmhub.records import FailureKind

sys.path.insert(0, str(Path(__file__).parent))
from misbehaving import program

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

PLAN = TimingPlan(rounds=2, extra_rounds=0, round_seconds=0.0)
REQUEST = ArchiveRequest(7, "program.tar", "", PLAN, None, 1.0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("localhost:9190", ("localhost", 9190)), ("[::1]:80", ("::1", 80)), ("h:1", ("h", 1))],
)
def test_addresses_parse(address: str, expected: tuple[str, int]) -> None:
    tracker = Tracker.parse(f"{address}/board/2")
    assert (tracker.host, tracker.port, tracker.key) == (*expected, "board/2")


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:0", "host:65536", "a b:1"])
def test_an_address_that_makes_no_sense_is_refused(address: str) -> None:
    with pytest.raises(InvalidInputError, match="HOST:PORT/KEY"):
        Tracker.parse(f"{address}/board")


@pytest.mark.parametrize("rest", ["", "/", "/a b"])
def test_a_tracker_needs_a_key(rest: str) -> None:
    with pytest.raises(InvalidInputError, match="HOST:PORT/KEY"):
        Tracker.parse(f"localhost:9190{rest}")


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_costs_no_candidate(tmp_path: Path) -> None:
    from wmhub.tvm_compat import llvm_target

    port = free_port()
    kinds = ["fine", "crash", "slow", "fine", "slow", "fine"]
    done: list[int] = []
    with tracker_at(port), contextlib.ExitStack() as devices:
        first = devices.enter_context(device(port))

        def report(index: int, result: Measurement) -> None:
            done.append(index)
            if len(done) == 2:
                os.killpg(first.pid, signal.SIGKILL)
                threading.Timer(0.5, lambda: devices.enter_context(device(port))).start()

        with RemoteEngine(
            llvm_target(2), tracker=Tracker("127.0.0.1", port, "board"), plan=PLAN, workers=1,
            patience_seconds=120.0,
        ) as engine:  # fmt: skip
            folder = engine._folder
            results = engine.measure([Program(program(kind), kind) for kind in kinds], report)
        assert not folder.exists()
    expected = [None, FailureKind.CRASH, None, None, None, None]
    assert [result.failure for result in results] == expected
    assert sorted(done) == list(range(6))
    assert results[2].run_seconds[0] == pytest.approx(0.03, rel=0.5)


@pytest.mark.slow
def test_a_candidate_that_freezes_its_device_fails_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.tvm_compat import llvm_target

    monkeypatch.setattr("wmhub.measure.remote._SILENCE_SECONDS", 1.0)
    port = free_port()
    with tracker_at(port), contextlib.ExitStack() as devices:
        first = devices.enter_context(device(port))

        def freeze() -> None:
            os.killpg(first.pid, signal.SIGSTOP)
            devices.enter_context(device(port))

        freezing = [threading.Timer(1.0, freeze)]

        def granted(seconds: float) -> int:
            """Freezes the first device while it runs a program, and brings another."""
            if freezing:
                freezing.pop().start()
            return session_seconds(seconds)

        monkeypatch.setattr("wmhub.measure.remote.session_seconds", granted)
        with RemoteEngine(
            llvm_target(2), tracker=Tracker("127.0.0.1", port, "board"), plan=PLAN, workers=1,
            run_timeout_seconds=1.0, patience_seconds=120.0,
        ) as engine:  # fmt: skip
            results = engine.measure([Program(program(kind), kind) for kind in ("hang", "fine")])
    assert [result.failure for result in results] == [FailureKind.RUN_TIMEOUT, None]
    assert "silent" in results[0].message


def test_a_board_of_somebody_else_ends_no_collection_while_another_works() -> None:
    def engine(heard: float, is_granted: bool) -> Any:
        made = RemoteEngine.__new__(RemoteEngine)
        made._tracker, made._patience = Tracker("h", 1, "k"), 60.0
        made._heard, made._most = time.monotonic() - heard, 2
        working.is_granted = is_granted
        made._runners = [waiting, working]
        return made

    nothing: Any = SimpleNamespace(forget=lambda: None)
    waiting, working = _Runner(nothing, busy_with=7), _Runner(nothing, busy_with=8)
    for heard, is_granted in [(100.0, True), (1.0, False)]:
        queue: deque[int] = deque()
        found = engine(heard, is_granted)
        found._give_up(waiting, queue)
        assert (list(queue), found._most, found._runners) == ([7], 1, [working])
    with pytest.raises(MeasureError, match="no device has answered for 60 s"):
        engine(100.0, False)._give_up(waiting, deque())


def test_boards_are_devices_on_hosts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Tracker("h", 1, "k")
    for hosts, expected in [([], 1), (["a"], 1), (["a", "b", "c"], 3), (["a", "a"], 1)]:
        monkeypatch.setattr(Tracker, "devices", lambda _, hosts=hosts: hosts)
        assert board.boards() == expected


@pytest.mark.slow
def test_without_a_tracker_or_a_device_the_error_says_which_is_missing() -> None:
    from wmhub.tvm_compat import llvm_target

    port = free_port()
    tracker = Tracker("127.0.0.1", port, "board")
    with (
        tracker_at(port),
        RemoteEngine(llvm_target(2), tracker=tracker, workers=1, patience_seconds=0.5) as engine,
        pytest.raises(MeasureError, match=r"'board': no device has answered for 0\.5 s"),
    ):
        engine.measure([Program(program("fine"))])


@pytest.mark.slow
def test_kernels_use_the_cores_of_the_target_and_not_what_the_server_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wmhub.measure.rpc_session import use_cores_of
    from wmhub.tvm_compat import meta_schedule as ms

    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    port = free_port()
    config = ms.runner.RPCConfig("127.0.0.1", port, "board", session_timeout_sec=60)
    found = {}
    with tracker_at(port), device(port):
        for cores in (0, 1, 2):
            target = {"kind": "llvm", **({"num-cores": cores} if cores else {})}
            session = config.connect_server()
            use_cores_of(session, target)
            found[cores] = int(session.get_function("runtime.NumThreads")())
            del session
    assert found == {0: 1, 1: 1, 2: 2}


class Session:
    """Notes what is called over there."""

    def __init__(self) -> None:
        self.called: list[tuple[Any, ...]] = []

    def get_function(self, name: str) -> Any:
        return lambda *given: self.called.append((name, *given)) or name


@pytest.mark.parametrize("target", [{"kind": "cuda"}, {"kind": "llvm"}])
def test_what_has_no_number_of_cores_is_left_as_it_is(target: dict[str, Any]) -> None:
    from wmhub.measure.rpc_session import use_cores_of

    session = Session()
    use_cores_of(session, target)
    assert session.called == []


def test_each_session_of_a_collection_is_told_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.measure import remote_worker
    from wmhub.tvm_compat import tvm

    session, loaded = Session(), []
    tracker = SimpleNamespace(request=lambda *_, **__: session)
    monkeypatch.setattr(tvm.rpc, "connect_tracker", lambda *_: tracker)
    monkeypatch.setattr(remote_worker, "_time", lambda *_: [1.0])

    def load(*_: object) -> tuple[None, None, None]:
        loaded.append(len(session.called))
        return None, None, None

    monkeypatch.setattr(remote_worker, "_load", load)
    settings = RunnerSettings({"kind": "llvm", "num-cores": 3}, "h", 1, "k")
    answer = remote_worker.time_archive(settings, REQUEST, lambda: None)
    assert isinstance(answer, Ran)
    assert (answer.id, answer.run_seconds) == (7, [1.0])
    assert session.called == [
        ("ffi.Array", "0", "1", "2"),
        ("runtime.config_threadpool", 1, 3, "ffi.Array"),
    ]
    assert loaded == [2]


class Slow:
    """A program over there of a constant duration, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, dies: float = 1e9) -> None:
        from wmhub.measure import programs, remote_worker

        self.now = 0.0
        self.seconds = seconds
        self.dies = dies
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(remote_worker, "time", clock)
        monkeypatch.setattr(programs, "evaluator", lambda *given: lambda: self.run(*given[2:4]))

    def run(self, number: int, repeats: int) -> list[float]:
        # TVM's evaluator has one run that does not count.
        for _ in range(1 + number * repeats):
            self.now += self.seconds
            if self.now >= self.dies:
                raise RuntimeError("session has expired")
        return [self.seconds] * repeats

    def timed(self, most: float) -> list[float]:
        from wmhub.measure import remote_worker
        from wmhub.measure.rpc_session import session_seconds

        plan = TimingPlan(rounds=3, round_seconds=0.0)
        request = dataclasses.replace(REQUEST, plan=plan, timeout_seconds=most)
        # As a server: a session that has lived long enough is ended.
        self.dies = min(self.dies, session_seconds(most))
        return remote_worker._time(None, None, (), request, session_seconds(most))


@pytest.mark.parametrize(("seconds", "timings"), [(1.0, 3), (4.0, 2), (9.0, 1)])
def test_a_slow_program_gets_the_timings_that_its_session_has_time_for(
    monkeypatch: pytest.MonkeyPatch, seconds: float, timings: int
) -> None:
    assert Slow(monkeypatch, seconds).timed(10.0) == [seconds] * timings


@pytest.mark.parametrize(
    ("seconds", "dies", "says"),
    [(11.0, 1e9, "a run took 11 s of 10"), (60.0, 1e9, "did not end within 10 s")],
    ids=["slow", "hanging"],
)
def test_a_run_that_takes_too_long_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch, seconds: float, dies: float, says: str
) -> None:
    from wmhub.measure import remote_worker

    with pytest.raises(remote_worker._TooLongError, match=says) as raised:
        Slow(monkeypatch, seconds, dies).timed(10.0)
    assert remote_worker._failure(raised.value, says) == (FailureKind.RUN_TIMEOUT, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RPCError: RPCError: Error caught from RPC call:\nAssert fail: connection of shapes",
         (FailureKind.RUNTIME_DEVICE, False)),
        ("RPCError: Error caught from RPC call:\nCUDAError: out of memory",
         (FailureKind.OUT_OF_MEMORY, False)),
        ("RPCError: the server has closed the connection", (FailureKind.CRASH, True)),
        ("ConnectionResetError: reset by peer", (FailureKind.CRASH, True)),
        ("InternalError: something else", (FailureKind.RUNTIME_DEVICE, False)),
    ],
)  # fmt: skip
def test_what_the_device_says_of_a_program_is_the_programs_failure(
    text: str, expected: tuple[FailureKind, bool]
) -> None:
    from wmhub.measure.remote_worker import _failure

    assert _failure(RuntimeError(text), text) == expected


def test_a_long_error_of_the_device_is_told_by_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wmhub.measure import remote_worker
    from wmhub.tvm_compat import tvm

    def fails(*_: object) -> None:
        raise RuntimeError("Error caught from RPC call:\n" + "rpc " * 400)

    tracker = SimpleNamespace(request=lambda *_, **__: Session())
    monkeypatch.setattr(tvm.rpc, "connect_tracker", lambda *_: tracker)
    monkeypatch.setattr(remote_worker, "_load", fails)
    settings = RunnerSettings({"kind": "cuda"}, "h", 1, "k")
    answer = remote_worker.time_archive(settings, REQUEST, lambda: None)
    assert isinstance(answer, Ran)
    assert (answer.failure, answer.is_innocent) == (FailureKind.RUNTIME_DEVICE, False)
    assert len(answer.message) == 600


@pytest.mark.slow
def test_a_tracker_tells_its_devices() -> None:
    port = free_port()
    board = Tracker("127.0.0.1", port, "board")
    with pytest.raises(MeasureError, match=r"device 'board': the tracker does not answer"):
        board.devices()
    with tracker_at(port), contextlib.ExitStack() as devices:
        with pytest.raises(MeasureError, match="no such device has registered"):
            board.require_device()
        devices.enter_context(device(port))
        board.require_device(60.0)
        assert board.devices() == ["127.0.0.1"]
        assert board.boards() == 1
        other = Tracker("127.0.0.1", port, "other")
        assert (other.devices(), other.boards()) == ([], 1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setattr("wmhub.measure.remote._ANSWER_SECONDS", 0.2)
        with pytest.raises(MeasureError, match="does not answer: timed out"):
            Tracker("127.0.0.1", silent.getsockname()[1], "board").devices()
