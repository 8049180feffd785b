"""``MeasureRecord``: one measured program as the log had it, lossless.

The waist of the house: every log format and the live measurement produce these, and everything
below sees nothing else. A record holds raw facts only; latency, features and action tokens are
computed when reading.
"""

from __future__ import annotations

import enum
import hashlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

_ID_BYTES = 10


class Scheduler(str, enum.Enum):
    """Which of TVM's two auto-schedulers wrote a trace."""

    AUTO_SCHEDULER = "auto_scheduler"
    """Classic AutoScheduler (Ansor), TVM 0.8 to 0.19."""
    META_SCHEDULE = "meta_schedule"
    """MetaSchedule, TVM 0.8 to today."""

    def __str__(self) -> str:
        return self.value


class FailureKind(str, enum.Enum):
    """Why a candidate has no latency. The first eight are Ansor's ``MeasureErrorNo`` 1 to 8."""

    INSTANTIATION = "instantiation"
    COMPILE_HOST = "compile_host"
    COMPILE_DEVICE = "compile_device"
    RUNTIME_DEVICE = "runtime_device"
    WRONG_ANSWER = "wrong_answer"
    BUILD_TIMEOUT = "build_timeout"
    RUN_TIMEOUT = "run_timeout"
    UNKNOWN = "unknown"
    CRASH = "crash"
    """The process that built or ran the candidate died."""
    OUT_OF_MEMORY = "out_of_memory"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Workload:
    """One computation to be scheduled."""

    id: str
    """``workload_id`` of the three fields below."""
    scheduler: Scheduler
    key: str
    """Ansor: the workload key, JSON text. MetaSchedule: the structural hash, decimal."""
    program: str | None
    """MetaSchedule: base64 of the serialised IRModule as the database had it. ``None`` where the
    log does not hold the program (always for Ansor) or the workload file was missing."""

    @property
    def program_key(self) -> ProgramKey:
        """What all workloads of one program share, in whatever form it was serialised."""
        return self.scheduler, self.key

    @property
    def identities(self) -> frozenset[str]:
        """What it shares with every other record of its program, one or the other: the id, and of
        MetaSchedule's the key. Two versions of TVM serialise one program differently, which gives
        it two ids and one key."""
        if self.scheduler is Scheduler.AUTO_SCHEDULER:
            return frozenset((self.id,))
        return frozenset((self.id, f"{self.scheduler}:{self.key}"))


@dataclass(frozen=True)
class MeasureRecord:
    """One measured candidate of one workload."""

    workload_id: str
    """``Workload.id``."""
    scheduler: Scheduler
    """Which scheduler wrote ``trace``."""
    trace: str
    """Compact JSON text. Ansor: the list of transform steps. MetaSchedule: ``[instructions,
    decisions]``."""
    target: str
    """Compact JSON text of the target: a string or an object, as the log had it."""
    run_seconds: tuple[float, ...]
    """Each repeat's run time in seconds, as the log had it; failed ones hold the log's marker
    (Ansor ``1e10``, MetaSchedule ``1e9`` or larger, or nothing)."""
    failure: FailureKind | None
    """``None`` when the candidate ran; then ``run_seconds`` is positive and finite."""
    measure_seconds: float | None
    """Wall time of building and measuring, in seconds, where the log has it."""
    timestamp: float | None
    """When it was measured, Unix seconds, where the log has it."""
    log_version: str
    """Version that the line carries (Ansor ``v0.2`` to ``v0.6``), or ``""``."""
    context: str
    """Compact JSON text of all else the line held. Ansor: items of ``i[0]`` after the target.
    MetaSchedule: the argument info."""
    source: str
    """File that the record came from, as it is to be named in the dataset."""
    line: int
    """1-based line in ``source``."""

    @property
    def row(self) -> Row:
        """The fields in their order."""
        return (
            self.workload_id,
            self.scheduler,
            self.trace,
            self.target,
            self.run_seconds,
            self.failure,
            self.measure_seconds,
            self.timestamp,
            self.log_version,
            self.context,
            self.source,
            self.line,
        )

    @property
    def latency_seconds(self) -> float | None:
        """Median of ``run_seconds``, in seconds; ``None`` for a failed candidate."""
        if self.failure is not None:
            return None
        return statistics.median(self.run_seconds)


if TYPE_CHECKING:
    ProgramKey = tuple[Scheduler, str]
    #: The fields of a ``MeasureRecord`` in their order: what a reader makes of each line of a log
    #: of millions, where making the object costs more than all that is done with it.
    Row = tuple[
        str,
        Scheduler,
        str,
        str,
        tuple[float, ...],
        FailureKind | None,
        float | None,
        float | None,
        str,
        str,
        str,
        int,
    ]


def workload_id(scheduler: Scheduler, key: str, program: bytes | None) -> str:
    """Id of a workload, the same on every machine: ``w`` and 20 hexadecimal digits.

    Where the serialised ``program`` (decoded bytes) is known, the id is its digest, because TVM's
    structural hashes were platform dependent once (apache/tvm PR #14188); else the ``key``'s.
    """
    body = program if program is not None else key.encode()
    return "w" + _digest(scheduler.value.encode(), body)


def candidate_id(workload: str, trace: str) -> str:
    """Id of one program: workload and compact trace; ``c`` and 20 hexadecimal digits."""
    return candidate_ids(workload)(trace)


def candidate_ids(workload: str) -> Callable[[str], str]:
    """``candidate_id`` of many traces of one ``workload``."""
    begun = _framed(hashlib.blake2b(digest_size=_ID_BYTES), workload.encode())

    def candidate_id_of(trace: str) -> str:
        return "c" + _framed(begun.copy(), trace.encode()).hexdigest()

    return candidate_id_of


def _digest(first: bytes, second: bytes) -> str:
    return _framed(_framed(hashlib.blake2b(digest_size=_ID_BYTES), first), second).hexdigest()


def _framed(digest: hashlib.blake2b, body: bytes) -> hashlib.blake2b:
    """``digest`` after ``body`` with its length before it."""
    digest.update(len(body).to_bytes(8, "little") + body)
    return digest
