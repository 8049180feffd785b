"""The TVM target to measure a hardware key with."""

from __future__ import annotations

import platform
from typing import Any

from wmhub.errors import HardwareMismatchError, InvalidInputError
from wmhub.hardware.machine import read_cpu
from wmhub.hardware.table import architecture, lookup
from wmhub.names import CPU_KINDS, HardwareKey
from wmhub.tvm_compat import plain, use_target

#: CUDA architecture of the devices of ``hardware.table``.
_CUDA_ARCH = {
    "k80": "sm_37",
    "p100": "sm_60",
    "gtx-1080-ti": "sm_61",
    "v100": "sm_70",
    "t4": "sm_75",
    "rtx-2080-ti": "sm_75",
    "a100": "sm_80",
    "a100-80gb": "sm_80",
    "a10": "sm_86",
    "rtx-3080": "sm_86",
    "rtx-3090": "sm_86",
    "l4": "sm_89",
    "rtx-4090": "sm_89",
    "h100": "sm_90",
    "h200": "sm_90",
}
#: How often a thread of TVM's looks for work before it sleeps, which takes it 2 to 3 ms; TVM's own
#: 300,000 keep cores busy long after the last program, while the next one is timed.
_SPINS = "10000"
#: Architecture of a CPU -> LLVM's triple of a system with one.
_TRIPLES = {"aarch64": "aarch64-linux-gnu", "x86_64": "x86_64-linux-gnu"}
_APPLE_TRIPLE = "arm64-apple-macosx"
#: What AMD's architectures with wavefronts of 32 threads begin with: RDNA, 1 to 4.
_RDNA = ("gfx10", "gfx11", "gfx12")
_ROCM_ARCH = {"mi50": "gfx906", "mi100": "gfx908", "mi250x": "gfx90a", "mi300x": "gfx942"}


def cores_for(target: dict[str, Any]) -> int:
    """Processes that build for ``target``: its cores, or where it has none, as many as this process
    may use at once, by its affinity and its container."""
    return int(target.get("num-cores", 0)) or read_cpu().usable_threads


def kernel_threads(cores: int) -> dict[str, str]:
    """Environment variables of a process whose kernels use so many threads: as many as the schedule
    was made for, and TVM would take half."""
    threads = {"TVM_NUM_THREADS": str(cores), "TVM_THREAD_POOL_SPIN_COUNT": _SPINS}
    if read_cpu().is_shared:
        # TVM binds its threads to the CPUs from 0 on, whichever of them are this process's.
        threads["TVM_BIND_THREADS"] = "0"
    return threads


def complete_target(target: dict[str, Any]) -> dict[str, Any]:
    """``target`` with its kind, which a dictionary with a tag alone leaves to TVM, and a CPU's with
    its cores, without which TVM searches nothing."""
    target = _with_kind(target)
    if target["kind"] in CPU_KINDS and not target.get("num-cores"):
        return {**target, "num-cores": cores_for(target)}
    return target


def _with_kind(target: dict[str, Any]) -> dict[str, Any]:
    if "kind" in target:
        return target
    exported: dict[str, Any] = plain(use_target(target, intrinsics=False).export())
    return exported


def given_target(target: dict[str, Any], hardware: HardwareKey) -> dict[str, Any]:
    """`complete_target`, a CPU's with the cores of ``hardware``.

    Raises ``HardwareMismatchError`` where ``hardware`` cannot run it, or has other cores.
    """
    target = _with_kind(target)
    if not hardware.runs(target["kind"]):
        raise HardwareMismatchError(
            f"a target of {target['kind']} is nothing for {hardware}: name the hardware that it is "
            "for (--hardware)"
        )
    if target["kind"] in CPU_KINDS and hardware.cores is not None:
        cores = target.get("num-cores") or hardware.cores
        if int(cores) != hardware.cores:
            raise HardwareMismatchError(
                f"a target of {cores} cores is nothing for {hardware}: name the hardware with as "
                "many (--hardware)"
            )
        target = {**target, "num-cores": hardware.cores}
    return complete_target(target)


def _triple(device: str) -> str | None:
    """LLVM's triple of a CPU of another architecture than this machine's; ``None`` for its own.

    Without it, LLVM compiles for this machine and takes the name for a mistake. Raises
    ``InvalidInputError`` for a CPU of which neither our table nor LLVM knows the architecture.
    """
    there = architecture(device)
    if there is None:
        return _llvms_triple(device)
    # Linux and macOS have a name each for the same.
    if there == platform.machine().replace("arm64", "aarch64"):
        return None
    return _APPLE_TRIPLE if device.startswith("apple") else _TRIPLES[there]


def _llvms_triple(device: str) -> str | None:
    """`_triple` of a CPU that our table lacks, such as a board's."""
    from wmhub.tvm_compat import tvm

    for triple in (None, *_TRIPLES.values()):
        named = {} if triple is None else {"mtriple": triple}
        machine = use_target({"kind": "llvm", **named}, intrinsics=False)
        if device in map(str, tvm.target.codegen.llvm_get_cpu_archlist(machine)):
            return triple
    raise InvalidInputError(
        f"llvm-{device}: LLVM knows no such CPU; give its target as a JSON object (--target), such "
        'as {"kind": "llvm", "mcpu": "cortex-a72", "mtriple": "aarch64-linux-gnu"}'
    )


def target_of(key: HardwareKey) -> dict[str, Any]:
    """The target dictionary for ``key``, as ``tvm.target.Target`` takes it.

    All limits are spelled out, so that no driver is asked: a worker that has spoken with a GPU's
    driver cannot be forked. Raises ``InvalidInputError`` for a device without a known architecture.
    """
    if key.backend == "llvm":
        # LLVM's names and the devices of keys are the same words.
        known = lookup(key)
        cores = key.cores or (known.cores if known is not None else 1)
        target = {"kind": "llvm", "mcpu": key.device, "num-cores": cores}
        triple = _triple(key.device)
        return {**target, "mtriple": triple} if triple else target
    if key.backend == "cuda" and key.device in _CUDA_ARCH:
        return {
            "kind": "cuda",
            "arch": _CUDA_ARCH[key.device],
            "max_threads_per_block": 1024,
            "max_shared_memory_per_block": 48 << 10,
            "registers_per_block": 64 << 10,
            "thread_warp_size": 32,
        }
    if key.backend == "rocm" and (key.device in _ROCM_ARCH or key.device.startswith("gfx")):
        # A device without a name of its own is called by its architecture.
        mcpu = _ROCM_ARCH.get(key.device, key.device)
        return {
            "kind": "rocm",
            "mcpu": mcpu,
            "max_threads_per_block": 1024,
            "max_shared_memory_per_block": 64 << 10,
            "thread_warp_size": 32 if mcpu.startswith(_RDNA) else 64,
        }
    if key.backend == "metal":
        return {
            "kind": "metal",
            "max_threads_per_block": 1024,
            "max_shared_memory_per_block": 32 << 10,
            "thread_warp_size": 32,
        }
    raise InvalidInputError(
        f"{key}: the TVM target of this device is not known; give it as a JSON object, such as "
        '{"kind": "cuda", "arch": "sm_90", "max_threads_per_block": 1024, '
        '"max_shared_memory_per_block": 49152, "thread_warp_size": 32}'
    )
