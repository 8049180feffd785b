"""Targets of hardware keys, and how many processes build for them."""

from __future__ import annotations

import platform

import pytest

from wmhub.errors import HardwareMismatchError, InvalidInputError
from wmhub.hardware.table import lookup
from wmhub.measure.targets import complete_target, cores_for, given_target, target_of
from wmhub.names import HardwareKey


@pytest.mark.parametrize(
    ("here", "key", "triple"),
    [
        ("x86_64", "llvm-znver4-2c", None),
        ("x86_64", "llvm-neoverse-v1-64c", "aarch64-linux-gnu"),
        ("x86_64", "llvm-apple-m1-4c", "arm64-apple-macosx"),
        ("aarch64", "llvm-neoverse-v1-64c", None),
        ("arm64", "llvm-apple-m1-4c", None),
        ("aarch64", "llvm-emeraldrapids-2c", "x86_64-linux-gnu"),
    ],
)
def test_a_cpu_of_another_architecture_has_its_triple(
    monkeypatch: pytest.MonkeyPatch, here: str, key: str, triple: str | None
) -> None:
    monkeypatch.setattr("platform.machine", lambda: here)
    target = target_of(HardwareKey.parse(key))
    assert target.get("mtriple") == triple
    assert target["num-cores"] == HardwareKey.parse(key).cores


@pytest.mark.tvm
def test_a_cpu_that_our_table_lacks_has_the_triple_under_which_llvm_knows_it() -> None:
    pytest.importorskip("tvm")
    devices = {"x86_64": ("alderlake", "bdver2"), "aarch64": ("cortex-a72", "ampere1")}
    for machine, names in devices.items():
        triple = None if machine == platform.machine() else f"{machine}-linux-gnu"
        for name in names:
            assert target_of(HardwareKey("llvm", name, 4)).get("mtriple") == triple
    with pytest.raises(InvalidInputError, match=r"llvm-of-tomorrow: .* \(--target\)"):
        target_of(HardwareKey("llvm", "of-tomorrow", 4))


def test_a_device_without_a_target_asks_for_one() -> None:
    with pytest.raises(InvalidInputError, match="JSON object"):
        target_of(HardwareKey.parse("cuda-of-tomorrow"))


def test_where_a_target_has_no_cores_this_machine_decides() -> None:
    assert cores_for({"kind": "llvm", "num-cores": 3}) == 3
    assert cores_for({"kind": "cuda"}) >= 1


@pytest.mark.tvm
def test_code_for_another_architecture_is_of_that_architecture() -> None:
    pytest.importorskip("tvm")
    from wmhub.measure.programs import compile_program, trivial_program
    from wmhub.tvm_compat import use_target

    target = use_target(target_of(HardwareKey.parse("llvm-neoverse-v1-2c")))
    compiled = compile_program(trivial_program(target), target)
    assert 'triple = "aarch64-linux-gnu"' in compiled.mod.inspect_source("ll")


@pytest.mark.tvm
def test_a_target_of_a_tag_gets_its_kind_and_a_cpu_its_cores() -> None:
    pytest.importorskip("tvm")
    assert complete_target({"tag": "nvidia/nvidia-a100"})["kind"] == "cuda"
    told = {"kind": "llvm", "num-cores": 3}
    assert complete_target(told) is told
    assert complete_target({"kind": "llvm"})["num-cores"] == cores_for({})


@pytest.mark.parametrize(
    ("hardware", "kind", "fits"),
    [
        ("llvm-znver4-2c", "llvm", True),
        ("llvm-znver4-2c", "cuda", False),
        ("cuda-h200", "llvm", False),
        ("rocm-mi50", "cuda", False),
        ("cuda-h200", "vulkan", True),
        ("vulkan-mi50", "rocm", True),
    ],
)
def test_a_target_has_to_fit_its_hardware(hardware: str, kind: str, fits: bool) -> None:
    target, key = {"kind": kind, "num-cores": 2}, HardwareKey.parse(hardware)
    if fits:
        assert given_target(target, key)["kind"] == kind
    else:
        with pytest.raises(HardwareMismatchError, match=f"{kind} is nothing for {hardware}"):
            given_target(target, key)


def test_a_gpu_without_a_name_is_compiled_for_by_its_architecture() -> None:
    assert target_of(HardwareKey("rocm", "gfx942"))["mcpu"] == "gfx942"
    assert target_of(HardwareKey("rocm", "mi50"))["mcpu"] == "gfx906"


def test_the_wavefronts_of_rdna_are_half_as_wide() -> None:
    widths = {"gfx90a": 64, "gfx942": 64, "mi50": 64, "gfx1030": 32, "gfx1100": 32, "gfx1201": 32}
    for device, width in widths.items():
        assert target_of(HardwareKey("rocm", device))["thread_warp_size"] == width


def test_a_target_has_the_cores_of_its_hardware() -> None:
    key = HardwareKey.parse("llvm-neoverse-n1-4c")
    assert given_target({"kind": "llvm", "mcpu": "neoverse-n1"}, key)["num-cores"] == 4
    with pytest.raises(HardwareMismatchError, match="64 cores is nothing for llvm-neoverse-n1-4c"):
        given_target({"kind": "llvm", "num-cores": 64}, key)
    # Without a number of its own, a key means the whole socket, as its profile does.
    whole = HardwareKey.parse("llvm-neoverse-n1")
    known = lookup(whole)
    assert known is not None
    assert target_of(whole)["num-cores"] == known.cores > 1
