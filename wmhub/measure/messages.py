"""What an engine and its processes tell each other, and the same as bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import orjson

from wmhub.measure.timing import TimingPlan
from wmhub.records import FailureKind


@dataclass(frozen=True)
class WorkerSettings:
    """The first message to a ``worker``."""

    target: dict[str, Any]
    """As ``tvm.target.Target`` takes it."""
    memory_bytes: int
    """What one program may allocate."""
    check: bool
    """Whether to run a trivial program first."""
    turn: str
    """Path of the ``Turn``."""
    environment: dict[str, str]
    """Variables that kernels and their compilers look at."""


@dataclass(frozen=True)
class RunnerSettings:
    """The first message to a ``remote_worker``."""

    target: dict[str, Any]
    """As ``tvm.target.Target`` takes it."""
    host: str
    """Of the tracker."""
    port: int
    """Of the tracker."""
    key: str
    """Of the devices."""


@dataclass(frozen=True)
class Ready:
    """A process serves, or cannot."""

    problem: str = ""
    """Why it cannot; empty where it does."""


@dataclass(frozen=True)
class BuildRequest:
    """Compile a program."""

    id: int
    module: str
    """As ``save_program`` gives it."""
    path: str | None
    """Where to export it to; ``None`` to keep it linked."""


@dataclass(frozen=True)
class Built:
    """How a build went."""

    id: int
    seconds: float
    """What it took."""
    failure: FailureKind | None = None
    message: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class RunRequest:
    """Time linked programs of one group."""

    ids: list[int]
    plan: TimingPlan
    best: float | None
    """Best latency of the group so far, in seconds."""
    timeout_seconds: float
    """What one step of a program may take."""


@dataclass(frozen=True)
class ArchiveRequest:
    """Time a program that was exported."""

    id: int
    path: str
    """Of the archive."""
    module: str
    """As ``save_program`` gives it."""
    plan: TimingPlan
    best: float | None
    """Best latency of its group so far, in seconds."""
    timeout_seconds: float
    """What one run may take."""


@dataclass(frozen=True)
class Ran:
    """What became of a program that was to be timed."""

    id: int
    run_seconds: list[float]
    """Timings; none of one that failed."""
    wall_seconds: float
    """What they took together."""
    failure: FailureKind | None = None
    message: str = ""
    """Why it failed."""
    is_innocent: bool = False
    """Whether the device may be to blame, and another try is worth it."""


@dataclass(frozen=True)
class Turning:
    """Whose time the child of a worker now takes."""

    id: int | None
    """A program's; ``None`` for none's."""


@dataclass(frozen=True)
class DropRequest:
    """Forget linked programs."""

    ids: list[int]


@dataclass(frozen=True)
class Dropped:
    """They are forgotten."""

    memory_bytes: int
    """What the process still holds."""


@dataclass(frozen=True)
class Granted:
    """A device is there: from now on silence is the program's fault."""


@dataclass(frozen=True)
class NoTracker:
    """The tracker does not answer."""

    problem: str


Message = (
    WorkerSettings
    | RunnerSettings
    | Ready
    | BuildRequest
    | Built
    | RunRequest
    | ArchiveRequest
    | Ran
    | Turning
    | DropRequest
    | Dropped
    | Granted
    | NoTracker
)
_KINDS: dict[str, Callable[..., Message]] = {kind.__name__: kind for kind in get_args(Message)}
#: Fields that are more than JSON, and what makes them of it.
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "plan": lambda fields: TimingPlan(**fields),
    "failure": lambda value: value and FailureKind(value),
}


def encoded(message: Message) -> bytes:
    """``message`` as JSON: its kind and its fields."""
    return orjson.dumps([type(message).__name__, message])


def decoded(body: bytes) -> Message:
    """The inverse of `encoded`."""
    kind, fields = orjson.loads(body)
    for name, made in _FIELDS.items():
        if name in fields:
            fields[name] = made(fields[name])
    return _KINDS[kind](**fields)
