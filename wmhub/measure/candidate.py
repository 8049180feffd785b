"""``InFlight``: a program on its way through an engine, and what became of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from wmhub.measure.process import WorkerProcess
from wmhub.records import FailureKind

#: How often a candidate is tried that lost its process to someone's SIGKILL.
_TRIES = 2


@dataclass(frozen=True)
class Program:
    """One scheduled program to be measured."""

    module: str
    """The IRModule, as ``programs.save_program`` gives it."""
    group: str = ""
    """Programs of one group compute the same: a slow one is measured less than the group's best."""


@dataclass(frozen=True)
class Measurement:
    """What became of one program."""

    run_seconds: tuple[float, ...]
    """Timings in seconds, all that count; empty for a failure."""
    failure: FailureKind | None
    message: str
    """Why it failed, for people; empty otherwise."""
    build_seconds: float
    """Time to compile and link it, in seconds."""
    wall_seconds: float
    """Time to run it for all its timings, in seconds."""


def mostly_failed(batch: Collection[Measurement]) -> bool:
    """Whether the machine may be to blame, and not the programs of ``batch``."""
    return 2 * sum(one.failure is not None for one in batch) > len(batch)


@dataclass
class InFlight:
    """A program on its way through an engine."""

    program: Program
    home: WorkerProcess | None = None
    """The worker that holds it linked, as long as that lives."""
    archive: Path | None = None
    """The file that it was exported to, instead."""
    build_seconds: float = 0.0
    """Time to compile and link it, in seconds."""
    tries: int = 0
    """How often it lost its process."""
    outcome: Measurement | None = None
    """What became of it; ``None`` while that is open."""

    @property
    def is_built(self) -> bool:
        """Whether it can be run without being compiled first."""
        return self.archive is not None or (self.home is not None and not self.home.is_gone)

    def lost_process(
        self, kind: FailureKind, message: str, may_be_innocent: bool, wall_seconds: float = 0.0
    ) -> None:
        """Counts a try that ended its process; gives up where that may be its own doing."""
        self.tries += 1
        if not may_be_innocent or self.tries >= _TRIES:
            self.fail(kind, message, wall_seconds)

    def lost_with_worker(self) -> None:
        """Counts a try that ended with the worker's death; gives up after some."""
        self.tries += self.outcome is None
        if self.outcome is None and self.tries > _TRIES:
            self.fail(FailureKind.CRASH, f"its worker was killed {self.tries} times")

    def fail(self, kind: FailureKind, message: str, wall_seconds: float = 0.0) -> None:
        """Notes why it has no latency."""
        self.outcome = Measurement((), kind, message, self.build_seconds, wall_seconds)
