"""``python -m wmhub.measure.remote_worker DESCRIPTOR`` times archives on a tracker's devices.

A process of its own, because a call that waits for a tracker or a device can only be killed.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wmhub.measure.failure import run_failure, shortened
from wmhub.measure.messages import ArchiveRequest, Granted, NoTracker, Ran, Ready, RunnerSettings
from wmhub.measure.rpc_session import session_seconds, use_cores_of
from wmhub.measure.timing import ProgramTimer, rounds
from wmhub.measure.wire import Channel
from wmhub.records import FailureKind

#: What TVM puts before every error of the other side.
_FROM_THERE = "Error caught from RPC call:"


class _TooLongError(Exception):
    """A run took longer than it may."""


def time_archive(
    settings: RunnerSettings, request: ArchiveRequest, granted: Callable[[], None]
) -> Ran | NoTracker:
    """Times one archive in a session of its own; the answer for the engine.

    ``granted`` is called when there is a device: from then on silence is the candidate's fault. A
    device that went away, which the candidate may have caused or not, leaves it innocent: the
    engine tries it once more.
    """
    from wmhub.tvm_compat import tvm

    try:
        tracker = tvm.rpc.connect_tracker(settings.host, settings.port)
    except Exception as error:  # TVM raises its own kinds, which differ by version.
        return NoTracker(f"the tracker does not answer: {error}")
    limit = session_seconds(request.timeout_seconds)
    started = time.perf_counter()
    try:
        session = tracker.request(settings.key, session_timeout=limit)
        ends = time.perf_counter() + limit
        granted()
        use_cores_of(session, settings.target)
        function, device, arguments = _load(session, settings.target, request)
        seconds = _time(function, device, arguments, request, ends)
    except Exception as error:  # TVM raises its own kinds, which differ by version.
        text = f"{type(error).__name__}: {error}"
        kind, is_innocent = _failure(error, text)
        wall = time.perf_counter() - started
        return Ran(request.id, [], wall, kind, shortened(text), is_innocent)
    return Ran(request.id, seconds, time.perf_counter() - started)


def _load(
    session: Any, target: dict[str, Any], request: ArchiveRequest
) -> tuple[Any, Any, Sequence[Any]]:
    from wmhub.measure.programs import argument_info, device_name, load_program, random_arguments

    path = Path(request.path)
    session.upload(str(path))
    linked = session.load_module(path.name)
    device = session.device(device_name(target["kind"]), 0)
    fill = session.get_function("tvm.contrib.random.random_fill_for_measure")
    information = argument_info(load_program(request.module))
    arguments = random_arguments(information, device, fill)
    return linked, device, arguments


def _time(
    linked: Any, device: Any, arguments: Sequence[Any], request: ArchiveRequest, ends: float
) -> list[float]:
    """Timings in seconds; of a program so slow that the session ``ends`` before all that the plan
    asks for, as many as there is time for."""
    from wmhub.measure.programs import evaluator

    plan, most = request.plan, request.timeout_seconds

    def run_many(number: int, repeats: int) -> Sequence[float]:
        return evaluator(linked, device, number, repeats, plan.flush_cache)(*arguments)

    # The clock here would count the network: even a single run is timed over there.
    timer = ProgramTimer(lambda: run_many(1, 1)[0], run_many, plan)
    longest = 0.0
    for ((_, step),) in rounds({0: timer}, plan, request.best):
        began = time.perf_counter()
        if longest and began + longest > ends:
            break
        try:
            step()
        except Exception as error:
            if time.perf_counter() - began >= most:
                raise _TooLongError(f"a run did not end within {most:g} s") from error
            raise
        if timer.estimate > most:
            raise _TooLongError(f"a run took {timer.estimate:.3g} s of {most:g}")
        longest = max(longest, time.perf_counter() - began)
    return timer.seconds or [timer.estimate]


def _failure(error: Exception, text: str) -> tuple[FailureKind, bool]:
    """What went wrong, and whether the device may be to blame."""
    if isinstance(error, _TooLongError):
        return FailureKind.RUN_TIMEOUT, False
    _, is_from_there, theirs = text.partition(_FROM_THERE)
    if is_from_there:
        # The device is there and says it: the program is to blame, as it would be here.
        return run_failure(theirs), False
    gone = ("connection", "closed", "rpc", "socket", "eof", "broken pipe", "reset by peer")
    if any(word in text.lower() for word in gone):
        return FailureKind.CRASH, True
    return run_failure(text), False


def main(descriptor: int) -> None:
    """Serves the engine at the other end of ``descriptor`` until it hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor))
    settings = channel.receive()
    if settings is None:
        return
    assert isinstance(settings, RunnerSettings)
    from wmhub.tvm_compat import use_target, without_torch

    without_torch()
    use_target(settings.target)
    channel.send(Ready())
    while (request := channel.receive()) is not None:
        assert isinstance(request, ArchiveRequest)
        channel.send(time_archive(settings, request, lambda: channel.send(Granted())))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(int(sys.argv[1]))
