# ruff: noqa: E501 (a table reads best with one row a line)
"""Numbers of common devices from their data sheets, so that a key has them without the device.

Sources: vendors' data sheets and architecture white papers (NVIDIA, AMD, Apple, Intel, Arm).
Where a CPU key names a microarchitecture, its typical server part gives clock, last-level cache and
memory channels, and the core count of the key scales them. A GPU's name says which form of it the
numbers are of; ``probe.gpu_device`` says which others have its key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from wmhub.hardware.profile import HardwareProfile
from wmhub.names import HardwareKey

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30


class _Gpu(NamedTuple):
    backend: str
    name: str
    cores: int
    lanes: int  # threads of a warp, wavefront or SIMD group
    register_kib: int  # per core
    l1_kib: int  # per core
    shared_kib: int  # per core
    l2_mib: float
    l3_mib: int
    mhz: int
    memory_gib: int
    gb_per_second: float
    tflops: float
    matrix_tflops: float


class _Cpu(NamedTuple):
    name: str
    vector_bits: int
    registers: int  # vector registers that the instruction set names
    flops_per_cycle: int  # float32, per core
    l1_kib: int
    l2_kib: int
    ghz: float
    socket_cores: int
    socket_l3_mib: float
    socket_gb_per_second: float


# fmt: off
_GPUS = {
    "k80": _Gpu("cuda", "NVIDIA Tesla K80 (one of its two GK210)", 13, 32, 512, 48, 112, 1.5, 0, 875, 12, 240, 4.37, 4.37),
    "p100": _Gpu("cuda", "NVIDIA Tesla P100 (SXM2)", 56, 32, 256, 24, 64, 4, 0, 1480, 16, 732, 10.6, 10.6),
    "v100": _Gpu("cuda", "NVIDIA Tesla V100 16 GB (SXM2)", 80, 32, 256, 128, 96, 6, 0, 1530, 16, 900, 15.7, 125),
    "t4": _Gpu("cuda", "NVIDIA T4", 40, 32, 256, 96, 64, 4, 0, 1590, 16, 320, 8.1, 65),
    "a10": _Gpu("cuda", "NVIDIA A10", 72, 32, 256, 128, 100, 6, 0, 1695, 24, 600, 31.2, 125),
    "a100": _Gpu("cuda", "NVIDIA A100 40 GB (SXM)", 108, 32, 256, 192, 164, 40, 0, 1410, 40, 1555, 19.5, 312),
    "a100-80gb": _Gpu("cuda", "NVIDIA A100 80 GB (SXM)", 108, 32, 256, 192, 164, 40, 0, 1410, 80, 2039, 19.5, 312),
    "l4": _Gpu("cuda", "NVIDIA L4", 58, 32, 256, 128, 100, 48, 0, 2040, 24, 300, 30.3, 121),
    "h100": _Gpu("cuda", "NVIDIA H100 80 GB (SXM)", 132, 32, 256, 256, 228, 50, 0, 1980, 80, 3350, 66.9, 989),
    "h200": _Gpu("cuda", "NVIDIA H200 141 GB (SXM)", 132, 32, 256, 256, 228, 50, 0, 1980, 141, 4800, 66.9, 989),
    "gtx-1080-ti": _Gpu("cuda", "NVIDIA GeForce GTX 1080 Ti", 28, 32, 256, 48, 96, 2.75, 0, 1582, 11, 484, 11.3, 11.3),
    "rtx-2080-ti": _Gpu("cuda", "NVIDIA GeForce RTX 2080 Ti", 68, 32, 256, 96, 64, 5.5, 0, 1545, 11, 616, 13.4, 53.8),
    "rtx-3080": _Gpu("cuda", "NVIDIA GeForce RTX 3080 10 GB", 68, 32, 256, 128, 100, 5, 0, 1710, 10, 760, 29.8, 59.5),
    "rtx-3090": _Gpu("cuda", "NVIDIA GeForce RTX 3090", 82, 32, 256, 128, 100, 6, 0, 1695, 24, 936, 35.6, 71),
    "rtx-4090": _Gpu("cuda", "NVIDIA GeForce RTX 4090", 128, 32, 256, 128, 100, 72, 0, 2520, 24, 1008, 82.6, 165.2),
    "mi50": _Gpu("rocm", "AMD Radeon Instinct MI50 16 GB", 60, 64, 256, 16, 64, 4, 0, 1725, 16, 1024, 13.3, 13.3),
    "mi100": _Gpu("rocm", "AMD Instinct MI100", 120, 64, 512, 16, 64, 8, 0, 1502, 32, 1229, 23.1, 184.6),
    "mi250x": _Gpu("rocm", "AMD Instinct MI250X (one of its two dies)", 110, 64, 512, 16, 64, 8, 0, 1700, 64, 1638, 23.9, 191.5),
    "mi300x": _Gpu("rocm", "AMD Instinct MI300X", 304, 64, 512, 32, 64, 32, 256, 2100, 192, 5300, 163.4, 1307),
    "m1": _Gpu("metal", "Apple M1 GPU (8 cores)", 8, 32, 208, 8, 32, 0.75, 8, 1278, 0, 68, 2.6, 2.6),
    "m1-pro": _Gpu("metal", "Apple M1 Pro GPU (16 cores)", 16, 32, 208, 8, 32, 0.75, 24, 1296, 0, 200, 5.2, 5.2),
    "m1-max": _Gpu("metal", "Apple M1 Max GPU (32 cores)", 32, 32, 208, 8, 32, 0.75, 48, 1296, 0, 400, 10.4, 10.4),
    "m1-ultra": _Gpu("metal", "Apple M1 Ultra GPU (64 cores)", 64, 32, 208, 8, 32, 1.5, 96, 1296, 0, 800, 20.8, 20.8),
    "m2": _Gpu("metal", "Apple M2 GPU (10 cores)", 10, 32, 208, 8, 32, 0.75, 8, 1398, 0, 100, 3.6, 3.6),
    "m2-pro": _Gpu("metal", "Apple M2 Pro GPU (19 cores)", 19, 32, 208, 8, 32, 0.75, 24, 1398, 0, 200, 6.8, 6.8),
    "m2-max": _Gpu("metal", "Apple M2 Max GPU (38 cores)", 38, 32, 208, 8, 32, 0.75, 48, 1398, 0, 400, 13.6, 13.6),
    "m2-ultra": _Gpu("metal", "Apple M2 Ultra GPU (76 cores)", 76, 32, 208, 8, 32, 1.5, 96, 1398, 0, 800, 27.2, 27.2),
}

#: Named as LLVM names them (``llvm_get_system_cpu``). The clock is what all cores sustain in vector
#: code: the base clock for servers.
_CPUS = {
    "haswell": _Cpu("Intel Haswell (Xeon E5-2699 v3)", 256, 16, 32, 32, 256, 2.3, 18, 45, 68),
    "broadwell": _Cpu("Intel Broadwell (Xeon E5-2699 v4)", 256, 16, 32, 32, 256, 2.2, 22, 55, 76.8),
    "skylake": _Cpu("Intel Skylake (Core i7-6700K)", 256, 16, 32, 32, 256, 4.0, 4, 8, 34.1),
    "skylake-avx512": _Cpu("Intel Skylake-SP (Xeon Platinum 8180)", 512, 32, 64, 32, 1024, 2.5, 28, 38.5, 128),
    "cascadelake": _Cpu("Intel Cascade Lake (Xeon Platinum 8280)", 512, 32, 64, 32, 1024, 2.7, 28, 38.5, 141),
    "cooperlake": _Cpu("Intel Cooper Lake (Xeon Platinum 8380H)", 512, 32, 64, 32, 1024, 2.9, 28, 38.5, 154),
    "icelake-server": _Cpu("Intel Ice Lake-SP (Xeon Platinum 8380)", 512, 32, 64, 48, 1280, 2.3, 40, 60, 204.8),
    "rocketlake": _Cpu("Intel Rocket Lake (Core i9-11900K)", 512, 32, 32, 48, 512, 3.5, 8, 16, 51.2),
    "sapphirerapids": _Cpu("Intel Sapphire Rapids (Xeon Platinum 8480+)", 512, 32, 64, 48, 2048, 2.0, 56, 105, 307.2),
    "emeraldrapids": _Cpu("Intel Emerald Rapids (Xeon Platinum 8592+)", 512, 32, 64, 48, 2048, 1.9, 64, 320, 358.4),
    "graniterapids": _Cpu("Intel Granite Rapids (Xeon 6980P)", 512, 32, 64, 48, 2048, 2.0, 128, 504, 614.4),
    "alderlake": _Cpu("Intel Alder Lake (Core i9-12900K, performance cores)", 256, 16, 32, 48, 1280, 3.2, 8, 30, 76.8),
    "raptorlake": _Cpu("Intel Raptor Lake (Core i9-13900K, performance cores)", 256, 16, 32, 48, 2048, 3.0, 8, 36, 89.6),
    "znver1": _Cpu("AMD Zen (EPYC 7601)", 128, 16, 16, 32, 512, 2.2, 32, 64, 170.7),
    "znver2": _Cpu("AMD Zen 2 (EPYC 7742)", 256, 16, 32, 32, 512, 2.25, 64, 256, 204.8),
    "znver3": _Cpu("AMD Zen 3 (EPYC 7763)", 256, 16, 32, 32, 512, 2.45, 64, 256, 204.8),
    "znver4": _Cpu("AMD Zen 4 (EPYC 9654)", 512, 32, 32, 32, 1024, 2.4, 96, 384, 460.8),
    "znver5": _Cpu("AMD Zen 5 (EPYC 9755)", 512, 32, 64, 48, 1024, 2.7, 128, 512, 614.4),
    "neoverse-n1": _Cpu("Arm Neoverse N1 (AWS Graviton2)", 128, 32, 16, 64, 1024, 2.5, 64, 32, 204.8),
    "neoverse-v1": _Cpu("Arm Neoverse V1 (AWS Graviton3)", 256, 32, 32, 64, 1024, 2.6, 64, 32, 307.2),
    "neoverse-n2": _Cpu("Arm Neoverse N2 (Alibaba Yitian 710)", 128, 32, 16, 64, 1024, 2.75, 128, 64, 281.6),
    "neoverse-v2": _Cpu("Arm Neoverse V2 (NVIDIA Grace)", 128, 32, 32, 64, 1024, 3.1, 72, 114, 500),
    "apple-m1": _Cpu("Apple M1 (performance cores)", 128, 32, 32, 128, 3072, 3.2, 4, 8, 68),
    "apple-m2": _Cpu("Apple M2 (performance cores)", 128, 32, 32, 128, 4096, 3.5, 4, 8, 100),
}
# fmt: on

#: Generations of GPUs whose cores hold other than 64 warps and 32 blocks at once. NVIDIA's: CUDA C++
#: Programming Guide, "Technical Specifications per Compute Capability". AMD's: 40 wavefronts of 64
#: (`rocminfo`, "Max Waves Per CU"; 32 since MI200) and 16 blocks; more of a single wavefront, which
#: is not told apart.
_RESIDENT = (
    (re.compile(r"k[248]0(?!\d)"), 64, 16),  # 3.5 and 3.7
    (re.compile(r"t4(?!\d)|rtx-20|gtx-16|titan-rtx|quadro-rtx"), 32, 16),  # 7.5
    (re.compile(r"a(2|10|16|40)(?!\d)|rtx-30|rtx-a\d"), 48, 16),  # 8.6
    (re.compile(r"l(4|40)(?!\d)|rtx-40"), 48, 24),  # 8.9
    (re.compile(r"mi(50|60|100)(?!\d)"), 80, 16),  # gfx906 and gfx908
    (re.compile(r"mi[23]\d\d"), 64, 16),  # gfx90a and gfx942
)

#: Backends that run on the devices of another one, so that ``vulkan-mi50`` has numbers too.
_PORTABLE = ("vulkan", "opencl", "webgpu")


@dataclass(frozen=True)
class Known:
    """One row of the table."""

    device: str
    """Device part of a key: ``a100``, ``emeraldrapids``."""
    backend: str
    """Its own backend: ``cuda``, ``rocm``, ``metal`` or ``llvm``."""
    name: str
    """Name for people."""


@dataclass(frozen=True)
class Residency:
    """What a GPU's core holds at once at most, however little each needs."""

    warps: int
    """Groups of 32 threads; a wavefront of 64 is two."""
    blocks: int
    """Blocks of threads."""


