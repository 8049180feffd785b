"""Which hardware is meant, and what its schedules are compiled for."""

from __future__ import annotations

from pathlib import Path

import pytest
from scorers import FakeEvaluator

from wmhub.errors import HardwareMismatchError, InvalidInputError
from wmhub.names import HardwareKey
from wmhub.search.choose import (
    alike,
    choose_evaluator,
    going_on,
    machine_for,
    measured_on,
    target_for,
)

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("cuda-a100", "cuda-a100", True),
        ("llvm-rocketlake-2c", "llvm-emeraldrapids-2c", True),
        ("llvm-emeraldrapids-4c", "llvm-emeraldrapids-2c", False),
        ("llvm-znver3-2c", "llvm-emeraldrapids-2c", False),
        ("llvm-znver3-2c", "llvm-haswell-2c", True),
        ("llvm-znver3-2c", "llvm-neoverse-v1-2c", False),
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


def test_records_of_other_hardware_with_the_same_target_are_no_records_of_this(
    tmp_path: Path,
) -> None:
    h100, h200 = HardwareKey.parse("cuda-h100"), HardwareKey.parse("cuda-h200")
    (tmp_path / "report.json").write_text('{"measured_on": ["cuda-h100"]}')
    found = measured_on(tmp_path)
    assert found == ("cuda-h100",)
    assert going_on(tmp_path, found, h100, allow_other_hardware=False) is None
    with pytest.raises(HardwareMismatchError, match="measured on cuda-h100, not on cuda-h200"):
        going_on(tmp_path, found, h200, allow_other_hardware=False)
    assert "cuda-h100" in str(going_on(tmp_path, found, h200, allow_other_hardware=True))
    # What was allowed once is no record of this hardware the next time either.
    with pytest.raises(HardwareMismatchError, match="measured on cuda-h100, not on cuda-h200"):
        going_on(tmp_path, ("cuda-h200", *found), h200, allow_other_hardware=False)


@pytest.mark.parametrize("report", [None, "", "[]", "{}", "7", '{"measured_on": 7}'])
def test_a_database_without_a_report_is_taken_on_trust(tmp_path: Path, report: str | None) -> None:
    if report is not None:
        (tmp_path / "report.json").write_text(report)
    assert measured_on(tmp_path) == ()
    note = going_on(tmp_path, (), HardwareKey.parse("cuda-h200"), allow_other_hardware=False)
    assert "taken on trust that cuda-h200 measured it" in str(note)


def test_a_lock_says_nothing_of_an_evaluator_that_is_loaded(tmp_path: Path) -> None:
    key = FakeEvaluator.hardware
    assert choose_evaluator(FakeEvaluator(), key, False)[1] is None  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="yet to be loaded: give the name"):
        choose_evaluator(FakeEvaluator(), key, False, tmp_path / "wmhub.lock")  # type: ignore[arg-type]
