from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasetmaking import collect
from logmaking import ansor_line, meta_database

import wmhub
from wmhub.dataset.reader import open_dataset
from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    InvalidNameError,
    LogFormatError,
    MeasureError,
    MissingInputError,
    OutputExistsError,
)
from wmhub.logs.lines import MOST_LINE_BYTES
from wmhub.names import HardwareKey


def test_a_log_becomes_a_dataset(log: Path, tmp_path: Path) -> None:
    options = {"contributor": "me", "licence": "MIT", "hardware": "cuda-v100"}
    report = wmhub.collect(log, tmp_path / "out", **options)  # type: ignore[arg-type]
    manifest = report.manifest
    assert (manifest.counts.lines, manifest.counts.measured, manifest.counts.failed) == (40, 36, 4)
    assert manifest.counts.workloads == 4
    assert manifest.licences == {"MIT": 40}
    assert manifest.licence == "MIT"
    assert manifest.contributors == {"me": 40}
    assert manifest.counts.failures == {"build_timeout": 4}
    assert manifest.profile is not None
    assert str(manifest.version) == "1.0.0"
    dataset = open_dataset(tmp_path / "out")
    records = [r for _, rows in dataset.iter_workload_records() for r in rows.records()]
    assert len(records) == 40
    assert {record.source for record in records} == {"a.log"}
    assert sorted(record.line for record in records) == list(range(1, 41))
    assert not list(tmp_path.glob("out.*"))


def test_the_same_records_make_the_same_rows_in_any_order(log: Path, tmp_path: Path) -> None:
    """Whatever the order, the split into files, and the number of workers."""
    lines = log.read_text().splitlines()
    half = tmp_path / "halves"
    half.mkdir()
    (half / "1.log").write_text("\n".join(lines[20:]))
    (half / "2.log").write_text("\n".join(lines[:20]))
    collect(log, output=tmp_path / "whole")
    collect(half, output=tmp_path / "joined", workers=2)
    tables = []
    for name in ("whole", "joined"):
        dataset = open_dataset(tmp_path / name)
        tables.append(
            [t.drop_columns(["source", "line"]).to_pylist() for t in dataset.iter_tables()]
        )
        assert dataset.splits == open_dataset(tmp_path / "whole").splits
    assert tables[0] == tables[1]


def test_exact_repeats_are_left_out_and_measurements_again_are_not(tmp_path: Path) -> None:
    lines = [
        ansor_line(),
        ansor_line(),
        ansor_line(timestamp=5),
        ansor_line(seconds=[0.002]),
        ansor_line(key='["other"]'),
    ]
    (tmp_path / "a.log").write_text("\n".join(lines))
    (tmp_path / "b.log").write_text(lines[0])
    report = collect(tmp_path / "*.log", output=tmp_path / "out")
    counts = report.manifest.counts
    assert (counts.lines, counts.records, counts.duplicates) == (6, 4, 2)
    tables = open_dataset(tmp_path / "out").iter_tables(columns=["candidate_id", "source"])
    rows = [row for table in tables for row in table.to_pylist()]
    same = [row["candidate_id"] for row in rows].count(rows[0]["candidate_id"])
    neighbours = [row["candidate_id"] for row in rows]
    assert max(same, neighbours.count(neighbours[-1])) == 3
    assert neighbours == sorted(neighbours, key=neighbours.index)
    assert {row["source"] for row in rows} == {"a.log"}


def test_a_database_with_and_without_its_workloads(tmp_path: Path) -> None:
    programs, records = meta_database()
    (tmp_path / "database_workload.json").write_text(programs)
    (tmp_path / "database_tuning_record.json").write_text(records)
    whole = collect(tmp_path / "database_workload.json", output=tmp_path / "out")
    assert whole.manifest.counts.unresolved_workloads == 0
    assert whole.manifest.counts.failures == {"unknown": 1}
    (tmp_path / "database_workload.json").write_text(programs.splitlines()[0] + "\n{broken\n")
    some = collect(tmp_path / "database_tuning_record.json", output=tmp_path / "some")
    assert (some.manifest.counts.workloads, some.manifest.counts.unresolved_workloads) == (3, 2)
    (tmp_path / "database_workload.json").unlink()
    none = collect(tmp_path / "database_tuning_record.json", output=tmp_path / "none")
    assert none.manifest.counts.unresolved_workloads == 3
    assert none.manifest.counts.records == whole.manifest.counts.records == 12


def test_programs_with_constants_are_longer_than_any_record(tmp_path: Path) -> None:
    programs, records = meta_database()
    longer = json.dumps(["7000", base64.b64encode(b"x" * (13 << 19)).decode()])
    programs = "\n".join([longer, *programs.splitlines()[1:]]) + "\n"
    assert len(programs) > MOST_LINE_BYTES
    (tmp_path / "database_workload.json").write_text(programs)
    (tmp_path / "database_tuning_record.json").write_text(records)
    report = collect(tmp_path / "database_tuning_record.json", output=tmp_path / "out")
    assert report.manifest.counts.unresolved_workloads == 0


def test_standard_input_compressed(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = gzip.compress(log.read_bytes())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert collect("-", output=tmp_path / "out").manifest.counts.records == 40
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"what is this?\n")))
    with pytest.raises(LogFormatError, match="stdin: neither"):
        collect("-", output=tmp_path / "other")


