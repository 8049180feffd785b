"""Reads this machine: its key, its numbers, and how sure they are."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import warnings
from dataclasses import dataclass

from wmhub.errors import HardwareMismatchError, InvalidInputError, MeasureError
from wmhub.hardware.calibrate import Calibration, calibrate
from wmhub.hardware.machine import CpuFacts, read_cpu
from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import known, lookup
from wmhub.names import HardwareKey

#: Backends whose device here can be told.
PROBED = ("llvm", "cuda", "rocm")
#: Above this share, repeated timings of one program differ by more than most schedules do.
NOISY = 0.05
#: Words after a GPU's name that make another device of it.
_VARIANT = re.compile(r"-(ti|super|laptop|max-q|d|pcie|nvl|mig.*)(?=-|$)")
#: Cards that have the whole chip of the table's device, and its memory, all the same.
_WHOLE = {
    ("p100", "pcie"),
    ("v100", "pcie"),
    ("a100", "pcie"),
    ("a100-80gb", "pcie"),
    ("h200", "nvl"),
}


class NoisyMachineWarning(UserWarning):
    """Something about this machine makes latencies less sure."""


@dataclass(frozen=True)
class Probe:
    """A machine's profile and what is doubtful about it."""

    profile: HardwareProfile
    warnings: tuple[str, ...]
    """Sentences for people; empty on a quiet machine that is what it says it is."""


def probe(backend: str = "llvm", *, quick: bool = False) -> HardwareProfile:
    """The profile of this machine's CPU (``llvm``) or first GPU; see ``examine``."""
    return examine(backend, quick=quick).profile


def measured_here(hardware: HardwareKey | str | None) -> HardwareKey:
    """This machine's CPU, or the device of it that ``hardware`` names.

    Raises ``HardwareMismatchError`` where this machine has another.
    """
    return _here(hardware, quick=True).profile.key


def calibrated_here(hardware: HardwareKey | str | None) -> HardwareProfile:
    """The profile of what ``measured_here`` returns, calibrated in a few seconds.

    Warns of what makes latencies less sure (``NoisyMachineWarning``).
    """
    found = _here(hardware, quick=False)
    for sentence in found.warnings:
        warnings.warn(sentence, NoisyMachineWarning, stacklevel=3)
    return found.profile


def _here(hardware: HardwareKey | str | None, *, quick: bool) -> Probe:
    if hardware is None:
        return examine(quick=quick)
    named = HardwareKey.parse(str(hardware))
    found = examine(named.backend, quick=quick)
    if found.profile.key != named:
        raise HardwareMismatchError(
            f"this machine is {found.profile.key}, not {named}; measure there"
        )
    return found


def examine(backend: str = "llvm", *, quick: bool = False) -> Probe:
    """Probes the CPU (``llvm``) or the first GPU (``cuda``, ``rocm``) of this machine.

    ``quick`` leaves out the calibration of a few seconds; speed then comes from the table, or from
    clock and vector width. Raises ``MeasureError`` without such a device.
    """
    if backend == "llvm":
        facts = read_cpu()
        return judge_cpu(
            facts,
            llvm_name=_llvm_name(),
            calibration=None if quick else calibrate(facts.cores),
            load=os.getloadavg()[0],
        )
    if backend in PROBED:
        return Probe(gpu_profile(backend, _read_gpu(backend)), ())
    raise InvalidInputError(f"only llvm, cuda and rocm can be probed, not {backend!r}")


def judge_cpu(
    facts: CpuFacts, *, llvm_name: str | None, calibration: Calibration | None, load: float
) -> Probe:
    """The profile and the warnings that follow from what was read and measured.

    ``llvm_name``: what code is generated for (``tvm_compat.llvm_cpu``), ``None`` without a TVM that
    works; it wins over the name read here. ``load``: runnable processes, on average.
    """
    device = re.sub(r"[^a-z0-9]+", "-", (llvm_name or facts.microarchitecture).lower()).strip("-")
    key = HardwareKey("llvm", device or "unknown", facts.cores)
    profile = _cpu_profile(key, facts, calibration)
    return Probe(profile, tuple(_cpu_warnings(device, facts, calibration, load)))


