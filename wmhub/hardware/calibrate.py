"""A calibration of a second or two: ``python -m wmhub.hardware.calibrate CORES`` prints JSON.

A process of its own, because the BLAS under numpy reads its thread count when it is loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from wmhub.children import module_command
from wmhub.errors import MeasureError
from wmhub.hardware.machine import read_cpu

#: Rows and columns of the product on up to eight cores; on more, it takes about as long.
_MATRIX, _MATRIX_CORES = 1024, 8
_COPY_BYTES = 128 << 20  # per core, where caches and memory do not say otherwise
_COPY_ENOUGH_BYTES = 512 << 20
#: No core has a larger share of a last-level cache, of which the system tells one of many.
_CACHE_SHARE_BYTES = 16 << 20


@dataclass(frozen=True)
class Calibration:
    """What this machine reached in a short run."""

    flops: float
    """Best float32 matrix product on all cores, in FLOP/s."""
    bandwidth: float
    """Best copy of arrays larger than the caches, reads plus writes, in bytes per second."""
    noise: float
    """Median over best time of 30 runs of one product of about 10 ms, minus 1."""


def calibrate(cores: int, timeout_seconds: float = 120.0) -> Calibration:
    """Runs the calibration on ``cores`` threads in a process of its own.

    Raises ``MeasureError`` when that process fails.
    """
    threads = {f"{name}_NUM_THREADS": str(cores) for name in ("OMP", "OPENBLAS", "MKL", "BLIS")}
    try:
        done = subprocess.run(
            module_command("wmhub.hardware.calibrate", str(cores)),
            env={**os.environ, **threads},
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_seconds,
        )
        return Calibration(**json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError, TypeError) as error:
        stderr = getattr(error, "stderr", None) or ""
        raise MeasureError(
            f"the calibration of this machine failed: {error} {stderr[-400:]}"
        ) from error


def copy_bytes(cores: int, l3_bytes: int, memory_bytes: int) -> int:
    """Bytes of each of the two arrays of the copy: beyond the caches, within an eighth of memory.

    ``l3_bytes`` and ``memory_bytes`` are 0 where they are not known.
    """
    beyond = max(_COPY_ENOUGH_BYTES, 4 * l3_bytes, cores * _CACHE_SHARE_BYTES)
    wanted = min(cores * _COPY_BYTES, beyond)
    return min(wanted, memory_bytes // 16) if memory_bytes else wanted


def _seconds(run: Callable[[], object], repeats: int) -> list[float]:
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def _measure(cores: int) -> Calibration:
    import numpy as np

    size = _MATRIX * max(1, round((cores / _MATRIX_CORES) ** (1 / 3)))
    left = np.ones((size, size), np.float32)
    right, out = left.copy(), left.copy()
    times = sorted(_seconds(lambda: np.matmul(left, right, out=out), 30))
    facts = read_cpu()
    length = copy_bytes(cores, facts.l3_bytes, facts.memory_bytes) // 4
    source = np.ones(length, np.float32)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(source, cores), np.array_split(target, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:
        copies = _seconds(
            lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts)), 5
        )
    return Calibration(
        flops=2 * size**3 / times[0],
        bandwidth=2 * source.nbytes / min(copies),
        noise=times[len(times) // 2] / times[0] - 1,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(int(sys.argv[1])))))
