"""Sessions with a device behind TVM's RPC, whose kernels use as many threads as the target has."""

from __future__ import annotations

import math
from typing import Any

#: TVM's affinity mode that binds threads to the fastest cores, as a pool does by itself.
_BIG = 1
#: Of a session's time, what connecting, uploading and loading may take, in seconds.
_SETUP_SECONDS = 8


def session_seconds(run_seconds: float) -> int:
    """How long the session of a program may live whose runs may take ``run_seconds`` each.

    A server ends no single run, only a session, and TVM has each timed run after one that does not
    count. Long enough for two of the longest, and for all timings of what takes a tenth of that;
    longer would leave the device to programs that hang.
    """
    return math.ceil(_SETUP_SECONDS + 2 * run_seconds)


def use_cores_of(session: Any, target: dict[str, Any]) -> None:
    """Lets kernels of ``session`` use the ``num-cores`` of a CPU target, whatever the server would.

    To be called before the first kernel runs.
    """
    cores = int(target.get("num-cores", 0))
    if target["kind"] != "llvm" or not cores:
        return
    # Without a list of CPUs the server's own number stays the most; a list cannot be sent, so it
    # is made over there. Only its length counts in this mode.
    cpus = session.get_function("ffi.Array")(*(str(number) for number in range(cores)))
    session.get_function("runtime.config_threadpool")(_BIG, cores, cpus)