def _cpu_profile(
    key: HardwareKey, facts: CpuFacts, calibration: Calibration | None
) -> HardwareProfile:
    row = lookup(key)
    clock = facts.clock_hz or (row.clock_hz if row else 2e9)
    # Two fused multiply-adds per cycle, as most cores since Haswell and Zen 2 have.
    flops = row.peak_flops if row else facts.cores * clock * facts.vector_bits / 32 * 4
    bandwidth = row.bandwidth if row else facts.cores * 4e9
    if calibration:
        flops, bandwidth = calibration.flops, calibration.bandwidth
    registers = 32 if facts.vector_bits == 512 or "asimd" in facts.flags else 16
    return HardwareProfile(
        key=key,
        name=facts.model_name,
        cores=facts.cores,
        vector_bits=facts.vector_bits,
        register_bytes=registers * facts.vector_bits // 8,
        l1_bytes=facts.l1_bytes or (row.l1_bytes if row else 32 << 10),
        l2_bytes=facts.l2_bytes or (row.l2_bytes if row else 256 << 10),
        l3_bytes=facts.l3_bytes or (row.l3_bytes if row else 0),
        shared_memory_bytes=0,
        clock_hz=clock,
        memory_bytes=facts.memory_bytes,
        bandwidth=bandwidth,
        peak_flops=flops,
        matrix_flops=flops,
        origin="probed",
    )


def _cpu_warnings(
    device: str, facts: CpuFacts, calibration: Calibration | None, load: float
) -> list[str]:
    found = []
    flags_name = facts.microarchitecture_by_flags
    widest = lookup(HardwareKey("llvm", flags_name)) if flags_name else None
    named = lookup(HardwareKey("llvm", device))
    if facts.disguised_as is not None and device == facts.microarchitecture:
        found.append(
            f"a hypervisor gives this CPU the model number of a {facts.disguised_as}, but its "
            f"instructions are those of {flags_name} or later: it is taken, and compiled for, as "
            "that"
        )
    elif widest and named and widest.vector_bits > named.vector_bits:
        found.append(
            f"LLVM names this CPU {device}, but its instructions are those of {flags_name}"
        )
    if calibration and calibration.noise > NOISY:
        found.append(
            f"noisy: half of 30 runs of one program took {calibration.noise:.0%} longer than the "
            "best or more; stop other work before measuring"
        )
    if load > 0.5 * facts.cores:
        found.append(f"busy: {load:.1f} processes were running on {facts.cores} cores")
    if facts.threads > facts.cores and facts.quota is None:
        found.append(
            f"{facts.threads} hardware threads on {facts.cores} cores: schedules are measured "
            f"with {facts.cores}, one per core"
        )
    if facts.quota is not None and facts.quota < facts.threads:
        found.append(f"a container limits this process to {facts.quota:g} CPUs and throttles it")
    if facts.governor not in (None, "performance"):
        found.append(
            f"the frequency governor is {facts.governor!r}, so the clock follows the load: set it "
            "to performance"
        )
    return found


def _llvm_name() -> str | None:
    """What TVM compiles for on this CPU; ``None`` without a TVM that works."""
    try:
        if importlib.util.find_spec("tvm") is None:
            return None
        from wmhub import tvm_compat

        return tvm_compat.llvm_cpu()
    except Exception:  # A TVM of another age, or a broken one, has kinds of its own.
        return None


@dataclass(frozen=True)
class GpuFacts:
    """A GPU as its driver tells it."""

    name: str
    """Marketing name, such as ``NVIDIA A100-SXM4-40GB``."""
    cores: int
    """Multiprocessors or compute units."""
    warp_size: int
    """Threads of a warp or wavefront."""
    shared_memory_bytes: int
    """Shared memory per multiprocessor, in bytes; 0 where the driver does not tell."""
    l2_bytes: int
    """L2 cache, in bytes; 0 where the driver does not tell."""
    clock_hz: float
    """Boost clock, in Hz; 0 where the driver does not tell."""
    memory_bytes: int
    """Device memory, in bytes."""
    architecture: str = ""
    """What its compiler calls it, such as ``gfx942``; empty where the driver does not tell."""


