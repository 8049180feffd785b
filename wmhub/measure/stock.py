"""TVM's own builder and runner with the engine's manners.

One process of this user times at a time and nothing is built beside it; integers are zeros, which
are an index into anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from wmhub.children import safely_started
from wmhub.interrupts import sparing_children
from wmhub.measure.lock import MachineLock
from wmhub.measure.programs import device_name, random_arguments
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms
from wmhub.tvm_compat import use_target

#: How many times as long as one run all runs of a candidate may take.
_RUNS = 3


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


@contextlib.contextmanager
def uninterrupted_workers() -> Iterator[None]:
    """Processes that TVM's builder and runner start meanwhile know no Ctrl-C and no SIGTERM, and
    end with this.

    A terminal sends the one to them as well, a supervisor the other, and what they were at would be
    written down as failures.
    """
    from tvm.support.popen_pool import PopenWorker

    start, started = PopenWorker._start, []

    def starting(self: Any) -> None:
        # What a thread blocks, the processes that it starts block for good.
        with sparing_children(), safely_started():
            start(self)
        started.append(self._proc)

    PopenWorker._start = starting
    try:
        yield
    finally:
        PopenWorker._start = start
        for process in started:
            process.kill()


def _allocate(device: Any, info: Sequence[Any], repeats: int) -> list[list[Any]]:
    return [random_arguments(info, device) for _ in range(repeats)]
