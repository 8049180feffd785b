"""A worker process of the engine: compiles programs, keeps them linked, and has them timed.

``python -m wmhub.measure.worker DESCRIPTOR`` speaks with the engine over a socket. Programs are
linked in process, without archive, compiler or file. They are timed in a forked child, which finds
all of them in its memory: when one crashes, hangs or exhausts the memory, only the child is lost,
and the next child goes on with the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmhub.measure.child import (
    ask_for_priority,
    cause_of_death,
    in_child,
    limit_memory,
    own_bytes,
    wait_for_threads,
)
from wmhub.measure.failure import attempt, build_failure, run_failure, shortened
from wmhub.measure.lock import Turn
from wmhub.measure.messages import (
    BuildRequest,
    Built,
    Dropped,
    DropRequest,
    Message,
    Ran,
    Ready,
    RunRequest,
    Turning,
    WorkerSettings,
)
from wmhub.measure.timing import ProgramTimer, TimingPlan, rounds
from wmhub.measure.wire import Channel
from wmhub.records import FailureKind
from wmhub.tvm_compat import without_torch

if TYPE_CHECKING:
    from wmhub.measure.programs import Arguments

#: Id of the program of ``Worker.check``, and its time limit: a GPU's context may take long.
_CHECK = -1
_CHECK_SECONDS = 60.0


class Worker:
    """Linked programs by their id, and what is done with them."""

    def __init__(
        self, channel: Channel, target: dict[str, Any], memory_bytes: int, turn: Turn
    ) -> None:
        from wmhub.measure.programs import device_name
        from wmhub.tvm_compat import use_target

        self._channel = channel
        # The programs that come are scheduled: CUDA's intrinsics alone would take eleven seconds.
        self._target = use_target(target, intrinsics=False)
        self._device = device_name(str(self._target.kind.name))
        self._memory_bytes = memory_bytes
        self._turn = turn
        self._programs: dict[int, tuple[Any, list[Any]]] = {}
        #: Every program for a GPU, dropped or not: TVM asks the driver when it frees one, and a
        #: process that has spoken with the driver cannot be forked into one that runs programs. A
        #: worker that has grown too large is replaced.
        self._kept: list[Any] = []

    def serve(self, request: Message) -> None:
        """Does what the engine asks for, and answers."""
        if isinstance(request, BuildRequest):
            self._channel.send(self.build(request))
        elif isinstance(request, RunRequest):
            self.run(request)
        elif isinstance(request, DropRequest):
            self._channel.send(self.drop(request.ids))
        else:
            raise TypeError(f"a worker is never asked for {request}")

    def build(self, request: BuildRequest) -> Built:
        """Compiles and links one program, or exports it; says how that went."""
        started = time.perf_counter()
        failure = attempt(
            lambda: self._build(request.id, request.module, request.path), build_failure
        )
        return Built(request.id, time.perf_counter() - started, *(failure or ()))

    def _build(self, id_: int, text: str, path: str | None) -> None:
        from wmhub.measure.programs import argument_info, compile_program, load_program

        module = load_program(text)
        executable = compile_program(module, self._target)
        if path is not None:
            from tvm.support.tar import tar

            executable.export_library(path, fcompile=tar)
            return
        if self._device != "cpu":
            self._kept.append(executable)
        linked = executable.jit()
        # Asking for the function is what makes LLVM generate its code.
        linked.get_function(linked.entry_name)
        self._programs[id_] = (linked, argument_info(module))

    def run(self, request: RunRequest) -> None:
        """Times programs, never two at once; answers each as it is done."""
        waiting = request.ids
        while waiting:
            request = dataclasses.replace(request, ids=waiting)
            waiting = self._run_in_child(request, self._channel.send)

    def check(self) -> str:
        """Builds and times a trivial program; why that is impossible, or nothing.

        Without it, whatever ails the machine would be written down as each candidate's failure.
        """
        from wmhub.measure.programs import save_program, trivial_program

        answers: list[Ran] = []
        plan = TimingPlan(rounds=1, extra_rounds=0)
        try:
            self._build(_CHECK, save_program(trivial_program(self._target)), None)
            self._run_in_child(RunRequest([_CHECK], plan, None, _CHECK_SECONDS), answers.append)
        except Exception as error:  # Whatever it is, the engine tells the user.
            return shortened(f"{type(error).__name__}: {error}")
        del self._programs[_CHECK]
        (ran,) = answers
        return f"{ran.failure}: {ran.message}" if ran.failure is not None else ""

    def drop(self, ids: Sequence[int]) -> Dropped:
        """Forgets the programs ``ids``."""
        for id_ in ids:
            self._programs.pop(id_, None)
        return Dropped(own_bytes(1))

    def _run_in_child(self, request: RunRequest, send: Callable[[Ran], None]) -> list[int]:
        """Times programs in one child until it ends; returns those that are still to be timed."""
        ours, theirs = Channel.pair()
        pid = os.fork()
        if pid == 0:
            in_child(lambda: self._time_all(theirs, request))
        theirs.close()
        waiting = list(request.ids)
        current, is_waiting, began = waiting[0], False, time.perf_counter()
        try:
            while waiting:
                # A program is not to blame for the time that the other workers' take.
                limit = None if is_waiting else request.timeout_seconds
                answer = self._next_answer(ours, limit)
                if answer is None:
                    current = current if current in waiting else waiting[0]
                    cause = cause_of_death(os.waitpid(pid, 0)[1])
                    send(Ran(current, [], time.perf_counter() - began, *cause))
                    waiting.remove(current)
                    pid = 0
                    break
                if isinstance(answer, Turning):
                    is_waiting, began = answer.id is None, time.perf_counter()
                    current = current if answer.id is None else answer.id
                    continue
                assert isinstance(answer, Ran)
                send(answer)
                waiting.remove(answer.id)
                if answer.failure is not None:
                    break
        except TimeoutError:
            said = f"killed after {request.timeout_seconds:g} s"
            send(Ran(current, [], request.timeout_seconds, FailureKind.RUN_TIMEOUT, said))
            waiting.remove(current)
        finally:
            ours.close()
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return waiting

    def _next_answer(self, child: Channel, timeout_seconds: float | None) -> Message | None:
        """The child's next answer. Ends this process when the engine has gone meanwhile."""
        readable, _, _ = select.select([child, self._channel], [], [], timeout_seconds)
        if self._channel in readable and child not in readable:
            # The engine sends nothing while it waits for us, so this is the end of its socket.
            raise SystemExit
        if not readable:
            raise TimeoutError
        return child.receive()

    def _time_all(self, channel: Channel, request: RunRequest) -> None:
        from wmhub.measure.programs import Arguments
        from wmhub.tvm_compat import tvm

        self._channel.close()
        ask_for_priority()
        if self._device == "cpu":
            # A GPU's driver maps far more address space than it uses.
            limit_memory(self._memory_bytes)
        plan = request.plan
        arguments = Arguments(tvm.runtime.device(self._device, 0))
        timers = {id_: self._timer(id_, arguments, plan) for id_ in request.ids}
        # A GPU's context takes half a second to make, which need not be one's turn, nor count as
        # the first program's time.
        channel.send(Turning(None))
        # What fails here fails again in the first program's step, which tells of it.
        with contextlib.suppress(Exception):
            tvm.runtime.device(self._device, 0).sync()
        wall = dict.fromkeys(request.ids, 0.0)
        for steps in rounds(timers, plan, request.best):
            with self._turn.held():
                for id_, step in steps:
                    channel.send(Turning(id_))
                    started = time.perf_counter()
                    failure = attempt(step, run_failure)
                    wall[id_] += time.perf_counter() - started
                    if failure is not None:
                        # A failed launch may leave the device's context unusable: the next child
                        # is clean.
                        channel.send(Ran(id_, [], wall[id_], *failure))
                        return
                # What follows is no program's time.
                channel.send(Turning(None))
                if self._device == "cpu":
                    wait_for_threads()
            _send_settled(channel, timers, wall)
        _send_settled(channel, timers, wall)

    def _timer(self, id_: int, arguments: Arguments, plan: TimingPlan) -> ProgramTimer:
        from wmhub.measure.programs import evaluator
        from wmhub.tvm_compat import tvm

        linked, info = self._programs[id_]
        device = tvm.runtime.device(self._device, 0)
        function = linked.get_function(linked.entry_name)

        def run_once() -> float:
            inputs = arguments.of(info)
            device.sync()
            start = time.perf_counter()
            function(*inputs)
            device.sync()
            return time.perf_counter() - start

        def run_many(number: int, repeats: int) -> Sequence[float]:
            return evaluator(linked, device, number, repeats, plan.flush_cache)(*arguments.of(info))

        return ProgramTimer(run_once, run_many, plan)


