"""Compiles candidates with all workers of a crew, each taking the next as it becomes free."""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wmhub.measure.candidate import Candidate
from wmhub.measure.crew import Crew
from wmhub.measure.process import WorkerProcess
from wmhub.records import FailureKind


@dataclass(frozen=True)
class Build:
    """A candidate to be compiled."""

    id: int
    """What its worker knows it by."""
    candidate: Candidate
    path: str | None
    """Where to export it to; ``None`` to keep it linked in its worker."""


@dataclass
class Building:
    """The compilation of some candidates by ``crew``."""

    crew: Crew
    timeout_seconds: float
    """After this a build is given up, with its worker."""
    _queue: deque[Build] = field(default_factory=deque)
    _at_work: dict[WorkerProcess, tuple[Build, float]] = field(default_factory=dict)
    """What each worker compiles, and when that has taken too long."""

    def run(self, builds: Iterable[Build]) -> None:
        """Compiles all; afterwards each candidate is built or has failed."""
        self._queue.extend(builds)
        while self._queue or self._at_work:
            if self._queue:
                self.crew.wait_ready()
            for worker in self.crew.workers:
                if worker not in self._at_work and self._queue:
                    self._start(worker, self._queue.popleft())
            self._wait()

    def _start(self, worker: WorkerProcess, build: Build) -> None:
        self._at_work[worker] = build, time.monotonic() + self.timeout_seconds
        module = build.candidate.program.module
        # A worker that is gone shows in the answer that does not come.
        with contextlib.suppress(OSError):
            worker.channel.send(
                {"do": "build", "id": build.id, "module": module, "path": build.path}
            )

    def _wait(self) -> None:
        until = min(deadline for _, deadline in self._at_work.values())
        channels = {worker.channel: worker for worker in self._at_work}
        readable, _, _ = select.select(list(channels), [], [], max(0.0, until - time.monotonic()))
        for channel in readable:
            self._take(channels[channel])
        now = time.monotonic()
        for worker, (build, deadline) in list(self._at_work.items()):
            if deadline <= now:
                message = f"killed after {self.timeout_seconds:g} s"
                build.candidate.fail(FailureKind.BUILD_TIMEOUT, message)
                del self._at_work[worker]
                self.crew.bury(worker)

    def _take(self, worker: WorkerProcess) -> None:
        build, _ = self._at_work.pop(worker)
        candidate = build.candidate
        answer = worker.channel.receive()
        if answer is None:
            candidate.lost_process(*worker.death())
            self.crew.bury(worker)
            if candidate.outcome is None:
                self._queue.append(build)
            return
        candidate.build_seconds = answer["seconds"]
        if answer["failure"] is not None:
            candidate.fail(FailureKind(answer["failure"]), answer["message"])
        elif build.path is None:
            candidate.home = worker
        else:
            candidate.archive = Path(build.path)
