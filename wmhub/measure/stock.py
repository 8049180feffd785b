"""TVM's own builder and runners with the engine's manners.

One process of this user times at a time and nothing is built beside it; integers are zeros, which
are an index into anything; and where the devices of a tracker have gone, the run ends instead of
writing down what it could not measure as failures.
"""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from wmhub.children import safely_started
from wmhub.measure.lock import MachineLock
from wmhub.measure.programs import device_name, random_arguments
from wmhub.measure.remote import Tracker
from wmhub.measure.rpc_session import threaded_session
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms
from wmhub.tvm_compat import use_target

#: How long a device may be away, in seconds: one that a program took down is started again.
_PATIENCE_SECONDS = 30.0
#: How many times as long as one run all runs of a candidate may take, and a session with a device.
_RUNS, _SESSION_RUNS = 3, 6


@derived_object
class LockedBuilder(ms.builder.PyBuilder):  # type: ignore[misc]
    """TVM's local builder, never at work while a program is timed."""

    def __init__(
        self, target: dict[str, Any], cores: int, lock: MachineLock, timeout_seconds: float
    ) -> None:
        super().__init__()
        self._inner = ms.builder.LocalBuilder(
            max_workers=cores,
            timeout_sec=timeout_seconds,
            initializer=partial(use_target, target),
        )
        self._lock = lock

    def build(self, build_inputs: Sequence[Any]) -> Any:
        """As the local builder."""
        with self._lock.building():
            return self._inner.build(build_inputs)


@derived_object
class LockedRunner(ms.runner.PyRunner):  # type: ignore[misc]
    """TVM's local runner, alone on the machine; on a GPU, which has a clock of its own, beside
    those who build."""

    def __init__(self, target: dict[str, Any], lock: MachineLock, run_seconds: float) -> None:
        super().__init__()
        self._inner = ms.runner.LocalRunner(
            timeout_sec=_RUNS * run_seconds, f_alloc_argument=_allocate
        )
        is_cpu = device_name(str(target["kind"])) == "cpu"
        self._turn = lock.timing if is_cpu else lock.building

    def run(self, runner_inputs: Sequence[Any]) -> Any:
        """As the local runner, whose futures are done when this returns."""
        with self._turn():
            return self._inner.run(runner_inputs)


@derived_object
class TrackerRunner(ms.runner.PyRunner):  # type: ignore[misc]
    """TVM's runner on the devices of a tracker, whose results raise ``MeasureError`` where no
    device is left."""

    def __init__(
        self, target: dict[str, Any], tracker: Tracker, boards: int, run_seconds: float
    ) -> None:
        """``boards``: devices that are used at once."""
        super().__init__()
        self._tracker = tracker
        self._inner = ms.runner.RPCRunner(
            rpc_config=ms.runner.RPCConfig(
                tracker.host,
                tracker.port,
                tracker.key,
                session_timeout_sec=math.ceil(_SESSION_RUNS * run_seconds),
            ),
            max_workers=boards,
            f_create_session=partial(_session, target, tracker),
            f_alloc_argument=_allocate_there,
        )

    def run(self, runner_inputs: Sequence[Any]) -> list[Any]:
        """As TVM's runner."""
        return [
            _Result(future, self._tracker, self._give_up)
            for future in self._inner.run(runner_inputs)
        ]

    def _give_up(self) -> None:
        """Begins nothing more: Python would end only when all that was asked for has failed."""
        self._inner.pool._threadpool.shutdown(wait=False, cancel_futures=True)


@derived_object
class _Result(ms.runner.PyRunnerFuture):  # type: ignore[misc]
    """A future of TVM's runner."""

    def __init__(self, future: Any, tracker: Tracker, give_up: Callable[[], None]) -> None:
        super().__init__()
        self._future, self._tracker, self._give_up = future, tracker, give_up

    def done(self) -> bool:
        return bool(self._future.done())

    def result(self) -> Any:
        try:
            result = self._future.result()
            if result.error_msg is not None:
                self._tracker.require_device(_PATIENCE_SECONDS)
        except BaseException:
            self._give_up()
            raise
        return result


@contextlib.contextmanager
def uninterrupted_workers() -> Iterator[None]:
    """Processes that TVM's builders and runners start meanwhile know no Ctrl-C and no SIGTERM, and
    end with this.

    A terminal sends the one to them as well, a supervisor the other, and what they were at would be
    written down as failures.
    """
    from tvm.support.popen_pool import PopenWorker

    start, started = PopenWorker._start, []

    def starting(self: Any) -> None:
        # What a thread blocks, the processes that it starts block for good.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            with safely_started():
                start(self)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        started.append(self._proc)

    PopenWorker._start = starting
    try:
        yield
    finally:
        PopenWorker._start = start
        for process in started:
            process.kill()


def _session(target: dict[str, Any], tracker: Tracker, rpc_config: Any) -> Any:
    # TVM itself would wait for a device as long as it takes.
    tracker.require_device(_PATIENCE_SECONDS)
    return threaded_session(target, rpc_config)


def _allocate(device: Any, info: Sequence[Any], repeats: int) -> list[list[Any]]:
    return [random_arguments(info, device) for _ in range(repeats)]


def _allocate_there(
    session: Any, device: Any, info: Sequence[Any], repeats: int
) -> list[list[Any]]:
    fill = session.get_function("tvm.contrib.random.random_fill_for_measure")
    return [random_arguments(info, device, fill) for _ in range(repeats)]
