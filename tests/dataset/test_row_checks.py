from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from checking import change_rows, kinds
from datasetmaking import Make, lines_of
from logmaking import ansor_line, tiled

from wmhub.dataset.check import check
from wmhub.dataset.row_checks import least_flops, most_flops
from wmhub.hardware.table import lookup
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload

BIG = [["SP", 2, 0, 1 << 20, [4, 8], 1], ["SP", 2, 3, 1 << 20, [8], 1], ["RE", 2, [0, 3, 1, 4, 2]]]


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        ([0.0], "not positive and finite"),
        ([-1.0], "not positive and finite"),
        ([float("nan")], "not positive and finite"),
        ([float("inf")], "not positive and finite"),
        ([], "neither a time nor a failure"),
        ([1e-9], "too short"),
        ([3600.0], "too long"),
    ],
)
def test_impossible_times(make: Make, seconds: list[float], reason: str) -> None:
    folder = make(lines=lines_of(5))
    change_rows(folder, run_seconds=[seconds])
    report = check(folder)
    assert kinds(report) == {"time": "error"}
    assert reason in report.findings[0].reason
    assert "a.log:" in report.findings[0].where


def test_faster_than_the_hardware_can_be(make: Make) -> None:
    """2**40 multiplications take a V100 70 ms at the least, even without tensor cores."""
    lines = [ansor_line(steps=BIG, seconds=[s], timestamp=s) for s in (0.001, 1.0)]
    report = check(make(lines=lines))
    assert kinds(report) == {"too-fast": "error"}
    assert report.totals == {"too-fast": 1}
    assert "TFLOP/s" in report.findings[0].reason


def test_a_clock_above_the_data_sheets_is_no_fault() -> None:
    sheet = lookup(HardwareKey.parse("llvm-emeraldrapids-2c"))
    gpu = lookup(HardwareKey.parse("cuda-v100"))
    assert sheet is not None
    assert gpu is not None
    assert most_flops(sheet) == 2 * sheet.peak_flops
    probed = dataclasses.replace(sheet, origin="probed")
    assert most_flops(probed) == 1.5 * probed.peak_flops
    assert most_flops(gpu) == pytest.approx(1.1 * gpu.matrix_flops)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("trace", "garbage", "no valid JSON"),
        ("trace", "{}", "the steps are no list"),
        ("trace", "[7]", "a transform step is not"),
        ("trace", "[" * 100_000, "no valid JSON"),
        ("target", "nonsense", "no valid JSON"),
        ("target", "[1]", "the target is neither"),
        ("context", "null", "the context is no list"),
        ("context", "", "no valid JSON"),
    ],
)
def test_rows_that_no_log_can_have_given(make: Make, column: str, value: str, reason: str) -> None:
    folder = make(lines=lines_of(5))
    change_rows(folder, **{column: [value]})
    report = check(folder)
    form = [finding for finding in report.findings if finding.kind == "form"]
    assert len(form) == report.totals["form"] > 0
    assert all(reason in finding.reason for finding in form)
    assert not report.passed


def test_a_trace_of_the_other_scheduler(make_database: Make) -> None:
    folder = make_database()
    change_rows(folder, trace=["[]"])
    reasons = [finding.reason for finding in check(folder).findings if finding.kind == "form"]
    assert "the trace is not [instructions, decisions]" in reasons[0]


def test_an_extent_beyond_floats_is_too_fast(make: Make) -> None:
    """And no end of the check."""
    steps = [["SP", 2, 0, 10**400, [4, 8], 1], *BIG[1:]]
    report = check(make(lines=[ansor_line(steps=steps)]))
    assert kinds(report) == {"too-fast": "error"}


def test_identical_times_of_all_candidates(make: Make) -> None:
    same = [ansor_line(steps=tiled(n), seconds=[0.5], timestamp=n) for n in range(1, 9)]
    assert kinds(check(make("same", same))) == {"identical": "error"}
    assert check(make("few", same[:7])).passed


@pytest.mark.parametrize(
    ("steps", "flops"),
    [
        (BIG, float(1 << 40)),
        ([*BIG[:2], ["SP", 2, 1, 512, [2], 1], BIG[2]], float(1 << 40)),
        (BIG[:2], 0.0),
        ([["FU", 2, [0, 1]], *BIG], 0.0),
        ([["SP", 2, 0, None, [4], 1], *BIG[1:]], 0.0),
        ([["SP", 2], *BIG], 0.0),
        ([["SP"], 7], 0.0),
        ([], 0.0),
        ([["SP", 2, 0, 10**400, [4, 8], 1], *BIG[1:]], float("inf")),
    ],
    ids=[
        "tiled",
        "an iterator split twice",
        "not tiled",
        "fused first",
        "unknown extent",
        "no arguments",
        "no step",
        "none",
        "beyond floats",
    ],
)
def test_a_lower_bound_of_the_work(steps: list[object], flops: float) -> None:
    workload = Workload("w", Scheduler.AUTO_SCHEDULER, "[]", None)
    assert least_flops(workload, json.dumps(steps)) == flops


def test_the_bound_holds_on_real_logs(shared_logs: Path, tmp_path: Path) -> None:
    import wmhub

    for folder, hardware in (
        ("auto_scheduler/cuda-a100/mmperf", "cuda-a100"),
        # 0.445 TFLOP/s where the data sheet's clock allows 0.243: the cores turbo.
        ("meta_schedule/llvm-emeraldrapids-2c", "llvm-emeraldrapids-2c"),
    ):
        out = tmp_path / hardware
        options = {"hardware": hardware, "licence": "MIT", "contributor": "upstream"}
        wmhub.collect([shared_logs / folder], out, **options)  # type: ignore[arg-type]
        assert check(out).findings == ()


def test_a_cpus_records_in_a_gpus_dataset(make: Make) -> None:
    lines = [*lines_of(6), ansor_line(key='["matmul", 9]', target="llvm -keys=cpu")]
    report = check(make(lines=lines, hardware="cuda-v100"))
    (error,) = [finding for finding in report.findings if finding.kind == "target"]
    assert "compiled for llvm, which cuda-v100 cannot have run" in error.reason
    assert not report.passed


@pytest.mark.tvm
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("matmul-m32-n32-k32", 1.0),
        # Of 16 x 16 x 9 elements under a 3 x 3 kernel, the border's are zeros.
        ("conv2d-n1-h16-w16-ci8-co8-k3-s1-p1", (16 / 18) ** 2),
        # Of two rows and two columns one each is given.
        ("deconv2d-n1-h8-w8-ci8-co8-k2-s2-p0-nhwc", (8 / 10) ** 2 / 4),
        ("softmax-m64-n64", 1.0),
    ],
)
def test_zeros_that_a_program_fills_in_are_no_work(name: str, share: float) -> None:
    pytest.importorskip("tvm")
    from wmhub.measure import zoo
    from wmhub.measure.programs import save_program
    from wmhub.tvm_json import parse_program

    text = save_program(zoo.build(name))
    least = least_flops(Workload("w", Scheduler.META_SCHEDULE, "0", text), "[]")
    assert least == pytest.approx(share * parse_program(text).flops, rel=0.1)
