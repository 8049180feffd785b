"""``WorkerProcess``: starts a worker, and knows how it died."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import IO

from wmhub.children import module_command
from wmhub.errors import MeasureError
from wmhub.measure.messages import Ready, RunnerSettings, WorkerSettings
from wmhub.measure.wire import Channel
from wmhub.records import FailureKind

#: How long a worker may take to load TVM, in seconds.
START_SECONDS = 120.0
#: Kernels use the threads that their schedule was made for; nothing else of ours may use several.
_SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class WorkerProcess:
    """A process that runs a module of this package, and the engine's end of its socket."""

    def __init__(self, module: str) -> None:
        self.channel, theirs = Channel.pair()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by forget)
        descriptor = theirs.fileno()
        self.process = subprocess.Popen(
            module_command(module, str(descriptor)),
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **_SINGLE},
            # A group of its own, so that the compilers which it starts end with it.
            preexec_fn=os.setpgrp,
        )
        theirs.close()
        self._is_ready = False
        self.is_gone = False
        """Whether it was ended, with all that it held."""

    def tell(self, settings: WorkerSettings | RunnerSettings) -> None:
        """Sends its first message, what it is to work for."""
        # One that is gone shows in the answer that does not come.
        with contextlib.suppress(OSError):
            self.channel.send(settings)

    def wait_ready(self) -> None:
        """Waits until it serves; raises ``MeasureError`` with its reason where it cannot."""
        if self._is_ready:
            return
        try:
            answer = self.channel.receive(START_SECONDS)
        except TimeoutError:
            self.kill()
            said = f"no answer within {START_SECONDS:g} s. {self.last_words()}".strip()
            raise MeasureError(f"a worker process could not start: {said}") from None
        if answer is None:
            _, said, _ = self.death()
            raise MeasureError(f"a worker process could not start: {said}")
        assert isinstance(answer, Ready)
        if answer.problem:
            raise MeasureError(f"not even a trivial program can be run: {answer.problem}")
        self._is_ready = True

    def last_words(self) -> str:
        """The end of what it printed."""
        self._log.seek(0)
        return self._log.read()[-600:].decode(errors="replace").strip()

    def kill(self) -> int:
        """Ends the process and what it started; returns its status, negative for a signal."""
        self.is_gone = True
        self.channel.close()
        # Also where it has died by itself: what it started may still be at work.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def forget(self) -> None:
        """Ends the process and lets go of all that belongs to it."""
        self.kill()
        self._log.close()

    def death(self) -> tuple[FailureKind, str, bool]:
        """Why it died by itself: kind, words, and whether somebody may have killed it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        status = self.kill()
        if status == -signal.SIGKILL:
            message = "killed by the system, which does so for want of memory"
            return FailureKind.OUT_OF_MEMORY, message, True
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return FailureKind.CRASH, f"the worker died of {name}. {self.last_words()}".strip(), False
