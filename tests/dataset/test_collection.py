from __future__ import annotations

import base64
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasetmaking import die, interrupted
from logmaking import ansor_line, ansor_log, meta_database

import wmhub
from wmhub.dataset.manifest import MANIFEST
from wmhub.dataset.reader import open_dataset
from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    InvalidNameError,
    LogFormatError,
    MissingInputError,
    OutputExistsError,
    WmhubError,
)
from wmhub.logs.lines import MOST_LINE_BYTES


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_text(ansor_log())
    return path


def collect(*logs: Path | str, output: Path, **options: object) -> wmhub.collection.CollectReport:
    return wmhub.collect(logs, output, **{"hardware": "cuda-v100", **options})


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


def test_a_dataset_grows_by_what_it_lacks(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(log, output=out)
    before = open_dataset(out).splits
    files = {path: path.stat() for path in out.iterdir()}
    again = collect(log, output=out, update=True)
    assert (again.added, str(again.manifest.version)) == (0, "1.0.0")
    assert again.is_unchanged
    assert {path: path.stat() for path in out.iterdir()} == files
    asked = collect(log, output=out, update=True, version="1.0.1")
    assert (asked.is_unchanged, str(asked.manifest.version)) == (False, "1.0.1")
    assert str(open_dataset(out).manifest.version) == "1.0.1"
    with log.open("a") as file:
        for number in range(9):
            file.write(ansor_line(key=json.dumps(["new", number])) + "\n")
    more = collect(log, output=out, update=True)
    assert (more.added, str(more.manifest.version)) == (9, "1.1.0")
    after = open_dataset(out).splits
    assert all(set(before[split]) <= set(after[split]) for split in before)
    with pytest.raises(HardwareMismatchError, match="cannot be added"):
        collect(log, output=out, update=True, hardware="cuda-k80")
    assert not list(tmp_path.glob("out.*"))


def test_a_chunk_is_not_parsed_twice(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was interrupted goes on: runs of the same chunks are taken up."""
    from wmhub.dataset import ingest

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wmhub.collection.assemble", stop)
    with pytest.raises(KeyboardInterrupt):
        collect(log, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "out.wmhub/runs").iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setattr(ingest, "parse_chunk", stop)
    report = collect(log, output=tmp_path / "out")
    assert report.manifest.counts.records == 40
    assert report.counts.failures == {"build_timeout": 4}
    monkeypatch.setattr(ingest, "parse_chunk", stop)
    with log.open("a") as file:
        file.write(ansor_line(timestamp=1) + "\n")
    with pytest.raises(KeyboardInterrupt):
        collect(log, output=tmp_path / "other")


def test_killed_at_any_moment_it_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    log, out = tmp_path / "a.log", tmp_path / "out"
    with log.open("w") as file:
        for part in range(60):
            file.write(ansor_log(100, 5).replace("matmul", f"matmul{part}"))
    command = [sys.executable, "-m", "wmhub", "collect", str(log), "--hardware", "cuda-v100"]
    command += ["--output", str(out), "--json", "--workers", "1"]
    killed = 0
    for pause in (0.3, 0.6, 0.8, 1.0, 1.2, 1.4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            break
        killed += 1
        assert not (out / MANIFEST).exists() or open_dataset(out)
        if (out / MANIFEST).exists():
            break
    assert killed
    if not (out / MANIFEST).exists():
        done = subprocess.run(command, capture_output=True, check=True, env=os.environ)
        assert json.loads(done.stdout)["records"] == 6000
    assert open_dataset(out).manifest.counts.records == 6000


def test_interrupted_with_workers_it_says_one_word_and_goes_on(tmp_path: Path) -> None:
    log, out = tmp_path / "a.log", tmp_path / "out"
    with log.open("w") as file:
        # Many chunks, so that there is work left long after the first.
        for part in range(600):
            file.write(ansor_log(100, 5).replace("matmul", f"matmul{part}"))
    command = [sys.executable, "-m", "wmhub", "collect", str(log), "--hardware", "cuda-v100"]
    command += ["--output", str(out), "--json", "--workers", "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        # A shell starts what runs in the background with interrupts ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.glob("out.wmhub/runs/*.run")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "error: interrupted"
    assert not out.exists()
    assert list(tmp_path.glob("out.wmhub/runs/*.run"))
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["records"] == 60_000
    assert not list(tmp_path.glob("out.*"))


def test_a_worker_that_dies_is_explained(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.dataset import ingest

    monkeypatch.setattr(ingest, "_FEW_BYTES", 0)
    monkeypatch.setattr(ingest, "_parse", die)
    with pytest.raises(WmhubError, match="a process that parsed logs died"):
        collect(log, output=tmp_path / "out", workers=2)


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


def test_what_else_lies_in_the_folder_of_a_dataset_stays_when_it_grows(
    log: Path, tmp_path: Path
) -> None:
    real = tmp_path / "disk" / "data"
    real.parent.mkdir()
    link = tmp_path / "data"
    link.symlink_to(real)
    real.mkdir()
    collect(log, output=link)
    (real / "notes.txt").write_text("mine")
    (real / ".git").mkdir()
    (real / ".git" / "HEAD").write_text("ref")
    more = tmp_path / "b.log"
    more.write_text(ansor_log().replace("1637575039", "1737575039"))
    before = open_dataset(link).manifest.counts.records
    collect(more, output=link, update=True)
    assert link.is_symlink()
    assert open_dataset(real).manifest.counts.records > before
    assert (real / "notes.txt").read_text() == "mine"
    assert (real / ".git" / "HEAD").read_text() == "ref"
    assert sorted(path.name for path in real.parent.iterdir()) == ["data"]


def test_test_workloads_of_a_dataset_that_grows(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    collect(log, output=output)
    splits = open_dataset(output).splits
    more = tmp_path / "b.log"
    more.write_text(ansor_line(key='["another", 8]') + "\n")
    # One that only the existing dataset has may be named; one that has trained may not be.
    collect(more, output=output, update=True, test_workloads=splits["test"])
    assert open_dataset(output).manifest.test_workloads == tuple(splits["test"])
    with pytest.raises(InvalidInputError, match=r"train split already.*wmhub dataset split"):
        collect(log, output=output, update=True, test_workloads=splits["train"][:1])


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


def test_bad_lines_do_not_pile_up_while_a_log_grows(log: Path, tmp_path: Path) -> None:
    for number in range(3):
        log.write_text("broken\n" + ansor_log() + ansor_line(key=f'["more", {number}]') + "\n")
        collect(log, output=tmp_path / "out", update=True)
    assert (tmp_path / "out/rejected.jsonl").read_text().count("\n") == 1


def test_a_run_that_a_loss_of_power_cut_short_is_made_again(log: Path, tmp_path: Path) -> None:
    runs = interrupted(tmp_path / "out", "runs")
    collect(log, output=tmp_path / "other")
    known: list[Path] = []

    def keep(_progress: object) -> None:
        known.extend(runs.glob("*.run"))
        for path in known:
            path.write_bytes(path.read_bytes()[:100])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(log, output=tmp_path / "out", progress=keep)
    assert known
    assert collect(log, output=tmp_path / "out").manifest.counts.records == 40


def test_a_profile_that_became_known_is_filled_in(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmhub.hardware.table.lookup", lambda key: None)
    assert collect(log, output=tmp_path / "out").manifest.profile is None
    monkeypatch.undo()
    log.write_text(ansor_log() + ansor_line(key='["more", 1]') + "\n")
    assert collect(log, output=tmp_path / "out", update=True).manifest.profile is not None


def test_a_version_that_is_none_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError, match="version"):
        collect(tmp_path / "missing.log", output=tmp_path / "out", version="one")
