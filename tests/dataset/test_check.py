from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasetmaking import Make, lines_of
from logmaking import ansor_line, tiled

from wmhub.dataset.check import CheckReport, Finding, Severity, check
from wmhub.dataset.export import export
from wmhub.dataset.manifest import file_entry, read_manifest, write_manifest
from wmhub.dataset.row_checks import Kind, least_flops, most_flops
from wmhub.errors import DatasetError
from wmhub.hardware.table import lookup
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload

BIG = [["SP", 2, 0, 1 << 20, [4, 8], 1], ["SP", 2, 3, 1 << 20, [8], 1], ["RE", 2, [0, 3, 1, 4, 2]]]


def kinds(report: CheckReport) -> dict[str, str]:
    return {finding.kind: str(finding.severity) for finding in report.findings}


def change_rows(folder: Path, **columns: list[object]) -> None:
    """Writes other values into the training rows, and makes the digest fit."""
    name = "trajectories-train-00000.parquet"
    table = pq.read_table(folder / name)
    for column, values in columns.items():
        field = table.schema.field(column)
        values = (values * len(table))[: len(table)]
        array = pa.array(values, field.type)
        table = table.set_column(table.schema.get_field_index(column), field, array)
    replace_file(folder, name, table)


def replace_file(folder: Path, name: str, table: pa.Table) -> None:
    """Writes ``table`` as the file ``name``, and makes rows and digest in the manifest fit."""
    pq.write_table(table, folder / name)
    manifest = read_manifest(folder)
    entry = file_entry(folder, name, len(table))
    files = tuple(entry if old.name == name else old for old in manifest.files)
    write_manifest(folder, dataclasses.replace(manifest, files=files))


def test_a_good_dataset_passes(make: Make, make_database: Make) -> None:
    for folder in (make(), make_database()):
        report = check(folder)
        assert report.findings == ()
        assert report.passed
        assert "**failed**" not in report.to_markdown()


def test_what_a_manifest_must_have(make: Make) -> None:
    lines = [*lines_of(3), "broken", ansor_line(steps=[["NEW", 0]])]
    report = check(make(lines=lines, licence="", contributor="", hardware="opencl-nothing"))
    assert kinds(report) == {
        "licence": "error",
        "profile": "error",
        "contributor": "warning",
        "rejected": "warning",
        "unknown-action": "note",
    }
    assert not report.passed
    closed = check(make("closed", licence="Proprietary"))
    assert kinds(closed) == {"licence": "error"}
    assert "no open SPDX licence" in closed.findings[0].reason


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


def test_rows_that_are_published_already(make: Make) -> None:
    first = make("first", lines_of(6))
    second = make("second", [*lines_of(6), ansor_line(timestamp=3)])
    report = check(second, published=[first])
    assert kinds(report) == {"published": "warning"}
    assert report.totals == {"published": 6}
    assert report.passed
    (warning,) = report.warnings
    assert warning.startswith("published (6): row ")


def test_rows_that_are_all_published_already(make: Make) -> None:
    lines = [ansor_line(timestamp=n) for n in range(30)]
    copied = make("copied", lines, contributor="eve")
    report = check(copied, published=[make("first", lines[:9]), make("second", lines[9:])])
    assert kinds(report) == {"published": "warning", "nothing-new": "error"}
    assert not report.passed
    assert "all 30 records are published already" in report.findings[0].reason


def test_ids_hardware_and_scheduler_of_rows(make: Make) -> None:
    folder = make()
    change_rows(
        folder,
        candidate_id=["c0"],
        hardware=["cuda-k80"],
        scheduler=["meta_schedule"],
        failure=["?"],
    )
    report = check(folder)
    found = ("id", "hardware", "scheduler", "time", "counts")
    assert kinds(report) == dict.fromkeys(found, "error")


@pytest.mark.parametrize("kind", ["licence", "contributor"])
def test_what_the_rows_name_is_what_the_manifest_counts(make: Make, kind: str) -> None:
    folder = make(lines=lines_of(9))
    assert check(folder).passed
    change_rows(folder, **{kind: ["Proprietary"]})
    report = check(folder)
    assert kinds(report) == {kind: "error"}
    reasons = " ".join(finding.reason for finding in report.findings)
    assert "rows name 'Proprietary', and the manifest counts 0" in reasons


def test_counts_of_the_manifest_are_those_of_the_rows(make: Make) -> None:
    folder = make()
    manifest = read_manifest(folder)
    train = dataclasses.replace(manifest.splits["train"], workloads=77, measured=1)
    splits = {**manifest.splits, "train": train}
    write_manifest(folder, dataclasses.replace(manifest, splits=splits, licence="0BSD"))
    report = check(folder)
    assert kinds(report) == {"counts": "error", "licence": "error"}
    assert report.totals == {"counts": 1, "licence": 1}


