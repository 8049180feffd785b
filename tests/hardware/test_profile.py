from __future__ import annotations

import dataclasses
import json
import math

import pytest

from wmhub.errors import InvalidInputError
from wmhub.hardware import HardwareProfile, known, lookup
from wmhub.hardware.table import Residency, residency
from wmhub.names import BACKENDS, HardwareKey

ALL = [HardwareKey(row.backend, row.device) for row in known()]


@pytest.mark.parametrize("key", ALL, ids=str)
def test_every_known_device_has_sane_numbers(key: HardwareKey) -> None:
    profile = lookup(key)
    assert profile is not None
    assert profile.key == key
    assert profile.origin == "data sheet"
    # Every device of the last fifteen years: bytes and FLOP/s per core and second.
    assert 2e9 < profile.bandwidth / profile.cores < 120e9
    assert 10e9 < profile.peak_flops / profile.cores < 1e12
    assert profile.matrix_flops >= profile.peak_flops
    assert 0.5e9 < profile.clock_hz < 6e9
    assert profile.is_gpu == (profile.shared_memory_bytes > 0) == (key.backend != "llvm")
    assert profile.vector_bits in (128, 256, 512, 1024, 2048)


@pytest.mark.parametrize("key", ALL, ids=str)
def test_a_profile_survives_json(key: HardwareKey) -> None:
    profile = lookup(key)
    assert profile is not None
    assert HardwareProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_the_devices_of_the_public_logs_are_known_and_told_apart() -> None:
    v100, k80 = (lookup(HardwareKey("cuda", name)) for name in ("v100", "k80"))
    assert v100 is not None
    assert k80 is not None
    assert 3 < v100.peak_flops / k80.peak_flops < 4
    assert 3 < v100.bandwidth / k80.bandwidth < 4


def test_cpu_numbers_scale_with_the_cores_of_the_key() -> None:
    two, four = (lookup(HardwareKey("llvm", "emeraldrapids", cores)) for cores in (2, 4))
    assert two is not None
    assert four is not None
    assert four.peak_flops == 2 * two.peak_flops
    assert four.bandwidth == pytest.approx(2 * two.bandwidth)
    assert four.l2_bytes == two.l2_bytes
    assert (two.cores, four.cores) == (2, 4)
    # 2 cores x 2 units x 16 lanes x 2 operations at 1.9 GHz.
    assert two.peak_flops == pytest.approx(2 * 64 * 1.9e9)


def test_more_cores_than_a_socket_has_are_more_sockets() -> None:
    one, two = (lookup(HardwareKey("llvm", "emeraldrapids", cores)) for cores in (64, 128))
    assert one is not None
    assert two is not None
    assert two.l3_bytes == 2 * one.l3_bytes


def test_portable_backends_run_on_the_devices_of_others() -> None:
    for backend in ("vulkan", "opencl"):
        profile = lookup(HardwareKey(backend, "mi50"))
        assert profile is not None
        assert profile.cores == 60


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unknown_device_is_none(backend: str) -> None:
    assert lookup(HardwareKey(backend, "nothing-we-know")) is None


def test_a_device_of_another_backend_is_none() -> None:
    assert lookup(HardwareKey("rocm", "a100")) is None
    assert lookup(HardwareKey("cuda", "emeraldrapids")) is None


@pytest.mark.parametrize("field", ["cores", "bandwidth", "peak_flops", "clock_hz"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_numbers_that_cannot_be_are_refused(field: str, value: float) -> None:
    profile = lookup(HardwareKey("cuda", "a100"))
    assert profile is not None
    with pytest.raises(InvalidInputError, match=field):
        dataclasses.replace(profile, **{field: value})


@pytest.mark.parametrize(
    "change",
    [
        {"cores": "many"},
        {"name": 3},
        {"bandwidth": True},
        {"key": "nope"},
        {"matrix_flops": None},
        {"l1_bytes": None},
        {"l2_bytes": [1]},
        {"peak_flops": 10**400},
    ],
)
def test_hostile_json_is_refused(change: dict[str, object]) -> None:
    profile = lookup(HardwareKey("cuda", "a100"))
    assert profile is not None
    with pytest.raises(ValueError, match=r"hardware (?:profile|key)"):
        HardwareProfile.from_json({**profile.to_json(), **change})  # type: ignore[dict-item]


def test_a_missing_field_is_named() -> None:
    profile = lookup(HardwareKey("cuda", "a100"))
    assert profile is not None
    data = profile.to_json()
    del data["bandwidth"]
    with pytest.raises(InvalidInputError, match="'bandwidth' is missing"):
        HardwareProfile.from_json(data)


@pytest.mark.parametrize(
    ("key", "warps", "blocks"),
    [
        ("cuda-k80", 64, 16), ("cuda-v100", 64, 32), ("cuda-a100", 64, 32), ("cuda-h200", 64, 32),
        ("cuda-t4", 32, 16), ("cuda-rtx-2080-ti", 32, 16), ("cuda-a10", 48, 16),
        ("cuda-a10g", 48, 16), ("vulkan-rtx-3090", 48, 16), ("cuda-rtx-3080-ti", 48, 16),
        ("cuda-l4", 48, 24), ("cuda-l40s", 48, 24), ("cuda-rtx-4090", 48, 24),
        ("cuda-a100-80gb", 64, 32), ("rocm-mi50", 80, 16), ("vulkan-mi60", 80, 16),
        ("rocm-mi100", 80, 16), ("rocm-mi250x", 64, 16), ("rocm-mi300x", 64, 16),
        ("cuda-no-such-thing", 64, 32),
        ("llvm-k80-2c", 64, 32),
    ],
)  # fmt: skip
def test_what_a_multiprocessor_holds_is_its_generation_s(key: str, warps: int, blocks: int) -> None:
    assert residency(HardwareKey.parse(key)) == Residency(warps, blocks)
