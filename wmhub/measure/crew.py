"""``Crew``: the worker processes of an engine, started together and replaced when they are lost."""

from __future__ import annotations

from wmhub.errors import MeasureError
from wmhub.measure.messages import Dropped, DropRequest, WorkerSettings
from wmhub.measure.process import START_SECONDS, WorkerProcess

#: A worker that holds more than this after a batch is replaced: LLVM's modules leave memory behind.
_MOST_WORKER_BYTES = 2 << 30


class Crew:
    """Workers that all run the same module with the same settings."""

    def __init__(
        self, module: str, count: int, settings: WorkerSettings, environment: dict[str, str]
    ) -> None:
        self.workers: list[WorkerProcess] = []
        """Those that live."""
        self._module, self._count = module, count
        self._settings, self._environment = settings, environment

    def start(self) -> None:
        """Starts workers that are missing, without waiting for them."""
        self.workers += [
            WorkerProcess(self._module, self._settings, self._environment)
            for _ in range(self._count - len(self.workers))
        ]

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
