"""TVM's own builder and runners with the engine's manners."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wmhub.errors import MeasureError

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

TARGET = {"kind": "llvm", "num-cores": 2}


class Tracker:
    """A tracker whose devices are there or not."""

    def __init__(self, there: bool) -> None:
        self.there = there

    def require_device(self, patience_seconds: float = 0.0) -> None:
        if not self.there:
            raise MeasureError("no such device has registered")


def test_a_session_needs_a_device_and_is_told_the_cores_of_the_target() -> None:
    from wmhub.measure import stock

    called: list[Any] = []

    def get_function(name: str) -> Any:
        return lambda *given: called.append((name, *given)) or name

    session = SimpleNamespace(get_function=get_function)
    config = SimpleNamespace(connect_server=lambda: session)
    assert stock._session(TARGET, Tracker(there=True), config) is session  # type: ignore[arg-type]
    assert called[-1] == ("runtime.config_threadpool", 1, 2, "ffi.Array")
    with pytest.raises(MeasureError, match="no such device"):
        stock._session(TARGET, Tracker(there=False), config)  # type: ignore[arg-type]


@pytest.mark.parametrize("there", [True, False])
def test_a_device_that_is_gone_ends_the_run_instead_of_failing_candidates(there: bool) -> None:
    from wmhub.measure import stock
    from wmhub.tvm_callbacks import own_errors
    from wmhub.tvm_compat import meta_schedule as ms

    given_up: list[bool] = []

    def result(problem: str | None) -> Any:
        seconds = None if problem else [1.0]
        future = SimpleNamespace(result=lambda: ms.runner.RunnerResult(seconds, problem))
        return stock._Result(future, Tracker(there), lambda: given_up.append(True))

    assert result(None).result().error_msg is None
    gone = pytest.raises(MeasureError, match="no such device")
    with contextlib.nullcontext() if there else gone, own_errors():
        assert result("connection reset").result().error_msg == "connection reset"
    assert given_up == ([] if there else [True])


@pytest.mark.slow
def test_a_tracker_runner_sends_its_processes_what_they_need_and_gives_up() -> None:
    from wmhub.measure.remote import Tracker as RealTracker
    from wmhub.measure.stock import TrackerRunner

    runner = TrackerRunner(TARGET, RealTracker("127.0.0.1", 9190, "board"), 1, 10.0)
    for function in (runner._inner.f_create_session, runner._inner.f_alloc_argument):
        pickle.loads(pickle.dumps(function))
    began = threading.Event()
    futures = [runner._inner.pool._threadpool.submit(began.wait) for _ in range(3)]
    runner._give_up()
    began.set()
    assert [future.cancelled() for future in futures[1:]] == [True, True]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Any, Any, Path]]:
    from wmhub.measure.lock import MachineLock
    from wmhub.measure.stock import LockedBuilder, LockedRunner, uninterrupted_workers

    lock = MachineLock(tmp_path / "lock", timeout_seconds=0.2)
    with uninterrupted_workers():
        yield (
            LockedBuilder(TARGET, 1, lock, 30.0),
            LockedRunner(TARGET, lock, 10.0),
            tmp_path / "lock",
        )


@pytest.mark.slow
def test_a_gather_is_measured_alone_and_ctrl_c_costs_it_nothing(
    pair: tuple[Any, Any, Path],
) -> None:
    from wmhub.measure.lock import MachineLock
    from wmhub.search.measuring import measure
    from wmhub.tvm_compat import tvm, use_target

    builder, runner, lock = pair
    table = tvm.te.placeholder((1 << 14, 64), name="table")
    rows = tvm.te.placeholder((8,), name="rows", dtype="int64")
    found = tvm.te.compute((8, 64), lambda i, j: table[rows[i], j], name="found")
    module = tvm.IRModule({"main": tvm.te.create_prim_func([table, rows, found])})
    interrupted = 0

    def note(*_: object) -> None:
        nonlocal interrupted
        interrupted += 1

    def to_all(*_: object) -> None:
        """As a terminal."""
        import psutil

        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGINT)

    before = signal.signal(signal.SIGINT, note), signal.signal(signal.SIGALRM, to_all)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    try:
        ((seconds, problem),) = measure([module], use_target(TARGET), builder, runner)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGALRM, before[1])
    assert problem is None
    assert seconds is not None
    assert interrupted > 1
    with MachineLock(lock).timing():
        with pytest.raises(Exception, match="others have been building or measuring"):
            builder.build([])
        with pytest.raises(Exception, match="others have been building or measuring"):
            runner.run([])


@pytest.mark.slow
def test_the_processes_end_with_their_use() -> None:
    from tvm.support.popen_pool import PopenWorker

    from wmhub.measure.stock import uninterrupted_workers

    start = PopenWorker._start
    with uninterrupted_workers():
        worker = PopenWorker()
        worker.send(time.sleep, (60,))
        assert worker.is_alive()
    assert worker._proc.wait(10) == -signal.SIGKILL
    assert PopenWorker._start is start
