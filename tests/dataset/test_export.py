from __future__ import annotations

import json
from pathlib import Path

import pytest
from checking import change_rows
from datasetmaking import Make, interrupted
from logmaking import ansor_line, ansor_log

import wmhub
from wmhub.dataset.export import export
from wmhub.dataset.reader import open_dataset
from wmhub.errors import DatasetError, InvalidInputError, OutputExistsError


def contents(folder: Path) -> list[dict[str, object]]:
    drop = ["source", "line"]
    tables = open_dataset(folder).iter_tables()
    return [row for table in tables for row in table.drop_columns(drop).to_pylist()]


def test_an_exported_ansor_log_is_the_log(make: Make, tmp_path: Path) -> None:
    folder = make()
    report = export(folder, tmp_path / "log")
    assert (report.records, report.workloads, report.left_out) == (40, 4, 0)
    (path,) = report.files
    assert sorted(path.read_text().splitlines()) == sorted(
        line.replace("10000000000.0", "1e+10") for line in ansor_log().splitlines()
    )
    wmhub.collect([path], tmp_path / "again", hardware="cuda-v100", contributor="me", licence="MIT")
    assert contents(tmp_path / "again") == contents(folder)


def test_an_exported_database_is_the_database(make_database: Make, tmp_path: Path) -> None:
    folder = make_database()
    report = export(folder, tmp_path / "db")
    assert [path.name for path in report.files] == [
        "database_workload.json",
        "database_tuning_record.json",
    ]
    again = {"hardware": "llvm-emeraldrapids-2c", "contributor": "me", "licence": "MIT"}
    wmhub.collect([tmp_path / "db"], tmp_path / "again", **again)  # type: ignore[arg-type]
    assert contents(tmp_path / "again") == contents(folder)


def test_best_is_one_record_of_each_workload(make: Make, tmp_path: Path) -> None:
    lines = [ansor_line(key='["a"]', seconds=[s], timestamp=n) for n, s in enumerate([3, 1, 2])]
    lines += [ansor_line(key='["b"]', seconds=[1e10], error=4)]
    report = export(make(lines=lines), tmp_path / "best", best=True)
    assert (report.records, report.workloads) == (1, 1)
    assert json.loads(report.files[0].read_text())["r"][0] == [1]


def test_one_split_and_the_right_format(make: Make, make_database: Make, tmp_path: Path) -> None:
    folder = make()
    assert export(folder, tmp_path / "test", split="test").workloads < 4
    with pytest.raises(InvalidInputError, match="no records of meta_schedule"):
        export(folder, tmp_path / "x", format="meta_schedule")
    with pytest.raises(OutputExistsError):
        export(folder, tmp_path / "test")
    failed = make("failed", [ansor_line(seconds=[1e10], error=1)])
    with pytest.raises(InvalidInputError, match="no measured record"):
        export(failed, tmp_path / "none", best=True)
    assert not list(tmp_path.glob("none*"))


def test_what_is_cut_leaves_no_half_export(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, output = make(), tmp_path / "log"
    written = 0

    def stop(*arguments: object) -> str:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError("No space left on device")
        return "{}"

    monkeypatch.setattr("wmhub.logs.ansor.format_line", stop)
    with pytest.raises(OSError, match="No space"):
        export(folder, output)
    assert not list(tmp_path.glob("log*"))
    monkeypatch.undo()
    # What a kill leaves, and an empty folder that is there already.
    killed = interrupted(output, "export")
    (killed / "half").write_text("{}")
    output.mkdir()
    report = export(folder, output)
    assert [path.name for path in output.iterdir()] == ["auto_scheduler.json"]
    assert report.files == (output / "auto_scheduler.json",)
    assert not list(tmp_path.glob("log.*"))


def test_workloads_without_a_program_are_left_out_and_counted(
    make_database: Make, tmp_path: Path
) -> None:
    folder = make_database()
    log = tmp_path / "database-log"
    lines = (log / "database_workload.json").read_text().splitlines()
    (log / "database_workload.json").write_text(lines[0] + "\n")
    wmhub.collect([log], tmp_path / "some", hardware="llvm-emeraldrapids-2c")
    report = export(tmp_path / "some", tmp_path / "db")
    assert (report.workloads, report.left_out) == (1, 8)
    assert open_dataset(folder).manifest.counts.records == report.records + report.left_out


@pytest.mark.tvm
def test_tvm_loads_the_database_and_its_best_record_replays(
    shared_logs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tvm")
    from tvm.s_tir import meta_schedule as ms  # type: ignore[import-untyped,unused-ignore]
    from tvm.s_tir.schedule import Schedule  # type: ignore[import-untyped,unused-ignore]

    run = shared_logs / "meta_schedule/llvm-emeraldrapids-2c/run-4"
    wmhub.collect([run], tmp_path / "data", hardware="llvm-emeraldrapids-2c")
    whole = export(tmp_path / "data", tmp_path / "whole")
    best = export(tmp_path / "data", tmp_path / "best", best=True)
    assert (whole.records, best.records) == (240, 3)
    for report in (whole, best):
        database = ms.database.JSONDatabase(
            path_workload=str(report.files[0]), path_tuning_record=str(report.files[1])
        )
        records = database.get_all_tuning_records()
        assert len(records) == report.records
        fastest = min(records, key=lambda record: min(map(float, record.run_secs)))
        schedule = Schedule(fastest.workload.mod)
        fastest.trace.apply_to_schedule(schedule, remove_postproc=False)
        assert "T.parallel" in str(schedule.mod) or "T.vectorized" in str(schedule.mod)


def test_what_no_log_can_hold_is_named(make: Make, tmp_path: Path) -> None:
    folder = make()
    change_rows(folder, trace=["no JSON"])
    with pytest.raises(DatasetError, match=r"row 0 of w[0-9a-f]{20}: trace, target or context"):
        export(folder, tmp_path / "log", split="train")
