from __future__ import annotations

import pytest

from wmhub.hub import nearest_model
from wmhub.names import HardwareKey

_KEYS = (
    "llvm-emeraldrapids-2c", "llvm-emeraldrapids-32c", "llvm-znver3-8c", "cuda-v100", "cuda-k80",
    "cuda-a100",
)  # fmt: skip
_AVAILABLE = {f"wm-{key}": HardwareKey.parse(key) for key in _KEYS}


@pytest.mark.parametrize(
    ("here", "chosen"),
    [
        ("cuda-v100", "wm-cuda-v100"),
        ("cuda-h100", "wm-cuda-a100"),
        ("cuda-a100-80gb", "wm-cuda-a100"),
        ("llvm-emeraldrapids-2c", "wm-llvm-emeraldrapids-2c"),
        ("llvm-emeraldrapids-4c", "wm-llvm-emeraldrapids-2c"),
        ("llvm-emeraldrapids-16c", "wm-llvm-emeraldrapids-32c"),
        ("llvm-rocketlake-2c", "wm-llvm-emeraldrapids-2c"),
        ("llvm-haswell-8c", "wm-llvm-znver3-8c"),
        ("llvm-unheardof-2c", "wm-llvm-emeraldrapids-2c"),
        ("rocm-mi50", None),
        ("metal-m1", None),
    ],
)
def test_choice(here: str, chosen: str | None) -> None:
    choice = nearest_model(HardwareKey.parse(here), _AVAILABLE)
    assert choice.name == chosen
    assert set(choice.reasons) == set(_AVAILABLE)
    if chosen:
        assert next(iter(choice.reasons)) == chosen


def test_each_says_why() -> None:
    name, reasons = nearest_model(HardwareKey.parse("llvm-rocketlake-2c"), _AVAILABLE)
    assert name == "wm-llvm-emeraldrapids-2c"
    assert reasons[name].startswith(
        "nearest to llvm-rocketlake-2c: trained on llvm-emeraldrapids-2c: same vector width, cores"
    )
    assert reasons["wm-cuda-v100"] == "trained on cuda-v100: schedules of cuda, not of llvm"
    assert "0.5x vector width" in reasons["wm-llvm-znver3-8c"]
    exact = nearest_model(HardwareKey.parse("cuda-k80"), _AVAILABLE)
    assert exact.reasons["wm-cuda-k80"] == "trained on cuda-k80, the same hardware"


def test_without_profiles_and_without_models() -> None:
    here = HardwareKey.parse("cuda-a10")
    choice = nearest_model(here, _AVAILABLE, profiles=lambda key: None)
    assert choice.name == "wm-cuda-a100"
    assert "cuda-a10 is not in the table" in choice.reasons["wm-cuda-a100"]
    assert nearest_model(here, {}) == (None, {})


def test_the_same_device_with_other_cores() -> None:
    here = HardwareKey.parse("llvm-emeraldrapids")
    name, reasons = nearest_model(here, _AVAILABLE)
    assert name == "wm-llvm-emeraldrapids-2c"
    assert reasons[name] == (
        "nearest to llvm-emeraldrapids: trained on llvm-emeraldrapids-2c: same device, 2 cores "
        "instead of an unknown number of cores"
    )
