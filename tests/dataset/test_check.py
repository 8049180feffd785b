from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checking import change_rows, kinds, replace_file
from datasetmaking import Make, lines_of
from logmaking import ansor_line

from wmhub.dataset.check import Finding, Severity, check
from wmhub.dataset.export import export
from wmhub.dataset.manifest import read_manifest, write_manifest
from wmhub.dataset.row_checks import Kind
from wmhub.errors import DatasetError


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