def known() -> list[Known]:
    """All devices of the table, GPUs first."""
    gpus = [Known(device, row.backend, row.name) for device, row in _GPUS.items()]
    return gpus + [Known(device, "llvm", row.name) for device, row in _CPUS.items()]


def lookup(key: HardwareKey) -> HardwareProfile | None:
    """The data-sheet profile of ``key``; ``None`` for a device that the table does not have.

    A CPU key without cores is taken as the whole socket that the table names.
    """
    if key.backend == "llvm":
        return _cpu_profile(key, _CPUS[key.device]) if key.device in _CPUS else None
    row = _GPUS.get(key.device)
    if row is None or key.backend not in (row.backend, *_PORTABLE):
        return None
    return _gpu_profile(key, row)


def architecture(device: str) -> str | None:
    """Whose instructions the CPU ``device`` runs, ``x86_64`` or ``aarch64``; ``None`` where it is
    not known."""
    if device.startswith(("neoverse", "apple", "aarch64")):
        return "aarch64"
    return "x86_64" if device in _CPUS or device == "x86-64" else None


@lru_cache(maxsize=64)
def residency(key: HardwareKey) -> Residency:
    """What a core of the GPU ``key`` holds; what most of NVIDIA's do where nothing else is known."""
    if key.backend != "llvm":
        for device, warps, blocks in _RESIDENT:
            if device.match(key.device):
                return Residency(warps, blocks)
    return Residency(64, 32)


