from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logmaking import TRACE, meta_line, program, workload_line

from wmhub.logs.meta_schedule import (
    MetaScheduleReader,
    format_line,
    format_workload,
    parse_workload,
    unresolved_workload,
)
from wmhub.logs.text import RejectedLineError
from wmhub.records import FailureKind, MeasureRecord, Scheduler

WORKLOAD = parse_workload(workload_line(0).encode())


def read(line: str) -> tuple[MeasureRecord, set[str]]:
    return MetaScheduleReader("db", "d0", [WORKLOAD.id]).read(line.encode(), 3)


def test_a_line_becomes_a_record_with_everything_it_held() -> None:
    record, names = read(meta_line(trace=TRACE))
    assert json.loads(record.trace) == TRACE
    assert record.run_seconds == (0.001, 0.0011)
    assert record.workload_id == WORKLOAD.id
    assert json.loads(record.context) == [["TENSOR", "float32", [64, 64]]]
    assert names == {"GetBlock", "GetLoops", "SamplePerfectTile", "Split"}


def test_a_workload_is_known_by_its_program_not_by_its_hash() -> None:
    """Structural hashes were platform dependent once (apache/tvm PR #14188)."""
    other = parse_workload(json.dumps(["999", program("main0")]).encode())
    assert other.id == WORKLOAD.id
    assert WORKLOAD.scheduler is Scheduler.META_SCHEDULE
    assert format_workload(WORKLOAD) == workload_line(0).replace(", ", ",")


@pytest.mark.parametrize("seconds", [None, [], [1e9], [1e10], [0.001, 1e10]])
def test_failures_have_many_seconds_or_none(seconds: object) -> None:
    record, _ = read(meta_line(seconds=seconds))
    assert record.failure is FailureKind.UNKNOWN
    assert read(format_line(record, 0))[0] == record


def test_a_workload_that_the_file_lacks_is_kept_unresolved() -> None:
    reader = MetaScheduleReader("db", "d0", [WORKLOAD.id, None])
    first, _ = reader.read(meta_line(1).encode(), 1)
    second, _ = reader.read(meta_line(2).encode(), 2)
    assert first.workload_id == unresolved_workload("d0", 1).id
    assert set(reader.workloads) == {first.workload_id, second.workload_id}
    assert unresolved_workload("d1", 1).id != first.workload_id


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (meta_line(-1), "negative"),
        (meta_line(seconds=[0.0]), "not positive"),
        (meta_line(seconds=[-1]), "not positive"),
        (meta_line(seconds="fast"), "no list"),
        (meta_line(trace=[[["Split", []]], []]), "instruction"),
        (meta_line(trace=[["Split"], []]), "instruction"),
        (meta_line(trace=[[], [["0", 1]]]), "decision"),
        (meta_line(trace=[[], [[0]]]), "decision"),
        (meta_line(trace=[[]]), "trace"),
        (meta_line(trace=[{}, []]), "trace"),
        ("[0]", "no MetaSchedule record"),
        ('["0", []]', "no MetaSchedule record"),
        ('{"0": 1}', "no MetaSchedule record"),
        (meta_line()[:-9], "no valid JSON"),
    ],
)
def test_a_line_that_holds_no_record_says_why(line: str, reason: str) -> None:
    with pytest.raises(RejectedLineError, match=reason):
        read(line)


@pytest.mark.parametrize(
    "line", ['["x", "YQ=="]', '["1", "not base64!"]', '["1"]', "[1, 2]", "{}", '["1", 2]', '["1"']
)
def test_a_damaged_workload_is_rejected(line: str) -> None:
    with pytest.raises(RejectedLineError):
        parse_workload(line.encode())


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(
    instructions=st.lists(
        st.tuples(st.text(max_size=6), values, values, values).map(list), max_size=4
    ),
    decisions=st.lists(st.tuples(st.integers(0, 99), values).map(list), max_size=3),
    seconds=st.lists(st.floats(1e-9, 1e8), min_size=1, max_size=3),
)
def test_writing_and_reading_are_inverse(
    instructions: list[object], decisions: list[object], seconds: list[float]
) -> None:
    record, _ = read(meta_line(trace=[instructions, decisions], seconds=seconds))
    assert read(format_line(record, 0))[0] == record


def test_real_databases_come_back_the_same(shared_logs: Path) -> None:
    folders = sorted((shared_logs / "meta_schedule/llvm-emeraldrapids-2c").glob("run-[34]"))
    compared = 0
    for folder in folders:
        lines = _lines(folder / "database_workload.json.gz")
        workloads = [parse_workload(line) for line in lines]
        reader = MetaScheduleReader("db", "d", [workload.id for workload in workloads])
        for workload, line in zip(workloads, lines, strict=True):
            assert format_workload(workload).encode() == line
        for line in _lines(folder / "database_tuning_record.json.gz"):
            record, _ = reader.read(line, 1)
            index = json.loads(line)[0]
            assert json.loads(format_line(record, index)) == json.loads(line)
            compared += 1
    assert compared == 504


def _lines(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()
