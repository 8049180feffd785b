from __future__ import annotations

import dataclasses

import pytest

from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    MeasureError,
    MissingDependencyError,
)
from wmhub.hardware.calibrate import Calibration, calibrate, copy_bytes
from wmhub.hardware.machine import CpuFacts
from wmhub.hardware.probe import (
    GpuFacts,
    examine,
    gpu_device,
    gpu_profile,
    judge_cpu,
    measured_here,
    probe,
)

FACTS = CpuFacts(
    model_name="Intel(R) Xeon(R) Processor",
    microarchitecture="emeraldrapids",
    disguised_as=None,
    microarchitecture_by_flags="sapphirerapids",
    flags=frozenset({"avx512f", "amx_tile"}),
    cores=2,
    threads=2,
    quota=None,
    l1_bytes=48 << 10,
    l2_bytes=2 << 20,
    l3_bytes=260 << 20,
    clock_hz=2.1e9,
    governor=None,
    memory_bytes=24 << 30,
    sve_bits=None,
)
QUIET = Calibration(flops=240e9, bandwidth=30e9, noise=0.01)


def test_a_quiet_machine_that_is_what_it_says() -> None:
    found = judge_cpu(FACTS, llvm_name="emeraldrapids", calibration=QUIET, load=0.1)
    assert str(found.profile.key) == "llvm-emeraldrapids-2c"
    assert found.warnings == ()
    assert (found.profile.peak_flops, found.profile.bandwidth) == (240e9, 30e9)
    assert (found.profile.vector_bits, found.profile.register_bytes) == (512, 2048)
    assert found.profile.origin == "probed"


def test_a_disguised_model_is_reported_with_both_names() -> None:
    facts = dataclasses.replace(
        FACTS, microarchitecture="sapphirerapids", disguised_as="rocketlake"
    )
    found = judge_cpu(facts, llvm_name=None, calibration=QUIET, load=0.1)
    assert str(found.profile.key) == "llvm-sapphirerapids-2c"
    (warning,) = found.warnings
    assert "rocketlake" in warning
    assert "sapphirerapids" in warning


def test_without_tvm_the_name_comes_from_the_machine() -> None:
    found = judge_cpu(FACTS, llvm_name=None, calibration=None, load=0.0)
    assert str(found.profile.key) == "llvm-emeraldrapids-2c"


