"""What Linux says of this machine's CPU: names, flags, caches, cores; read only, nothing measured.

Every function takes the root of the file system, so that a test can show it another machine.
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from wmhub.hardware.table import lookup
from wmhub.names import HardwareKey

#: x86 (vendor, family, model) -> LLVM's name, after ``getHostCPUName`` of LLVM's ``Host.cpp``.
_INTEL_MODELS = {
    **dict.fromkeys((0x3C, 0x3F, 0x45, 0x46), "haswell"),
    **dict.fromkeys((0x3D, 0x47, 0x4F, 0x56), "broadwell"),
    **dict.fromkeys((0x4E, 0x5E, 0x8E, 0x9E, 0xA5, 0xA6), "skylake"),
    **dict.fromkeys((0x6A, 0x6C), "icelake-server"),
    0xA7: "rocketlake",
    0x8F: "sapphirerapids",
    0xCF: "emeraldrapids",
    0xAD: "graniterapids",
    **dict.fromkeys((0x97, 0x9A), "alderlake"),
    **dict.fromkeys((0xB7, 0xBA, 0xBF), "raptorlake"),
}
#: Those that share model 0x55, by the flag that sets each apart.
_SKYLAKE_SERVERS = {
    "avx512_bf16": "cooperlake",
    "avx512_vnni": "cascadelake",
    "": "skylake-avx512",
}
_ARM_PARTS = {
    "0xd0c": "neoverse-n1",
    "0xd40": "neoverse-v1",
    "0xd49": "neoverse-n2",
    "0xd4f": "neoverse-v2",
}
#: Intel's servers with matrix tiles, and flags that LLVM takes for granted in compiling for them.
_WITH_TILES = ("sapphirerapids", "emeraldrapids", "graniterapids")
_TILE_FLAGS = frozenset({"amx_tile", "avx512_bf16", "avx512_fp16"})
#: A flag that the named generation of Intel servers, or a later one, has; newest first.
_INTEL_FLAGS = (
    ("amx_fp16", "graniterapids"),
    ("amx_tile", "sapphirerapids"),
    ("avx512_vbmi2", "icelake-server"),
    ("avx512_bf16", "cooperlake"),
    ("avx512_vnni", "cascadelake"),
    ("avx512f", "skylake-avx512"),
    ("avx2", "haswell"),
)


@dataclass(frozen=True)
class CpuFacts:
    """The CPU of a machine, as its operating system tells it."""

    model_name: str
    """As ``/proc/cpuinfo`` has it; a hypervisor may have made it up."""
    microarchitecture: str
    """LLVM's name from family and model: ``rocketlake``, ``znver3``; the architecture's own name
    (``x86-64``, ``aarch64``) where they are not known, one from the flags where they are false."""
    disguised_as: str | None
    """LLVM's name of an older CPU whose model a hypervisor shows; ``None`` without a disguise."""
    microarchitecture_by_flags: str | None
    """The oldest Intel server with these instructions; ``None`` for other vendors."""
    flags: frozenset[str]
    """Instruction set flags."""
    cores: int
    """Physical cores that this process may use, after affinity and container quota."""
    threads: int
    """Hardware threads among them."""
    quota: float | None
    """CPUs that a container grants, such as 1.5; ``None`` without a limit."""
    l1_bytes: int
    """L1 data cache per core, in bytes; 0 where unknown."""
    l2_bytes: int
    """L2 cache per core, in bytes; 0 where unknown."""
    l3_bytes: int
    """Last-level cache, in bytes; 0 where there is none."""
    clock_hz: float | None
    """Highest clock that the system names, in Hz."""
    governor: str | None
    """Frequency governor (``powersave``, ``performance``); ``None`` without frequency scaling."""
    memory_bytes: int
    """Main memory that this process may use, in bytes: all of it, or what a container grants."""
    sve_bits: int | None
    """Width of Arm's scalable vectors as a process gets them; ``None`` where it is not told."""

    @property
    def usable_threads(self) -> int:
        """Hardware threads that can be kept busy: those among ``threads`` that a container grants
        the time for."""
        return self.threads if self.quota is None else max(1, min(self.threads, int(self.quota)))

    @property
    def is_shared(self) -> bool:
        """Whether some threads of the machine are not ours, or two of ours are one core's: then
        which thread runs where is not to be decided by counting from 0."""
        return self.threads > self.cores or self.threads < (os.cpu_count() or 1)

    @property
    def vector_bits(self) -> int:
        """Width of the widest vector registers, in bits."""
        if "sve" in self.flags:
            # The flag says nothing of the width: of Arm's own servers, most have 128.
            known = lookup(HardwareKey("llvm", self.microarchitecture))
            return known.vector_bits if known else self.sve_bits or 128
        return 512 if "avx512f" in self.flags else 256 if "avx" in self.flags else 128


def usable_cpus() -> frozenset[int]:
    """Numbers of the CPUs that this process may use."""
    if sys.platform != "linux":  # Where nothing tells.
        return frozenset(range(os.cpu_count() or 1))
    return frozenset(os.sched_getaffinity(0))


