"""Every line of a workload file has a place, and damage keeps its own."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from logmaking import workload_line

from wmhub.logs import workloads as under_test
from wmhub.logs.workloads import read_workload_file


def test_a_damaged_line_keeps_its_number(tmp_path: Path) -> None:
    path = tmp_path / "database_workload.json"
    path.write_text(f"{workload_line(0)}\n\nbroken\r lines\n{workload_line(1)}\n")
    found = read_workload_file(path, "db/w.json")
    assert [id_ is None for id_ in found.ids] == [False, True, False]
    assert set(found.workloads) == {found.ids[0], found.ids[2]}
    (rejected,) = found.rejections
    assert (rejected.source, rejected.line) == ("db/w.json", 3)


def test_damage_without_end_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_MOST_DAMAGED", 5000)
    path = tmp_path / "database_workload.json.gz"
    lines = f"{workload_line(0)}\n" + "1\n" * 200_000
    path.write_bytes(gzip.compress(lines.encode()))
    found = read_workload_file(path, "w")
    assert found.damaged == 5001
    assert len(found.ids) == 5002
    assert len(found.rejections) == under_test.MOST_REJECTIONS_KEPT
    assert found.rejections[-1].line == 5002
    assert "no more is read" in found.rejections[-1].reason


def test_a_stream_that_breaks_off_is_one_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "database_workload.json.gz"
    path.write_bytes(gzip.compress(f"{workload_line(0)}\n".encode() * 9000)[:-20])
    found = read_workload_file(path, "w")
    *lines, stream = found.rejections
    assert len(lines) <= 1  # It may break off amid a line.
    assert found.damaged == len(found.rejections)
    assert "damaged or cut short" in stream.reason
