"""How long a whole network takes: ``python -m wmhub.measure.network_timing REQUEST`` says it.

In a process of its own, which a kernel that crashes, hangs or exhausts the memory takes along.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmhub.children import module_command
from wmhub.errors import MeasureError
from wmhub.measure.lock import MachineLock
from wmhub.measure.targets import kernel_threads
from wmhub.tvm_compat import last_line, without_torch

#: Runs whose median counts: as many as fit into these seconds, but between these numbers.
_SECONDS, _LEAST_RUNS, _MOST_RUNS = 1.0, 5, 200


def time_network(
    library: Path,
    function: str,
    arguments: Sequence[Any],
    device: str,
    threads: int,
    timeout_seconds: float,
) -> float:
    """Median seconds of a run of ``function`` of ``library``, alone on this machine.

    ``arguments``: as of ``argument_info``. ``device``: TVM's name of it. Raises ``MeasureError``
    where it does not run, or not within the time limit.
    """
    request = json.dumps([str(library.resolve()), function, list(arguments), device])
    with MachineLock().timing():
        said = answer_of(["wmhub.measure.network_timing", request], threads, timeout_seconds)
    try:
        return float(said)
    except ValueError:
        raise MeasureError(f"it said {said[:100]!r}") from None


def answer_of(module: Sequence[str], threads: int, timeout_seconds: float | None = None) -> str:
    """The last line that a module of ours, with its arguments, prints in a process of its own,
    whose kernels use so many ``threads``.

    Raises ``MeasureError`` with its reason where it fails, or takes longer.
    """
    try:
        done = subprocess.run(
            module_command(*module),
            env={**os.environ, **kernel_threads(threads)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
            # A terminal's Ctrl-C is its parent's to heed.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise MeasureError(f"killed after {timeout_seconds:g} s") from None
    if done.returncode:
        raise MeasureError(_death(done.returncode, done.stderr)[:300])
    return last_line(done.stdout)


def _death(status: int, said: str) -> str:
    """Why a process failed, by its status and what it printed."""
    if status < 0:
        return f"the process that ran it died of {signal.Signals(-status).name}"
    return last_line(said) or f"it ended with {status}"


def main(request: str) -> None:
    """Prints the median seconds of what ``request`` asks for."""
    without_torch()
    from wmhub.measure.programs import random_arguments
    from wmhub.tvm_compat import relax, tvm

    path, function, info, name = json.loads(request)
    device = tvm.runtime.device(name, 0)
    # Kept: the machine's functions do not keep it.
    machine = relax.VirtualMachine(tvm.runtime.load_module(path), device)
    arguments = random_arguments(info, device)

    def run() -> float:
        began = time.perf_counter()
        machine[function](*arguments)
        device.sync()
        return time.perf_counter() - began

    run()
    runs = max(_LEAST_RUNS, min(_MOST_RUNS, int(_SECONDS / max(run(), 1e-6))))
    print(statistics.median(run() for _ in range(runs)))


if __name__ == "__main__":
    main(sys.argv[1])