def _send_settled(
    channel: Channel, timers: dict[int, ProgramTimer], wall: dict[int, float]
) -> None:
    """Answers every program of ``wall`` whose timer is settled, and takes it out."""
    for id_ in [id_ for id_ in wall if timers[id_].is_settled]:
        channel.send(Ran(id_, timers[id_].seconds, wall.pop(id_)))


def _load_tvm() -> None:
    """Imports what every worker needs, whatever it is to work for.

    TVM's timings take a median, for which numpy loads ``ma`` when it is first asked: in every child
    anew, where it takes longer than to time a program.
    """
    import numpy.ma

    from wmhub.measure import programs
    from wmhub.tvm_compat import meta_schedule, tvm

    del numpy, programs, meta_schedule, tvm


def main(descriptor: int) -> None:
    """Serves the engine at the other end of ``descriptor`` until it hangs up."""
    # The engine decides what these mean; a terminal, and some supervisors, send them to all.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor))
    without_torch()
    _load_tvm()
    # A child would copy each page on which the collector leaves a mark.
    gc.freeze()
    settings = channel.receive()
    if settings is None:
        return
    assert isinstance(settings, WorkerSettings)
    # Read when the first kernel runs or is compiled.
    os.environ.update(settings.environment)
    turn = Turn(Path(settings.turn))
    worker = Worker(channel, settings.target, settings.memory_bytes, turn)
    channel.send(Ready(worker.check() if settings.check else ""))
    while (request := channel.receive()) is not None:
        worker.serve(request)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(int(sys.argv[1]))
