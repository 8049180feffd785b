"""The TVM target to measure a hardware key with."""

from __future__ import annotations

import platform
from typing import Any

from wmhub.errors import HardwareMismatchError, InvalidInputError
from wmhub.hardware.machine import read_cpu
from wmhub.hardware.table import lookup
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
#: How the names of CPUs that are not x86 begin -> LLVM's triple of a system with one.
_TRIPLES = {"neoverse": "aarch64-linux-gnu", "apple": "arm64-apple-macosx"}
_X86_TRIPLE = "x86_64-linux-gnu"
_ROCM_ARCH = {"mi50": "gfx906", "mi100": "gfx908", "mi250x": "gfx90a", "mi300x": "gfx942"}


def cores_for(target: dict[str, Any]) -> int:
    """Processes that build for ``target``: its cores, or where it has none, as many as this process
    may use at once, by its affinity and its container."""
    return int(target.get("num-cores", 0)) or read_cpu().usable_threads


def complete_target(target: dict[str, Any]) -> dict[str, Any]:
    """``target`` with its kind, which a dictionary with a tag alone leaves to TVM, and a CPU's with
    its cores, without which TVM searches nothing."""
    if "kind" not in target:
        target = plain(use_target(target, intrinsics=False).export())
    if target["kind"] in CPU_KINDS and not target.get("num-cores"):
        return {**target, "num-cores": cores_for(target)}
    return target


def given_target(target: dict[str, Any], hardware: HardwareKey) -> dict[str, Any]:
    """`complete_target`; raises ``HardwareMismatchError`` where ``hardware`` cannot run it."""
    target = complete_target(target)
    if not hardware.runs(target["kind"]):
        raise HardwareMismatchError(
            f"a target of {target['kind']} is nothing for {hardware}: name the hardware that it is "
            "for (--hardware)"
        )
    return target


def _triple(device: str) -> str | None:
    """LLVM's triple of a CPU of another architecture than this machine's; ``None`` for its own.

    Without it, LLVM compiles for this machine and takes the name for a mistake.
    """
    triple = next((t for name, t in _TRIPLES.items() if device.startswith(name)), None)
    if triple is None and lookup(HardwareKey("llvm", device)) is not None:
        triple = _X86_TRIPLE
    # Linux and macOS have a name each for the same.
    here, there = (
        name.replace("arm64", "aarch64")
        for name in (platform.machine(), (triple or "").partition("-")[0])
    )
    return None if here == there else triple


def target_of(key: HardwareKey) -> dict[str, Any]:
    """The target dictionary for ``key``, as ``tvm.target.Target`` takes it.

    All limits are spelled out, so that no driver is asked: a worker that has spoken with a GPU's
    driver cannot be forked. Raises ``InvalidInputError`` for a device without a known architecture.
    """
    if key.backend == "llvm":
        # LLVM's names and the devices of keys are the same words.
        target = {"kind": "llvm", "mcpu": key.device, "num-cores": key.cores or 1}
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
    if key.backend == "rocm" and key.device in _ROCM_ARCH:
        return {
            "kind": "rocm",
            "mcpu": _ROCM_ARCH[key.device],
            "max_threads_per_block": 1024,
            "max_shared_memory_per_block": 64 << 10,
            "thread_warp_size": 64,
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
