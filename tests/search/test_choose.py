"""Which hardware is meant, and what its schedules are compiled for."""

from __future__ import annotations

import pytest

from wmhub.names import HardwareKey
from wmhub.search.choose import alike, machine_for, target_for

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("cuda-a100", "cuda-a100", True),
        ("llvm-rocketlake-2c", "llvm-emeraldrapids-2c", True),
        ("llvm-emeraldrapids-4c", "llvm-emeraldrapids-2c", False),
        ("llvm-znver3-2c", "llvm-emeraldrapids-2c", False),
        ("llvm-unheardof-2c", "llvm-emeraldrapids-2c", False),
        ("cuda-v100", "cuda-k80", False),
        ("cuda-a100", "llvm-emeraldrapids-2c", False),
    ],
)
def test_hardware_that_is_alike(one: str, other: str, expected: bool) -> None:
    assert alike(HardwareKey.parse(one), HardwareKey.parse(other)) is expected


def test_what_cannot_be_probed_is_taken_on_trust() -> None:
    named = HardwareKey.parse("vulkan-mi50")
    key, note = machine_for(named, allow_other_hardware=False)
    assert key == named
    assert "on trust" in str(note)


def test_what_runs_elsewhere_is_compiled_for_that_cpu() -> None:
    from wmhub.tvm_compat import llvm_cpu

    key = HardwareKey.parse("llvm-znver3-8c")
    there = target_for(key, None, runs_here=False)
    assert (there["mcpu"], there["num-cores"]) == ("znver3", 8)
    here = target_for(key, None, runs_here=True)
    assert (here["mcpu"], here["num-cores"]) == (llvm_cpu(), 8)