def test_rejected_lines_are_in_the_report_and_in_the_dataset(log: Path, tmp_path: Path) -> None:
    with log.open("a") as file:
        file.write(ansor_line(seconds=[0]) + "\n" + ansor_line()[:30])
    report = collect(log, output=tmp_path / "out")
    assert report.counts.rejected == 2
    lines = (tmp_path / "out/rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [41, 42]
    assert "rejected.jsonl" in [entry.name for entry in report.manifest.files]
    with pytest.raises(LogFormatError, match=r"a\.log:41: a run time of 0"):
        collect(log, output=tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_splits_by_an_explicit_list(log: Path, tmp_path: Path) -> None:
    chosen = ['["matmul", 64, 32, 3]', '["matmul", 64, 32, 1]']
    report = collect(log, output=tmp_path / "out", test_workloads=chosen)
    dataset = open_dataset(tmp_path / "out")
    keys = {dataset.workloads()[id_].key for id_ in dataset.splits["test"]}
    assert keys == set(chosen)
    assert set(report.manifest.test_workloads) == set(dataset.splits["test"])
    with pytest.raises(InvalidInputError, match="neither the id nor the key"):
        collect(log, output=tmp_path / "other", test_workloads=["nothing"])


def test_bad_input(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(MissingInputError, match=r"missing\.log"):
        collect(tmp_path / "missing.log", output=out)
    with pytest.raises(InvalidNameError, match="warp9"):
        collect(log, output=out, hardware="warp9-v100")
    (tmp_path / "comments.log").write_text('# only\n{"i": \n')
    with pytest.raises(LogFormatError, match="none of 1 lines holds a record; the first"):
        collect(tmp_path / "comments.log", output=out)
    assert not out.exists()
    collect(log, output=out)
    with pytest.raises(OutputExistsError, match="a dataset is here already"):
        collect(log, output=out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(OutputExistsError, match="no dataset"):
        collect(log, output=tmp_path / "full")


def test_hardware_is_probed_where_it_is_not_told(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.hardware import probe
    from wmhub.hardware.table import lookup
    from wmhub.names import HardwareKey

    profile = lookup(HardwareKey.parse("cuda-a100"))
    monkeypatch.setattr(probe, "probe", lambda: profile)
    report = collect(log, output=tmp_path / "out", hardware=None)
    assert report.manifest.hardware == HardwareKey.parse("cuda-a100")
    assert report.manifest.profile == profile


def test_all_real_logs(shared_logs: Path, tmp_path: Path) -> None:
    """A sample of every folder; lines are measured, failed or rejected, and nothing is unknown."""
    for folder in sorted(path.parent for path in shared_logs.rglob("*.gz")):
        out = tmp_path / folder.relative_to(shared_logs).as_posix().replace("/", "-")
        if out.exists():
            continue
        logs = sorted(folder.glob("*.gz"), key=lambda path: path.stat().st_size)[:3]
        if logs[-1].stat().st_size > 1 << 20:
            continue
        counts = collect(*logs, output=out).manifest.counts
        assert counts.lines == counts.measured + counts.failed + counts.rejected
        assert counts.records > 0
        assert counts.rejected == 0
        assert counts.unknown_actions == {}
        assert counts.unresolved_workloads == 0


def test_a_gpus_logs_do_not_pass_for_this_machines_cpu(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.hardware import probe
    from wmhub.hardware.table import lookup
    from wmhub.names import HardwareKey

    monkeypatch.setattr(probe, "probe", lambda: lookup(HardwareKey.parse("llvm-znver4-2c")))
    with pytest.raises(HardwareMismatchError, match=r"of cuda, and without --hardware .*znver4"):
        collect(log, output=tmp_path / "out", hardware=None)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.wmhub").exists()
    cpu = tmp_path / "cpu.log"
    cpu.write_text(ansor_line(target="llvm -keys=cpu") + "\n")
    grown = collect(cpu, output=tmp_path / "out", hardware=None).manifest
    assert str(grown.hardware) == "llvm-znver4-2c"
    with pytest.raises(HardwareMismatchError, match=r"of cuda, .* pass for llvm-znver4-2c, as"):
        collect(log, output=tmp_path / "out", hardware=None, update=True)
    assert open_dataset(tmp_path / "out").manifest == grown


def test_a_damaged_line_of_a_workload_file_is_told(tmp_path: Path) -> None:
    database = tmp_path / "db"
    database.mkdir()
    programs, records = meta_database()
    (database / "database_tuning_record.json").write_text(records)
    lines = programs.splitlines()
    lines[0] = lines[0][: len(lines[0]) // 2]
    (database / "database_workload.json").write_text("\n".join(lines) + "\n")
    report = collect(database, output=tmp_path / "out")
    counts = report.manifest.counts
    assert counts.unresolved_workloads == 1
    assert counts.rejected == 1
    assert counts.lines == counts.measured + counts.failed + counts.rejected
    (found,) = report.rejections
    assert (found.source, found.line) == ("database_workload.json", 1)
    with pytest.raises(LogFormatError, match=r"database_workload\.json:1: "):
        collect(database, output=tmp_path / "strict", strict=True)


def test_a_version_that_is_none_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError, match="version"):
        collect(tmp_path / "missing.log", output=tmp_path / "out", version="one")


def test_logs_of_this_machine_with_a_device_of_no_table_have_its_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from wmhub.collection import _hardware
    from wmhub.hardware import probe
    from wmhub.hardware.table import lookup

    key = HardwareKey("cuda", "of-tomorrow")
    known = lookup(HardwareKey("cuda", "h200"))
    assert known is not None
    mine = dataclasses.replace(known, key=key)
    monkeypatch.setattr(probe, "probe", lambda backend, quick=False: mine)
    assert _hardware(key, None, None) == (key, mine)
    assert _hardware("cuda-of-yesterday", None, None) == (HardwareKey("cuda", "of-yesterday"), None)
    assert _hardware("vulkan-of-tomorrow", None, None)[1] is None

    def without(backend: str, quick: bool = False) -> None:
        raise MeasureError("no cuda device can be used")

    monkeypatch.setattr(probe, "probe", without)
    assert _hardware(key, None, None) == (key, None)