@pytest.mark.parametrize("kind", [MissingDependencyError, RuntimeError, OSError, AttributeError])
def test_a_tvm_that_does_not_work_is_none(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def broken() -> str:
        raise kind("undefined symbol: TVMFFIFoo")

    monkeypatch.setattr("wmhub.tvm_compat.llvm_cpu", broken)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert probe(quick=True).key.backend == "llvm"


def test_without_calibration_an_unknown_cpu_gets_numbers_from_clock_and_width() -> None:
    facts = dataclasses.replace(FACTS, microarchitecture="x86-64", flags=frozenset({"avx"}))
    found = judge_cpu(facts, llvm_name=None, calibration=None, load=0.0)
    assert found.profile.peak_flops == 2 * 2.1e9 * 8 * 4


@pytest.mark.parametrize(
    ("facts", "calibration", "load", "words"),
    [
        (FACTS, dataclasses.replace(QUIET, noise=0.21), 0.0, ["noisy", "21%"]),
        (FACTS, QUIET, 4.7, ["busy", "4.7"]),
        (dataclasses.replace(FACTS, threads=4), QUIET, 0.0, ["4 hardware threads on 2 cores"]),
        (dataclasses.replace(FACTS, quota=1.5), QUIET, 0.0, ["1.5 CPUs", "throttles"]),
        (dataclasses.replace(FACTS, governor="powersave"), QUIET, 0.0, ["'powersave'"]),
    ],
)
def test_what_makes_latencies_less_sure_is_said(
    facts: CpuFacts, calibration: Calibration, load: float, words: list[str]
) -> None:
    found = judge_cpu(facts, llvm_name="emeraldrapids", calibration=calibration, load=load)
    (warning,) = found.warnings
    assert all(word in warning for word in words)


@pytest.mark.parametrize(
    ("backend", "name", "gib", "device"),
    [
        ("cuda", "NVIDIA A100-SXM4-40GB", 40, "a100"),
        ("cuda", "NVIDIA A100-SXM4-80GB", 80, "a100-80gb"),
        ("cuda", "NVIDIA H200", 141, "h200"),
        ("cuda", "Tesla V100-SXM2-16GB", 16, "v100"),
        ("cuda", "Tesla K80", 12, "k80"),
        ("cuda", "NVIDIA GeForce RTX 3090", 24, "rtx-3090"),
        ("cuda", "NVIDIA GeForce GTX 1080 Ti", 11, "gtx-1080-ti"),
        ("cuda", "NVIDIA L4", 24, "l4"),
        ("cuda", "NVIDIA L40S", 48, "l40s"),
        ("cuda", "NVIDIA A10", 24, "a10"),
        ("cuda", "NVIDIA Quadro GV100", 32, "quadro-gv100"),
        ("cuda", "NVIDIA GeForce RTX 3080 Ti", 12, "rtx-3080-ti"),
        ("cuda", "NVIDIA GeForce RTX 3080 Ti Laptop GPU", 16, "rtx-3080-ti-laptop"),
        ("cuda", "NVIDIA GeForce RTX 4090 Laptop GPU", 16, "rtx-4090-laptop"),
        ("cuda", "NVIDIA GeForce RTX 4090 D", 24, "rtx-4090-d"),
        ("cuda", "GeForce GTX 1080 Ti with Max-Q Design", 11, "gtx-1080-ti-max-q"),
        ("cuda", "GeForce RTX 2080 SUPER", 8, "rtx-2080-super"),
        ("cuda", "NVIDIA H100 80GB HBM3", 80, "h100"),
        ("cuda", "NVIDIA H100 PCIe", 80, "h100-pcie"),
        ("cuda", "NVIDIA H100 NVL", 94, "h100-nvl"),
        ("cuda", "NVIDIA H200 NVL", 141, "h200"),
        ("cuda", "NVIDIA A100-PCIE-40GB", 40, "a100"),
        ("cuda", "NVIDIA A100 80GB PCIe", 80, "a100-80gb"),
        ("cuda", "Tesla V100-PCIE-32GB", 32, "v100"),
        ("cuda", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 10, "a100-mig-1g-10gb"),
        ("cuda", "NVIDIA A100-PCIE-40GB MIG 3g.20gb", 20, "a100-mig-3g-20gb"),
        ("rocm", "AMD Instinct MI250X", 64, "mi250x"),
        ("rocm", "", 1, "unknown"),
    ],
)
def test_marketing_names_become_devices(backend: str, name: str, gib: int, device: str) -> None:
    assert gpu_device(backend, name, gib << 30) == device


def test_a_known_gpu_keeps_its_data_sheet_but_for_what_the_driver_knows() -> None:
    facts = GpuFacts("NVIDIA H200", 132, 32, 233472, 62914560, 1.98e9, 150 << 30)
    profile = gpu_profile("cuda", facts)
    assert str(profile.key) == "cuda-h200"
    assert profile.bandwidth == 4800e9
    assert profile.l2_bytes == 62914560
    assert profile.origin == "probed"


def test_a_slice_of_a_gpu_has_a_slice_of_its_speed() -> None:
    facts = GpuFacts("NVIDIA H200", 66, 32, 0, 0, 0.0, 70 << 30)
    whole = gpu_profile("cuda", dataclasses.replace(facts, cores=132))
    assert gpu_profile("cuda", facts).peak_flops == pytest.approx(whole.peak_flops / 2)


def test_an_unknown_gpu_gets_numbers_from_its_driver() -> None:
    facts = GpuFacts("NVIDIA L40S", 142, 32, 102400, 96 << 20, 2.52e9, 48 << 30)
    profile = gpu_profile("cuda", facts)
    assert str(profile.key) == "cuda-l40s"
    assert profile.peak_flops == pytest.approx(91.6e12, rel=0.01)


def test_what_is_named_must_be_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = gpu_profile("cuda", GpuFacts("NVIDIA H200", 132, 32, 0, 0, 0.0, 141 << 30))
    monkeypatch.setattr("wmhub.hardware.probe._read_gpu", lambda backend: None)
    monkeypatch.setattr("wmhub.hardware.probe.gpu_profile", lambda backend, facts: profile)
    assert str(measured_here("cuda-h200")) == "cuda-h200"
    with pytest.raises(HardwareMismatchError, match="this machine is cuda-h200, not cuda-a100"):
        measured_here("cuda-a100")
    assert measured_here(None).backend == "llvm"


def test_what_cannot_be_probed_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="metal"):
        probe("metal")


def test_a_missing_gpu_is_said() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MeasureError, match="no cuda device"):
        probe("cuda")


def test_this_machine_can_be_probed_without_calibration() -> None:
    found = examine(quick=True)
    assert found.profile.key.backend == "llvm"
    assert found.profile.cores == found.profile.key.cores


def test_the_calibration_reaches_plausible_numbers() -> None:
    measured = calibrate(1)
    assert 1e9 < measured.flops < 1e12
    assert 1e8 < measured.bandwidth < 1e12
    assert measured.noise >= 0


@pytest.mark.parametrize(
    ("cores", "l3_mib", "memory_gib", "mib"),
    [
        (2, 260, 24, 256),
        (2, 8, 1, 64),
        (8, 0, 0, 512),
        (64, 32, 512, 1024),
        (128, 504, 1024, 2048),
        (192, 32, 16, 1024),
    ],
)
def test_the_calibration_takes_little_memory_and_exceeds_the_caches(
    cores: int, l3_mib: int, memory_gib: int, mib: int
) -> None:
    assert copy_bytes(cores, l3_mib << 20, memory_gib << 30) == mib << 20


def test_a_calibration_that_fails_says_so() -> None:
    with pytest.raises(MeasureError, match="calibration"):
        calibrate(1, timeout_seconds=0.01)


@pytest.mark.parametrize("name", ["AMD Radeon Graphics", "AMD Radeon", ""])
def test_a_gpu_without_a_name_of_its_own_has_its_architectures(name: str) -> None:
    assert gpu_device("rocm", name, 64 << 30, "gfx942") == "gfx942"
    assert gpu_device("rocm", "AMD Radeon RX 7900 XTX", 24 << 30, "gfx1100") == "rx-7900-xtx"
