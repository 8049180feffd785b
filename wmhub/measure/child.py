"""The forked child that runs programs: its end, its priority, its memory, and what it died of."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from wmhub.records import FailureKind

#: How long `wait_for_threads` waits at most: a program may have threads of its own that never end.
_SPIN_SECONDS = 0.5


def in_child(work: Callable[[], None]) -> None:
    """Runs ``work`` in the forked child and ends it without the parent's clean-up."""
    code = 1
    try:
        # The child must not outlive its parent, however that ends.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        work()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def ask_for_priority() -> None:
    """Puts this process before all that is not urgent, where the system lets it (root may).

    Whatever else runs then waits for the program that is timed, not the other way round. A nice
    value would not do: Linux groups processes by session, and weighs the groups first. Threads
    inherit it, so this comes before the first kernel starts its pool. Not where the system leaves
    nothing to the others: whoever must end a hanging program is one of them.
    """
    with contextlib.suppress(OSError, ValueError):
        if int(Path("/proc/sys/kernel/sched_rt_runtime_us").read_text()) < 0:
            return
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def wait_for_threads() -> None:
    """Waits until no other thread of this process runs any more.

    TVM's threads look for work for a while before they sleep. What is timed next, in another
    process, would share its cores with them: 4 us for each parallel loop were seen.
    """
    own, until = threading.get_native_id(), time.monotonic() + _SPIN_SECONDS
    while time.monotonic() < until:
        others = [task for task in Path("/proc/self/task").iterdir() if task.name != str(own)]
        if not any(_is_running(task) for task in others):
            return
        time.sleep(1e-3)


def _is_running(task: Path) -> bool:
    try:
        # The state follows the name, which may hold anything, in brackets.
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    except OSError:  # It has ended.
        return False


def limit_memory(extra_bytes: int) -> None:
    """Lets this process map ``extra_bytes`` more than it has, within what the system allows it."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = own_bytes(0) + extra_bytes
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def own_bytes(column: int) -> int:
    """Memory of this process: mapped (column 0) or resident (column 1), in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[column]) * resource.getpagesize()


def cause_of_death(status: int) -> tuple[FailureKind, str, bool]:
    """Why a child died, and whether that may have been someone else's doing."""
    if not os.WIFSIGNALED(status):
        why = f"the process that ran it ended with {os.WEXITSTATUS(status)}"
        return FailureKind.CRASH, why, False
    name = signal.Signals(os.WTERMSIG(status)).name
    if os.WTERMSIG(status) == signal.SIGKILL:
        # Not by us: the kernel takes the process that uses the most memory.
        why = "killed by the system, which does so for want of memory"
        return FailureKind.OUT_OF_MEMORY, why, True
    return FailureKind.CRASH, f"the process that ran it died of {name}", False