def test_rows_in_a_split_that_is_not_theirs(make: Make) -> None:
    folder = make()
    ids = pq.read_table(folder / "trajectories-test-00000.parquet")["workload_id"].to_pylist()
    change_rows(folder, workload_id=ids[:1])
    assert {"split", "order", "id"} <= set(kinds(check(folder)))


def test_damage_is_a_finding(make: Make) -> None:
    folder = make()
    (folder / "workloads-00000.parquet").write_text("broken")
    report = check(folder)
    assert kinds(report) == {"damage": "error"}


def test_text_that_is_no_utf_8_is_damage(make: Make) -> None:
    folder = make()
    name = "trajectories-train-00000.parquet"
    table = pq.read_table(folder / name)
    traces = pa.array([b"\xff\xfe"] * len(table), pa.binary()).view(pa.string())
    index = table.schema.get_field_index("trace")
    replace_file(folder, name, table.set_column(index, table.schema.field(index), traces))
    assert kinds(check(folder)) == {"damage": "error"}
    with pytest.raises(DatasetError, match="UTF8"):
        export(folder, folder.with_name("logs"))


def test_a_run_time_that_is_null_is_damage(make: Make) -> None:
    folder = make()
    change_rows(folder, run_seconds=[[None, 1e-3]])
    report = check(folder)
    assert kinds(report) == {"damage": "error"}
    assert "run time" in report.findings[0].reason


def test_a_failure_of_no_kind_is_not_exported(make: Make) -> None:
    folder = make()
    change_rows(folder, failure=["zzz"])
    with pytest.raises(DatasetError, match="'zzz'"):
        export(folder, folder.with_name("logs"))
    assert not folder.with_name("logs").exists()


def test_what_no_check_foresaw_is_a_finding(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("beyond what can be counted")

    monkeypatch.setattr("wmhub.dataset.check.check_workload", fail)
    assert "beyond what" in check(make()).findings[0].reason


def test_the_report_for_a_pull_request(make: Make) -> None:
    lines = [ansor_line(key=f'["m", {n}]', seconds=[1e-9]) for n in range(30)]
    report = check(make(lines=lines))
    text = report.to_markdown()
    assert text.startswith("### `wmhub dataset check` of cuda-v100 v1.0.0: **failed**")
    assert text.count("| error | time |") == 20
    assert "10 more of time." in text
    assert [f.severity for f in report.findings] == [Severity.ERROR] * 20


def test_a_check_holds_no_more_findings_than_it_lists(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many millions of rows each may be wrong."""
    held = most = 0

    class Counted(Finding):
        def __init__(self, *args: Any) -> None:
            nonlocal held, most
            super().__init__(*args)
            held += 1
            most = max(most, held)

        def __del__(self) -> None:
            nonlocal held
            held -= 1

    monkeypatch.setattr("wmhub.dataset.check.Finding", Counted)
    lines = [ansor_line(key=f'["m", {n}]', seconds=[1e-9]) for n in range(200)]
    report = check(make(lines=lines))
    assert report.totals == {"time": 200}
    assert len(report.findings) == 20
    assert most < 25


def test_contributing_says_what_to_do_about_each_kind() -> None:
    text = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (?:error|warning|note) \| ([^|]*) \|", text, re.MULTILINE)
    named = [kind for row in rows for kind in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(named) == sorted(get_args(Kind))


def test_a_log_cannot_write_markup_into_the_report(make: Make) -> None:
    steps = [["<img>\n| x", 1]]
    text = check(make(lines=[ansor_line(steps=steps)], licence="<b>")).to_markdown()
    assert "licences: \\<b\\>." in text
    assert r"the action '\<img\>\\n\| x', which" in text


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


def test_rows_of_a_workload_that_is_not_there_are_a_finding(make: Make) -> None:
    folder = make()
    name = "workloads-00000.parquet"
    replace_file(folder, name, pq.read_table(folder / name).slice(1))
    report = check(folder)
    assert any("not among its workloads" in finding.reason for finding in report.findings)


def test_a_column_that_may_be_empty_is_damage(make: Make) -> None:
    folder = make()
    name = "workloads-00000.parquet"
    table = pq.read_table(folder / name)
    loose = pa.schema([field.with_nullable(True) for field in table.schema])
    replace_file(folder, name, table.cast(loose))
    assert any("may be empty" in finding.reason for finding in check(folder).findings)


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
