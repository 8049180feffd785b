"""A worker process of the engine: compiles programs, keeps them linked, and has them timed.

``python -m wmhub.measure.worker DESCRIPTOR`` speaks with the engine over a socket. Programs are
linked in process, without archive, compiler or file. They are timed in a forked child, which finds
all of them in its memory: when one crashes, hangs or exhausts the memory, only the child is lost,
and the next child goes on with the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

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
from wmhub.measure.timing import ProgramTimer, TimingPlan, rounds
from wmhub.measure.wire import Channel
from wmhub.records import FailureKind
from wmhub.tvm_compat import without_torch

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

    def build(self, message: dict[str, Any]) -> None:
        """Compiles and links one program, or exports it to ``path``; answers how that went."""
        started = time.perf_counter()
        answer: dict[str, Any] = {"id": message["id"], "failure": None, "message": ""}
        failure = attempt(
            lambda: self._build(message["id"], message["module"], message.get("path")),
            build_failure,
        )
        if failure is not None:
            answer.update(failure=failure[0].value, message=failure[1])
        answer["seconds"] = time.perf_counter() - started
        self._channel.send(answer)

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

    def run(self, message: dict[str, Any]) -> None:
        """Times the programs ``ids``, never two at once; answers each as it is done."""
        waiting: list[int] = list(message["ids"])
        while waiting:
            waiting = self._run_in_child(waiting, message, self._channel.send)

    def check(self) -> str:
        """Builds and times a trivial program; why that is impossible, or nothing.

        Without it, whatever ails the machine would be written down as each candidate's failure.
        """
        from wmhub.measure.programs import save_program, trivial_program

        answers: list[dict[str, Any]] = []
        plan = dataclasses.asdict(TimingPlan(rounds=1, extra_rounds=0))
        message = {"plan": plan, "best": None, "timeout_seconds": _CHECK_SECONDS}
        try:
            self._build(_CHECK, save_program(trivial_program(self._target)), None)
            self._run_in_child([_CHECK], message, answers.append)
        except Exception as error:  # Whatever it is, the engine tells the user.
            return shortened(f"{type(error).__name__}: {error}")
        del self._programs[_CHECK]
        failed = answers[0]["failure"] is not None
        return f"{answers[0]['failure']}: {answers[0]['message']}" if failed else ""

    def drop(self, message: dict[str, Any]) -> None:
        """Forgets the programs ``ids``; answers how much memory this process holds, in bytes."""
        for id_ in message["ids"]:
            self._programs.pop(id_, None)
        self._channel.send({"memory": own_bytes(1)})

    def _run_in_child(
        self, ids: list[int], message: dict[str, Any], send: Callable[[dict[str, Any]], None]
    ) -> list[int]:
        """Times ``ids`` in one child until it ends; returns those that are still to be timed."""
        ours, theirs = Channel.pair()
        pid = os.fork()
        if pid == 0:
            in_child(lambda: self._time_all(theirs, ids, message))
        theirs.close()
        waiting = list(ids)
        current, is_waiting = ids[0], False
        try:
            while waiting:
                # A program is not to blame for the time that the other workers' take.
                limit = None if is_waiting else message["timeout_seconds"]
                answer = self._next_answer(ours, limit)
                if answer is None:
                    current = current if current in waiting else waiting[0]
                    send(_failure(current, *cause_of_death(os.waitpid(pid, 0)[1])))
                    waiting.remove(current)
                    pid = 0
                    break
                if "at" in answer:
                    is_waiting = answer["at"] is None
                    current = current if is_waiting else answer["at"]
                    continue
                send(answer)
                waiting.remove(answer["id"])
                if answer["failure"] is not None:
                    break
        except TimeoutError:
            seconds = message["timeout_seconds"]
            send(_failure(current, FailureKind.RUN_TIMEOUT, f"killed after {seconds:g} s"))
            waiting.remove(current)
        finally:
            ours.close()
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return waiting

    def _next_answer(self, child: Channel, timeout_seconds: float | None) -> dict[str, Any] | None:
        """The child's next answer. Ends this process when the engine has gone meanwhile."""
        readable, _, _ = select.select([child, self._channel], [], [], timeout_seconds)
        if self._channel in readable and child not in readable:
            # The engine sends nothing while it waits for us, so this is the end of its socket.
            raise SystemExit
        if not readable:
            raise TimeoutError
        return child.receive()

    def _time_all(self, channel: Channel, ids: Sequence[int], message: dict[str, Any]) -> None:
        from wmhub.tvm_compat import tvm

        self._channel.close()
        ask_for_priority()
        if self._device == "cpu":
            # A GPU's driver maps far more address space than it uses.
            limit_memory(self._memory_bytes)
        plan = TimingPlan(**message["plan"])
        arguments: dict[str, list[Any]] = {}
        timers = {id_: self._timer(id_, arguments, plan) for id_ in ids}
        # A GPU's context takes half a second to make, which need not be one's turn, nor count as
        # the first program's time.
        channel.send({"at": None})
        # What fails here fails again in the first program's step, which tells of it.
        with contextlib.suppress(Exception):
            tvm.runtime.device(self._device, 0).sync()
        wall = dict.fromkeys(ids, 0.0)
        for steps in rounds(timers, plan, message["best"]):
            with self._turn.held():
                for id_, step in steps:
                    channel.send({"at": id_})
                    started = time.perf_counter()
                    failure = attempt(step, run_failure)
                    wall[id_] += time.perf_counter() - started
                    if failure is not None:
                        # A failed launch may leave the device's context unusable: the next child
                        # is clean.
                        channel.send({**_failure(id_, *failure), "wall": wall[id_]})
                        return
                # What follows is no program's time.
                channel.send({"at": None})
                if self._device == "cpu":
                    wait_for_threads()
            _send_settled(channel, timers, wall)
        _send_settled(channel, timers, wall)

    def _timer(self, id_: int, cache: dict[str, list[Any]], plan: TimingPlan) -> ProgramTimer:
        from wmhub.measure.programs import evaluator, random_arguments
        from wmhub.tvm_compat import tvm

        linked, info = self._programs[id_]
        device = tvm.runtime.device(self._device, 0)
        key = orjson.dumps(info).decode()
        function = linked.get_function(linked.entry_name)

        def arguments() -> list[Any]:
            if key not in cache:
                cache.clear()
                cache[key] = random_arguments(info, device)
            return cache[key]

        def run_once() -> float:
            inputs = arguments()
            device.sync()
            start = time.perf_counter()
            function(*inputs)
            device.sync()
            return time.perf_counter() - start

        def run_many(number: int, repeats: int) -> Sequence[float]:
            return evaluator(linked, device, number, repeats, plan.flush_cache)(*arguments())

        return ProgramTimer(run_once, run_many, plan)