def gpu_device(backend: str, name: str, memory_bytes: int, architecture: str = "") -> str:
    """Device part of the key for a marketing name: the table's device, else the name's own words,
    or ``architecture`` where it has none: many of AMD's are just ``AMD Radeon Graphics``.

    The longest device of the table whose words all stand in the name wins; memory tells the two
    A100 apart, which carry the same name in some drivers. Words after it that name another cut of
    the chip (``3080 Ti``, ``4090 Laptop GPU``, ``H100 PCIe``) or a slice of it (``MIG 1g.10gb``)
    make it a device of its own; a card of another form with the whole chip and its memory stays
    what it is: clock and power differ, and the driver tells the clock.
    """
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    joined = "-".join(words)
    fitting = [
        (row.device, found.end())
        for row in known()
        if row.backend == backend
        and (found := re.search(rf"(?:^|-){re.escape(row.device)}(?=-|$)", joined))
    ]
    if not fitting:
        own = [
            word for word in words if word not in ("nvidia", "amd", "geforce", "tesla", "radeon")
        ]
        if own in ([], ["graphics"]):
            own = [re.sub(r"[^a-z0-9]+", "-", architecture.lower()) or "unknown"]
        return "-".join(own)[:64].strip("-")
    device, end = max(fitting, key=lambda found: len(found[0]))
    if device == "a100" and memory_bytes > 60e9:
        device = "a100-80gb"
    variants = [word for word in _VARIANT.findall(joined[end:]) if (device, word) not in _WHOLE]
    return "-".join([device, *variants])


def gpu_profile(backend: str, facts: GpuFacts) -> HardwareProfile:
    """The table's numbers with what the driver knows better; all from the driver if unknown."""
    key = HardwareKey(
        backend, gpu_device(backend, facts.name, facts.memory_bytes, facts.architecture)
    )
    row = lookup(key)
    if row is not None:
        return dataclasses.replace(
            row,
            name=facts.name,
            cores=facts.cores,
            l2_bytes=facts.l2_bytes or row.l2_bytes,
            shared_memory_bytes=facts.shared_memory_bytes or row.shared_memory_bytes,
            clock_hz=facts.clock_hz or row.clock_hz,
            memory_bytes=facts.memory_bytes,
            peak_flops=row.peak_flops * facts.cores / row.cores,
            matrix_flops=row.matrix_flops * facts.cores / row.cores,
            origin="probed",
        )
    clock = facts.clock_hz or 1.5e9
    lanes = 128 if backend == "cuda" else 64
    flops = facts.cores * lanes * 2 * clock
    return HardwareProfile(
        key=key,
        name=facts.name,
        cores=facts.cores,
        vector_bits=facts.warp_size * 32,
        register_bytes=256 << 10,
        l1_bytes=128 << 10,
        l2_bytes=facts.l2_bytes or 4 << 20,
        l3_bytes=0,
        shared_memory_bytes=facts.shared_memory_bytes or 64 << 10,
        clock_hz=clock,
        memory_bytes=facts.memory_bytes,
        # Devices of the last decade move about one byte for 20 to 40 float32 operations.
        bandwidth=flops / 30,
        peak_flops=flops,
        matrix_flops=flops,
        origin="probed",
    )


def _read_gpu(backend: str) -> GpuFacts:
    import torch

    built_for_rocm = torch.version.hip is not None
    if not torch.cuda.is_available() or built_for_rocm != (backend == "rocm"):
        raise MeasureError(f"no {backend} device can be used through this build of PyTorch")
    found = torch.cuda.get_device_properties(0)
    return GpuFacts(
        name=found.name,
        cores=found.multi_processor_count,
        warp_size=getattr(found, "warp_size", 64 if built_for_rocm else 32),
        shared_memory_bytes=getattr(found, "shared_memory_per_multiprocessor", 0),
        l2_bytes=getattr(found, "L2_cache_size", 0),
        clock_hz=getattr(found, "clock_rate", 0) * 1e3,
        memory_bytes=found.total_memory,
        # With its features behind colons: gfx942:sramecc+:xnack-.
        architecture=getattr(found, "gcnArchName", "").partition(":")[0],
    )
