"""``RemoteEngine``: builds here, times on devices behind TVM's own RPC tracker.

Programs are exported to archives, as TVM's ``RPCRunner`` does it; each is timed in a session of its
own, which the tracker grants and the device's server ends when it hangs. A device that goes away
costs no candidate: the one it was timing is tried again on the next device that answers. One that
was granted and falls silent has been frozen by its candidate, which fails of it.
"""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import socket
import struct
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure.engine import Engine
from wmhub.measure.messages import ArchiveRequest, Granted, NoTracker, Ran, RunnerSettings
from wmhub.measure.process import WorkerProcess
from wmhub.measure.rpc_session import session_seconds
from wmhub.records import FailureKind

#: How long a tracker may take to answer, in seconds.
_ANSWER_SECONDS = 10.0
#: By how much a server may be late in ending a session, in seconds.
_SILENCE_SECONDS = 10.0
#: Between two looks for a device that is not there, in seconds.
_LOOK_SECONDS = 1.0
_PLACE = re.compile(
    r"(?P<host>[^\s:/]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})/(?P<key>\S+)\Z", re.ASCII
)


@dataclass(frozen=True)
class Tracker:
    """Where devices are asked for."""

    host: str
    port: int
    key: str
    """Key under which the devices' servers have registered."""

    @classmethod
    def parse(cls, rpc: str) -> Tracker:
        """Parses ``HOST:PORT/KEY``; raises ``InvalidInputError``."""
        match = _PLACE.match(rpc)
        if not match or not 0 < int(match["port"]) < 1 << 16:
            raise InvalidInputError(
                f"{rpc!r} names no devices of a tracker: that is HOST:PORT/KEY, such as "
                "10.0.0.7:9190/a100"
            )
        return cls(match["host"].strip("[]"), int(match["port"]), match["key"])

    def __str__(self) -> str:
        return f"tracker {self.host}:{self.port}, device {self.key!r}"

    def devices(self) -> list[str]:
        """Host of each device that has registered under the key, idle or at work.

        Raises ``MeasureError`` where no tracker answers. TVM's own client would try for a minute.
        """
        from wmhub.tvm_compat import tvm

        base = tvm.rpc.base
        magic = struct.pack("<i", base.RPC_TRACKER_MAGIC)
        try:
            with socket.create_connection((self.host, self.port), _ANSWER_SECONDS) as connection:
                connection.sendall(magic)
                if base.recvall(connection, len(magic)) != magic:
                    raise ValueError("what answers there is no RPC tracker")
                base.sendjson(connection, [base.TrackerCode.SUMMARY])
                _, summary = base.recvjson(connection)
        except (OSError, ValueError) as error:
            raise MeasureError(f"{self}: the tracker does not answer: {error}") from error
        mine = (one for one in summary["server_info"] if one["key"] == f"server:{self.key}")
        return [str(server["addr"][0]) for server in mine]

    def boards(self) -> int:
        """How many devices can be used at once, at least 1: as many as there are, if each is a host
        of its own. Several servers of one host may stand for one board, whose programs would
        disturb each other, and a tracker cannot be told which of them to grant."""
        hosts = self.devices()
        return max(1, len(hosts)) if len({*hosts}) == len(hosts) else 1

    def require_device(self, patience_seconds: float = 0.0) -> None:
        """Waits for a device for so long; raises ``MeasureError`` where none has registered."""
        until = time.monotonic() + patience_seconds
        while not self.devices():
            if time.monotonic() >= until:
                raise MeasureError(f"{self}: no such device has registered at the tracker")
            time.sleep(_LOOK_SECONDS)


@dataclass
class _Runner:
    """A process that times one program after the other on devices of the tracker."""

    process: WorkerProcess
    busy_with: int | None = None
    """Handle of the program that it times, or waits for a device for."""
    deadline: float = 0.0
    """When that has taken too long, by the monotonic clock."""
    is_granted: bool = False
    """Whether it has a device."""