def _send_settled(
    channel: Channel, timers: dict[int, ProgramTimer], wall: dict[int, float]
) -> None:
    """Answers every program of ``wall`` whose timer is settled, and takes it out."""
    for id_ in [id_ for id_ in wall if timers[id_].is_settled]:
        answer = {"id": id_, "failure": None, "message": "", "seconds": timers[id_].seconds}
        channel.send({**answer, "wall": wall.pop(id_)})


def _failure(id_: int, kind: FailureKind, why: str, again: bool = False) -> dict[str, Any]:
    return {
        "id": id_,
        "failure": kind.value,
        "message": why,
        "again": again,
        "seconds": [],
        "wall": 0.0,
    }


def main(descriptor: int) -> None:
    """Serves the engine at the other end of ``descriptor`` until it hangs up."""
    # The engine decides what an interrupt means; it reaches the whole terminal group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor))
    settings = channel.receive()
    if settings is None:
        return
    without_torch()
    turn = Turn(Path(settings["turn"]))
    worker = Worker(channel, settings["target"], settings["memory_bytes"], turn)
    channel.send({"problem": worker.check() if settings["check"] else ""})
    while (message := channel.receive()) is not None:
        {"build": worker.build, "run": worker.run, "drop": worker.drop}[message["do"]](message)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(int(sys.argv[1]))
