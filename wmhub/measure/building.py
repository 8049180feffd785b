"""Compiles candidates with all workers of a crew, each taking the next as it becomes free."""

from __future__ import annotations

import contextlib
import math
import select
import statistics
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wmhub.measure.candidate import InFlight
from wmhub.measure.crew import Crew
from wmhub.measure.messages import BuildRequest, Built
from wmhub.measure.process import WorkerProcess
from wmhub.records import FailureKind

#: Builds that tell what is usual, and what is never too long, in seconds: a lost worker costs as
#: much, with the programs that it held.
_ENOUGH_BUILDS, _LEAST_SECONDS = 8, 4.0


@dataclass(frozen=True)
class Build:
    """A candidate to be compiled."""

    id: int
    """What its worker knows it by."""
    candidate: InFlight
    path: str | None
    """Where to export it to; ``None`` to keep it linked in its worker."""


@dataclass
class Patience:
    """When a build is given up, with its worker."""

    timeout_seconds: float
    """After so long in any case."""
    ratio: float = math.inf
    """After so many times the median of the group's builds so far, too; LLVM takes 50 times as long
    for some candidates, and none of those is worth its trial."""
    _seconds: dict[str, list[float]] = field(default_factory=dict)

    def learn(self, group: str, seconds: float) -> None:
        """Takes note of a build of ``group`` that succeeded: one that fails may do so at once."""
        self._seconds.setdefault(group, []).append(seconds)

    def seconds(self, group: str) -> float:
        """How long a build of ``group`` may take now."""
        known = self._seconds.get(group, ())
        if len(known) < _ENOUGH_BUILDS:
            return self.timeout_seconds
        usual = max(_LEAST_SECONDS, self.ratio * statistics.median(known))
        return min(self.timeout_seconds, usual)


@dataclass
class Building:
    """The compilation of some candidates by ``crew``."""

    crew: Crew
    patience: Patience
    _queue: deque[Build] = field(default_factory=deque)
    _at_work: dict[WorkerProcess, tuple[Build, float]] = field(default_factory=dict)
    """What each worker compiles, and since when."""

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
        self._at_work[worker] = build, time.monotonic()
        module = build.candidate.program.module
        # A worker that is gone shows in the answer that does not come.
        with contextlib.suppress(OSError):
            worker.channel.send(BuildRequest(build.id, module, build.path))

    def _wait(self) -> None:
        until = min(self._ends(build, began) for build, began in self._at_work.values())
        channels = {worker.channel: worker for worker in self._at_work}
        readable, _, _ = select.select(list(channels), [], [], max(0.0, until - time.monotonic()))
        for channel in readable:
            self._take(channels[channel])
        now = time.monotonic()
        for worker, (build, began) in list(self._at_work.items()):
            end = self._ends(build, began)
            if end <= now:
                message = f"killed after {end - began:.3g} s"
                build.candidate.build_seconds = end - began
                build.candidate.fail(FailureKind.BUILD_TIMEOUT, message)
                del self._at_work[worker]
                self.crew.bury(worker)

    def _ends(self, build: Build, began: float) -> float:
        """When it is given up, by the monotonic clock, in seconds."""
        return began + self.patience.seconds(build.candidate.program.group)

    def _take(self, worker: WorkerProcess) -> None:
        build, _ = self._at_work[worker]
        candidate = build.candidate
        answer = worker.channel.receive()
        if answer is not None and not (isinstance(answer, Built) and answer.id == build.id):
            return  # It is of a call that was broken off.
        del self._at_work[worker]
        if answer is None:
            candidate.lost_process(*worker.death())
            self.crew.bury(worker)
            if candidate.outcome is None:
                self._queue.append(build)
            return
        candidate.build_seconds = answer.seconds
        if answer.failure is not None:
            candidate.fail(answer.failure, answer.message)
            return
        self.patience.learn(candidate.program.group, answer.seconds)
        if build.path is None:
            candidate.home = worker
        else:
            candidate.archive = Path(build.path)