def read_cpu(root: Path = Path("/"), allowed: frozenset[int] | None = None) -> CpuFacts:
    """The CPU under ``root``; ``allowed`` are the CPU numbers to use (default: this process's)."""
    if allowed is None:
        allowed = usable_cpus()
    info = _cpuinfo(root)
    flags = frozenset((info.get("flags") or info.get("Features") or "").split())
    named, by_flags = _microarchitecture(info, flags), _by_flags(info, flags)
    # Whole generations apart, as no stepping of an older CPU has tiles.
    is_known = named in _INTEL_MODELS.values() or named in _SKYLAKE_SERVERS.values()
    is_disguised = is_known and flags >= _TILE_FLAGS and named not in _WITH_TILES
    folder = root / "sys/devices/system/cpu"
    physical = {_core_of(folder / f"cpu{number}", number) for number in allowed}
    quota = _quota(root)
    cores = len(physical) if quota is None else max(1, min(len(physical), math.ceil(quota)))
    first = folder / f"cpu{min(allowed)}"
    caches = _caches(first)
    return CpuFacts(
        model_name=info.get("model name") or platform.processor() or platform.machine(),
        microarchitecture=by_flags if is_disguised and by_flags else named,
        disguised_as=named if is_disguised else None,
        microarchitecture_by_flags=by_flags,
        flags=flags,
        cores=cores,
        threads=len(allowed),
        quota=quota,
        l1_bytes=caches.get(1, 0),
        l2_bytes=caches.get(2, 0),
        l3_bytes=caches.get(3, 0),
        clock_hz=_clock(first, info),
        governor=_text(first / "cpufreq/scaling_governor"),
        memory_bytes=_memory(root),
        sve_bits=_sve_bits(root),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's block of ``/proc/cpuinfo``."""
    text = _text(root / "proc/cpuinfo") or ""
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _core_of(cpu: Path, number: int) -> tuple[str, str]:
    """Something that two hardware threads of one core have in common, and no others."""
    if siblings := _text(cpu / "topology/thread_siblings_list"):
        # Numbers of cores begin anew in each cluster of an Arm system.
        return ("threads", siblings)
    core = _text(cpu / "topology/core_id")
    package = _text(cpu / "topology/physical_package_id")
    return (package or "", core if core is not None else f"cpu{number}")


def _groups(root: Path, controller: str) -> list[Path]:
    """Folders of this process's control group and of those around it, as far as they are seen.

    Version 2 has one tree for all controllers, version 1 one for each. In a container the own group
    is often the root of what is seen.
    """
    top = root / "sys/fs/cgroup"
    found = []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if names and controller not in names.split(","):
            continue
        tree = top / controller if names else top
        own = tree / path.strip("/")
        found += [own, *(one for one in own.parents if one.is_relative_to(tree))]
    return [*dict.fromkeys((*found, top, top / controller))]


def _quota(root: Path) -> float | None:
    """CPUs that the control groups grant (version 2, then version 1)."""
    granted = []
    for group in _groups(root, "cpu"):
        limit = _text(group / "cpu.max")
        if limit is None:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
            limit = f"{quota} {period}"
        if numbers := re.fullmatch(r"([0-9]+) ([1-9][0-9]*)", limit):
            granted.append(int(numbers[1]) / int(numbers[2]))
    return min(granted, default=None)


def _caches(cpu: Path) -> dict[int, int]:
    """Cache level -> bytes of its data or unified cache."""
    sizes: dict[int, int] = {}
    for index in sorted(cpu.glob("cache/index*")):
        size = re.fullmatch(r"([0-9]+)([KMG]?)", _text(index / "size") or "")
        level = _text(index / "level") or ""
        if size and level.isdigit() and _text(index / "type") != "Instruction":
            sizes[int(level)] = int(size[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[size[2]]
    return sizes


def _clock(cpu: Path, info: dict[str, str]) -> float | None:
    kilohertz = _text(cpu / "cpufreq/cpuinfo_max_freq")
    if kilohertz and kilohertz.isdigit():
        return int(kilohertz) * 1e3
    try:
        return float(info["cpu MHz"]) * 1e6
    except (KeyError, ValueError):
        return None


def _memory(root: Path) -> int:
    """What there is, or what the control groups grant (version 2, then version 1)."""
    total = re.search(r"^MemTotal:\s+([0-9]+) kB", _text(root / "proc/meminfo") or "", re.M)
    there = int(total[1]) * 1024 if total else 0
    for group in _groups(root, "memory"):
        limit = _text(group / "memory.max") or _text(group / "memory.limit_in_bytes") or ""
        # "max" is no limit; version 1 says so with a number beyond all memory.
        if limit.isdigit() and int(limit):
            there = min(there, int(limit))
    return there


def _sve_bits(root: Path) -> int | None:
    length = _text(root / "proc/sys/abi/sve_default_vector_length")
    return int(length) * 8 if length and length.isdigit() and int(length) else None


def _microarchitecture(info: dict[str, str], flags: frozenset[str]) -> str:
    if "CPU implementer" in info:
        return _ARM_PARTS.get(info.get("CPU part", "").lower(), "aarch64")
    try:
        family, model = int(info["cpu family"]), int(info["model"])
    except (KeyError, ValueError):
        return platform.machine().replace("_", "-").lower() or "unknown"
    if info.get("vendor_id") == "AuthenticAMD":
        return _amd(family, model)
    if family == 6 and model == 0x55:
        return next(name for flag, name in _SKYLAKE_SERVERS.items() if flag in flags | {""})
    return _INTEL_MODELS.get(model, "x86-64") if family == 6 else "x86-64"


def _amd(family: int, model: int) -> str:
    if family == 0x17:
        return "znver2" if model >= 0x30 else "znver1"
    if family == 0x19:
        return "znver4" if 0x10 <= model <= 0x1F or 0x60 <= model <= 0xAF else "znver3"
    return "znver5" if family == 0x1A else "x86-64"


def _by_flags(info: dict[str, str], flags: frozenset[str]) -> str | None:
    if info.get("vendor_id") != "GenuineIntel":
        return None
    return next((name for flag, name in _INTEL_FLAGS if flag in flags), None)
