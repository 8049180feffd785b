from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logmaking import STEPS, ansor_line

from wmhub.logs.ansor import FAILURES, AnsorReader, format_line
from wmhub.logs.text import RejectedLineError
from wmhub.records import FailureKind, MeasureRecord, Scheduler, candidate_id


def read(line: str, exact: bool = False) -> tuple[MeasureRecord, set[str], AnsorReader]:
    reader = AnsorReader("a.log")
    record, names = reader.read(line.encode(), 7, exact)
    return record, names, reader


def test_a_line_becomes_a_record_with_everything_it_held() -> None:
    record, names, reader = read(ansor_line(seconds=[0.003, 0.001, 0.002]))
    assert json.loads(record.trace) == STEPS
    assert record.run_seconds == (0.003, 0.001, 0.002)
    assert record.latency_seconds == 0.002
    assert record.failure is None
    assert (record.measure_seconds, record.timestamp) == (1.5, 1637575039.0)
    assert (record.source, record.line, record.log_version) == ("a.log", 7, "v0.6")
    assert json.loads(record.context)[0][1] == 16
    assert names == {"SP", "RE", "AN", "PR"}
    workload = reader.workloads[record.workload_id]
    assert workload.key == '["matmul", 64, 32, 16]'
    assert workload.scheduler is Scheduler.AUTO_SCHEDULER


def test_ids_never_change() -> None:
    """Golden: another id would cut every published dataset off from its successors."""
    record, _, _ = read(ansor_line())
    assert record.workload_id == "wb3f177d5be62ff41dd86"
    assert candidate_id(record.workload_id, record.trace) == "cf5ee4fa2c960b7693f2b"


@pytest.mark.parametrize(
    ("version", "rest"),
    [
        ("v0.2", []),
        ("v0.3", [[18, 64, 64, 0, 0, 0]]),
        ("v0.5", [[-1, 16, 64, 49152, 2147483647, 1024, 8, 32], "", 0]),
        ("v0.6", [[-1, 16, 64, 49152, 2147483647, 1024, 8, 32], "", 0, ["x"]]),
    ],
)
def test_all_versions_of_the_format(version: str, rest: list[object]) -> None:
    line = ansor_line(version=version, rest=rest)
    record, _, reader = read(line)
    assert record.log_version == version
    assert json.loads(record.context) == rest
    assert format_line(record, reader.workloads[record.workload_id]) == line


def test_list_shaped_arguments_of_a_workload_key() -> None:
    key = '["f1969", [1, 28, 28, 128], [4, 4, 128, 128]]'
    record, _, reader = read(ansor_line(key=key))
    assert reader.workloads[record.workload_id].key == key


@pytest.mark.parametrize("number", [*FAILURES, 99])
def test_failures_keep_their_kind(number: int) -> None:
    record, _, _ = read(ansor_line(seconds=[1e10], error=number))
    assert record.failure is FAILURES.get(number, FailureKind.UNKNOWN)
    assert record.run_seconds == (1e10,)
    assert record.latency_seconds is None


def test_the_marker_of_failure_without_an_error_number_is_a_failure() -> None:
    assert read(ansor_line(seconds=[1e10]))[0].failure is FailureKind.UNKNOWN


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (ansor_line(seconds=[0]), "not positive"),
        (ansor_line(seconds=[-1.0]), "not positive"),
        (ansor_line(seconds=[math.nan]), "no valid JSON"),
        (ansor_line(seconds=["fast"]), "not positive"),
        (ansor_line(seconds=[True]), "not positive"),
        (ansor_line(seconds=[]), "no run time"),
        (ansor_line(error=None), "error number"),
        (ansor_line(error=True), "error number"),
        (ansor_line(steps=[[]]), "transform step"),
        (ansor_line(steps=[7]), "transform step"),
        (ansor_line(steps=["SP"]), "transform step"),
        (ansor_line(steps=[[["SP"]]]), "transform step"),
        (ansor_line(steps=[[{}, 1]]), "transform step"),
        (ansor_line(key=""), "workload key"),
        (ansor_line(target=3), "target"),
        (ansor_line()[:-20], "no valid JSON"),
        ('{"i": 1, "r": 2}', '"i"'),
        ("[1, 2]", "no Ansor record"),
        ("null", "no Ansor record"),
        ('{"i": [["k", "llvm"], [[1], []]], "r": [[1], 0]}', "state"),
        ("[" * 100_000, "no valid JSON"),
        ('{"i":' + '{"a":' * 5000, "no valid JSON"),
        ("\udcff", "no valid JSON"),
    ],
)
def test_a_line_that_holds_no_record_says_why(line: str, reason: str) -> None:
    for exact in (False, True):
        with pytest.raises(RejectedLineError, match=".*".join(reason.split())):
            AnsorReader("a").read(line.encode(errors="surrogateescape"), 1, exact)


def test_numbers_beyond_64_bits_keep_every_digit() -> None:
    huge = 123456789012345678901234567890
    record, _, reader = read(ansor_line(steps=[["SP", 2, 0, huge, [1], 1]]), exact=True)
    assert json.loads(record.trace)[0][3] == huge
    again = format_line(record, reader.workloads[record.workload_id])
    assert json.loads(again)["i"][1][1][0][3] == huge


scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6)
steps = st.lists(
    st.tuples(st.sampled_from(["SP", "RE", "XX"]), st.lists(scalars, max_size=4)).map(
        lambda pair: [pair[0], *pair[1]]
    ),
    max_size=6,
)
seconds = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=4)


@given(
    key=st.text(min_size=1, max_size=20),
    steps=steps,
    seconds=seconds,
    error=st.sampled_from([0, 1, 4, 7]),
    cost=st.none() | st.floats(0, 1e6),
    timestamp=st.none() | st.integers(0, 2**40),
    rest=st.lists(scalars, max_size=4),
    target=st.text(max_size=10) | st.dictionaries(st.text(max_size=4), scalars, max_size=3),
)
def test_writing_and_reading_are_inverse(**fields: object) -> None:
    record, _, reader = read(ansor_line(**fields))  # type: ignore[arg-type]
    line = format_line(record, reader.workloads[record.workload_id])
    assert read(line)[0] == record


def test_real_logs_come_back_byte_for_byte(shared_logs: Path) -> None:
    """TVM prints six digits of a cost; every line of these files is written again as it was."""
    paths = [
        *sorted((shared_logs / "auto_scheduler/cuda-k80/nnfusion").glob("*relu*"))[:10],
        *sorted((shared_logs / "auto_scheduler/cuda-a100/bennu").glob("*.gz")),
        *sorted((shared_logs / "auto_scheduler/mixed-versions/tvm").glob("*.gz")),
    ]
    compared = 0
    for path in paths:
        reader = AnsorReader(path.name)
        text = gzip.decompress(path.read_bytes()).decode()
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("#"):
                continue
            record, _ = reader.read(line.encode(), number)
            assert format_line(record, reader.workloads[record.workload_id]) == line
            compared += 1
    assert compared > 5000
