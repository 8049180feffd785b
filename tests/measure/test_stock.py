"""TVM's own builder and runners with the engine's manners."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

TARGET = {"kind": "llvm", "num-cores": 2}


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
