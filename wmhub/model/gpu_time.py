"""How long each unit of a GPU is busy with a kernel, and how far that is from the least it takes.

Units work side by side, so none alone tells a latency, but each bounds it: arithmetic in whole
warps, global and shared memory, and what copies to shared memory cost that is no traffic: the
instructions that find and check each element, and the time in which all warps wait for what is
under way. As times they differ by orders of magnitude between workloads; divided by what the
program needs on the device at least, a roofline (Williams, Waterman and Patterson, CACM 2009), they
say the same of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmhub.hardware.profile import HardwareProfile
from wmhub.model.cache_stages import rounds_of, tile_of, vector_of
from wmhub.model.columns import Columns, total
from wmhub.model.gpu_warp import Touched
from wmhub.nest import Stage
from wmhub.program import arithmetic
from wmhub.replay.limits import WARP

#: Warps of which a multiprocessor issues an instruction in each cycle.
_SCHEDULERS = 4.0
#: Instructions for an element that a thread copies: its address, whether it is there, both moves.
_COPY_INSTRUCTIONS = 10.0
#: Cycles that a thread waits for each element it copies, and for the last with all others: those of
#: a block begin to compute together.
_ELEMENT_CYCLES, _ROUND_CYCLES = 100.0, 400.0
#: Cycles until a multiprocessor has begun with a block.
_BLOCK_CYCLES = 300.0
#: By how much each unit's time shows in a latency: roughly what least squares, none negative, say
#: of V100's and K80's candidates that run within three times their workload's best.
_SHARES = {
    "work": 1.2, "copying": 0.5, "waiting": 0.4, "starting": 1.0, "memory": 0.3, "shared": 0.1,
}  # fmt: skip
#: Times are told in shares of the least from here on.
_LEAST_RATIO, _LEAST_BALANCE = 2.0**-6, 2.0**-10
#: What a damaged log may say is bounded so that ratios stay numbers.
_MOST = 1e30


@dataclass(frozen=True)
class Launch:
    """How a kernel occupies a device; float64 [N or 1] each."""

    blocks: np.ndarray
    threads: np.ndarray
    """Of a block."""
    warps: np.ndarray
    """Of a block, the last of which may not be full."""
    together: np.ndarray
    """Threads of a block that copy together, virtual ones counted apart."""
    waves: np.ndarray
    """How often the device is filled with blocks."""
    efficiency: np.ndarray
    """Share of the device that blocks keep busy."""


def time_features(
    columns: Columns,
    runs: np.ndarray,
    least_runs: np.ndarray,
    touched: Touched,
    copies: Sequence[Stage],
    launch: Launch,
    hardware: HardwareProfile,
) -> None:
    """Adds the columns for N candidates.

    ``runs``: multiply-adds of the kernel, also those of lanes that reach over an end and rest;
    ``least_runs``: those that the program asks for; float64 [N or 1] each. ``copies``: its stages
    that copy what it reads.
    """
    clock = hardware.clock_hz / 1e9
    runs = np.minimum(runs, _MOST)
    compute = 2e9 * np.minimum(least_runs, runs) / hardware.peak_flops
    memory = 1e9 * np.minimum(touched.traffic, _MOST) / hardware.bandwidth
    in_warps = runs * launch.warps / launch.threads
    shared = in_warps * touched.transactions / (hardware.cores * clock)
    issued, path = _copying(copies, launch)
    work = 2e9 * in_warps * WARP / hardware.peak_flops
    times = {
        "work": work,
        "copying": launch.blocks * issued / (hardware.cores * _SCHEDULERS * clock),
        "waiting": launch.waves * path / clock,
        "starting": launch.blocks * _BLOCK_CYCLES / (hardware.cores * clock),
        "memory": memory,
        "shared": shared,
    }
    on = float(touched.reads_copies)
    longest = np.maximum(np.maximum(work, memory), shared)
    columns.log2("gpu.time.memory", memory, scale=on)
    columns.log2("gpu.time.shared", shared, scale=on)
    columns.log2("gpu.time.copying", times["copying"], scale=on)
    columns.log2("gpu.time.waiting", times["waiting"], scale=on)
    columns.log2("gpu.time.longest", longest, scale=on)
    columns.log2("gpu.time.all", work + memory + shared, scale=on)
    columns.log2("gpu.time.dealt", longest / np.maximum(launch.efficiency, 1e-3), scale=on)
    on = float(touched.is_known)
    needed = 1e9 * np.minimum(touched.least_traffic, _MOST) / hardware.bandwidth
    least = np.maximum(compute, needed)
    times["longest"] = longest
    times["total"] = total(times[name] * share for name, share in _SHARES.items())
    for name, time in times.items():
        columns.log2(f"gpu.ratio.{name}", time / least, least=_LEAST_RATIO, scale=on)
    columns.log2("gpu.balance", needed / compute, least=_LEAST_BALANCE, scale=on)


def _copying(copies: Sequence[Stage], launch: Launch) -> tuple[np.ndarray, np.ndarray]:
    """Instructions that the warps of a block issue to copy, and cycles in which they wait; float64
    [N or 1] each."""
    issued, path = np.zeros(1), np.zeros(1)
    for copy in copies:
        if copy.scope.startswith("shared"):
            rounds = np.maximum(rounds_of(copy, launch.together) / launch.blocks, 1.0)
            vector = vector_of(copy)
            # The last load of a thread may find nothing left.
            elements = np.ceil(tile_of(copy) / np.maximum(launch.threads * vector, 1.0)) * vector
            # What is inlined into a copy, such as a padding, is computed as it is copied.
            each = _COPY_INSTRUCTIONS + arithmetic(copy.operations, is_reduction=False)
            issued = issued + rounds * elements * launch.warps * each
            path = path + rounds * (elements * _ELEMENT_CYCLES + _ROUND_CYCLES)
    return issued, path