def _gpu_profile(key: HardwareKey, row: _Gpu) -> HardwareProfile:
    return HardwareProfile(
        key=key,
        name=row.name,
        cores=row.cores,
        vector_bits=row.lanes * 32,
        register_bytes=row.register_kib * _KIB,
        l1_bytes=row.l1_kib * _KIB,
        l2_bytes=int(row.l2_mib * _MIB),
        l3_bytes=row.l3_mib * _MIB,
        shared_memory_bytes=row.shared_kib * _KIB,
        clock_hz=row.mhz * 1e6,
        memory_bytes=row.memory_gib * _GIB,
        bandwidth=row.gb_per_second * 1e9,
        peak_flops=row.tflops * 1e12,
        matrix_flops=row.matrix_tflops * 1e12,
        origin="data sheet",
    )


def _cpu_profile(key: HardwareKey, row: _Cpu) -> HardwareProfile:
    cores = key.cores if key.cores is not None else row.socket_cores
    # A guest with few cores still sees the socket's whole last-level cache; its share of the
    # memory channels is what stays for it when its neighbours are busy. More cores than the
    # socket has are more sockets.
    sockets = -(-cores // row.socket_cores)
    flops = cores * row.flops_per_cycle * row.ghz * 1e9
    return HardwareProfile(
        key=key,
        name=row.name,
        cores=cores,
        vector_bits=row.vector_bits,
        register_bytes=row.registers * row.vector_bits // 8,
        l1_bytes=row.l1_kib * _KIB,
        l2_bytes=row.l2_kib * _KIB,
        l3_bytes=int(row.socket_l3_mib * _MIB) * sockets,
        shared_memory_bytes=0,
        clock_hz=row.ghz * 1e9,
        memory_bytes=0,
        bandwidth=row.socket_gb_per_second * 1e9 * cores / row.socket_cores,
        peak_flops=flops,
        matrix_flops=flops,
        origin="data sheet",
    )
