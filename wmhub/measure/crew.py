"""``Crew``: the worker processes of an engine, started together and replaced when they are lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from wmhub.errors import MeasureError
from wmhub.hardware.machine import read_cpu
from wmhub.measure.messages import Dropped, DropRequest, WorkerSettings
from wmhub.measure.process import START_SECONDS, WorkerProcess

_MODULE = "wmhub.measure.worker"
#: A worker that holds more than this after a batch is replaced: LLVM's modules leave memory behind.
_MOST_WORKER_BYTES = 2 << 30
#: No more workers than a batch keeps busy, nor than there is memory for, in bytes each.
_MOST_WORKERS, _WORKER_BYTES = 32, 512 << 20
#: Workers that load TVM before anybody has said what for.
_ahead: list[WorkerProcess] = []


def most_workers() -> int:
    """How many workers this machine has room for."""
    return max(1, min(_MOST_WORKERS, read_cpu().memory_bytes // _WORKER_BYTES))


@contextmanager
def workers_ahead() -> Iterator[None]:
    """Has workers load TVM for the first engine that is entered meanwhile, while this process loads
    what it needs itself; those that it has no use for end."""
    machine = read_cpu()
    # One core is this process's own.
    count = min(most_workers(), max(1, min(machine.cores, machine.usable_threads) - 1))
    try:
        # Where no more can start, the engine will say so.
        with contextlib.suppress(OSError):
            while len(_ahead) < count:
                _ahead.append(WorkerProcess(_MODULE))
        yield
    finally:
        end_ahead()


def end_ahead() -> None:
    """Ends the workers that nobody has taken."""
    while _ahead:
        _ahead.pop().forget()


def _worker() -> WorkerProcess:
    """The one that has been loading TVM for the longest, or else a new one."""
    while _ahead:
        worker = _ahead.pop(0)
        if worker.process.poll() is None:
            return worker
        worker.forget()
    return WorkerProcess(_MODULE)


class Crew:
    """Workers that all have the same settings."""

    def __init__(self, count: int, settings: WorkerSettings) -> None:
        self.workers: list[WorkerProcess] = []
        """Those that live."""
        self.count, self.settings = count, settings

    def start(self) -> None:
        """Starts workers that are missing, without waiting for them."""
        while len(self.workers) < self.count:
            worker = _worker()
            worker.tell(self.settings)
            self.workers.append(worker)

    def wait_ready(self) -> None:
        """Waits until all workers serve; ends them and raises ``MeasureError`` where one cannot."""
        self.start()
        for worker in self.workers:
            try:
                worker.wait_ready()
            except MeasureError:
                self.close()
                raise

    def bury(self, worker: WorkerProcess) -> None:
        """Ends ``worker``; the next ``start`` replaces it."""
        worker.forget()
        self.workers.remove(worker)

    def drop(self, ids: list[int]) -> None:
        """Has all workers forget programs, and ends those that have grown too large."""
        for worker in list(self.workers):
            try:
                worker.channel.send(DropRequest(ids))
                answer = worker.channel.receive(START_SECONDS)
                # Where a run was broken off, what came of it may still stand before the answer.
                while not (answer is None or isinstance(answer, Dropped)):
                    answer = worker.channel.receive(START_SECONDS)
            except (OSError, TimeoutError):
                answer = None
            if answer is None or answer.memory_bytes > _MOST_WORKER_BYTES:
                self.bury(worker)

    def close(self) -> None:
        """Ends all workers at once, whatever they do."""
        while self.workers:
            self.workers.pop().forget()