class RemoteEngine(Engine):
    """An ``Engine`` whose programs run on the devices of a tracker, on all of its `Tracker.boards`
    at once."""

    _forks = False

    def __init__(
        self,
        target: dict[str, Any],
        *,
        tracker: Tracker,
        patience_seconds: float = 60.0,
        **limits: Any,
    ) -> None:
        """``patience_seconds``: how long to wait for a device before ``MeasureError``. ``limits``:
        as those of ``Engine``."""
        super().__init__(target, check=False, **limits)
        self._tracker = tracker
        self._patience = patience_seconds
        #: Devices that are used at once.
        self._most = 1
        #: Whether a device has run a trivial program.
        self._is_sound = False
        #: When a device was last heard of.
        self._heard = 0.0
        self._folder = Path(tempfile.mkdtemp(prefix="wmhub-remote-"))
        self._runners: list[_Runner] = []

    def close(self) -> None:
        """Ends all processes and removes the archives."""
        while self._runners:
            self._runners.pop().process.forget()
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def release(self, ids: Iterable[int]) -> None:
        """Forgets built programs and their archives."""
        ids = list(ids)
        for id_ in ids:
            (self._folder / f"{id_}.tar").unlink(missing_ok=True)
        super().release(ids)

    def _archive_path(self, id_: int) -> str | None:
        return str(self._folder / f"{id_}.tar")

    def wait_ready(self) -> None:
        """Waits for the workers, and for a device that runs a trivial program.

        Raises ``MeasureError`` where there is none.
        """
        super().wait_ready()
        if not self._is_sound:
            self.require_sound()
            self._is_sound = True

    def _time_built(self, ids: Sequence[int], report: Callable[[], None]) -> None:
        queue = deque(id_ for id_ in ids if self._candidates[id_].outcome is None)
        # Those that still time what a broken-off call wanted.
        for runner in [runner for runner in self._runners if runner.busy_with is not None]:
            self._runners.remove(runner)
            runner.process.forget()
        # Boards come and go.
        self._most, self._heard = self._tracker.boards(), time.monotonic()
        while queue or any(runner.busy_with is not None for runner in self._runners):
            while len(self._runners) < min(self._most, len(queue)):
                self._start_runner()
            for runner in self._runners[: self._most]:
                if runner.busy_with is None and queue:
                    self._give(runner, queue.popleft())
            self._wait_for_runners(queue)
            report()

    def _start_runner(self) -> None:
        there = self._tracker
        settings = RunnerSettings(self.target, there.host, there.port, there.key)
        process = WorkerProcess("wmhub.measure.remote_worker")
        process.tell(settings)
        self._runners.append(_Runner(process))
        process.wait_ready()

    def _give(self, runner: _Runner, id_: int) -> None:
        candidate = self._candidates[id_]
        runner.busy_with = id_
        runner.deadline = time.monotonic() + self._patience
        with contextlib.suppress(OSError):
            runner.process.channel.send(
                ArchiveRequest(
                    id_, str(candidate.archive), candidate.program.module, self.plan,
                    self._best.get(candidate.program.group), self._run_timeout,
                )
            )  # fmt: skip

    def _wait_for_runners(self, queue: deque[int]) -> None:
        busy = [runner for runner in self._runners if runner.busy_with is not None]
        until = min(runner.deadline for runner in busy)
        channels = {runner.process.channel: runner for runner in busy}
        wait = max(0.0, until - time.monotonic())
        readable, _, _ = select.select(list(channels), [], [], wait)
        for channel in readable:
            runner = channels[channel]
            id_ = runner.busy_with
            assert id_ is not None
            answer = channel.receive()
            if isinstance(answer, Granted):
                runner.is_granted = True
                session = session_seconds(self._run_timeout)
                runner.deadline = time.monotonic() + session + _SILENCE_SECONDS
                continue
            runner.busy_with, runner.is_granted = None, False
            if answer is None:
                self._runners.remove(runner)
                self._candidates[id_].lost_with_worker()
                runner.process.forget()
            elif isinstance(answer, NoTracker):
                raise MeasureError(f"{self._tracker}: {answer.problem}")
            else:
                assert isinstance(answer, Ran)
                self._heard = time.monotonic()
                if self._take_run(answer):
                    queue.append(id_)
        for runner in busy:
            if runner.busy_with is not None and runner.deadline <= time.monotonic():
                self._give_up(runner, queue)

    def _give_up(self, runner: _Runner, queue: deque[int]) -> None:
        """Ends a runner that has waited in vain: for its device to answer, or for a device."""
        id_ = runner.busy_with
        assert id_ is not None
        self._runners.remove(runner)
        runner.process.forget()
        others_work = any(other.is_granted for other in self._runners)
        is_alone = not others_work and time.monotonic() - self._heard >= self._patience
        if runner.is_granted:
            said = "the device was silent beyond the end of the program's session"
            self._candidates[id_].fail(FailureKind.RUN_TIMEOUT, said)
        elif is_alone:
            raise MeasureError(
                f"{self._tracker}: no device has answered for {self._patience:g} s; start its "
                "server again and repeat the call, which goes on where it was (tune with its "
                "output as --database)"
            )
        else:
            # Somebody else has that board; the others are at work.
            self._most = max(1, self._most - 1)
            queue.append(id_)
