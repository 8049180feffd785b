from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.dataset.manifest import COLD
from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    LogFormatError,
    MeasureError,
)
from wmhub.hardware import lookup
from wmhub.logs.chunks import Rejection
from wmhub.measure.journal import Journal, JournalHead, read_head, read_journal, read_measured
from wmhub.names import HardwareKey
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload

KEY = HardwareKey("cuda", "a100")
HEAD = JournalHead(KEY, '{"kind":"cuda"}', lookup(KEY))
WORKLOAD = Workload("w1", Scheduler.META_SCHEDULE, "123", "QUJD")


def record(
    line: int, seconds: tuple[float, ...] = (0.5, 0.25), failure: FailureKind | None = None
) -> MeasureRecord:
    return MeasureRecord(
        "w1", Scheduler.META_SCHEDULE, f"[[],[[{line},1]]]", HEAD.target, seconds, failure, 1.5,
        1e9 + line, "", "[]", "live/one", line,
    )  # fmt: skip


def line_of(item: MeasureRecord) -> str:
    return orjson.dumps({"record": item}).decode()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    failed = record(2, (), FailureKind.CRASH)
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(1), failed])
        journal.append(WORKLOAD, [record(3)])
        assert list(journal.records()) == [record(1), failed, record(3)]
    assert list(read_journal(path)) == [WORKLOAD, record(1), failed, record(3)]
    with Journal(path, HEAD) as journal:
        assert journal.head == HEAD
        assert journal.workloads == {"w1": WORKLOAD}


@given(st.integers(0, 10_000), st.binary(max_size=20).filter(lambda tail: b"\n" not in tail))
def test_wherever_a_writer_is_killed_whole_lines_stay(
    tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    records = [record(number) for number in range(1, 6)]
    with Journal(path, HEAD) as journal:
        for item in records:
            journal.append(WORKLOAD, [item])
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole))] + tail)
    # A line that lacks nothing but its end is whole.
    ends = whole[cut : cut + 1] == b"\n" and not tail
    intact = whole[: min(cut, len(whole))].count(b"\n") + ends
    with Journal(path, HEAD) as journal:
        kept = list(journal.records())
        assert kept == records[: max(0, intact - 2)]
        journal.append(WORKLOAD, [record(9)])
        assert list(journal.records()) == [*kept, record(9)]


def test_other_hardware_or_another_target_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(1)])
    for other in (
        JournalHead(HardwareKey("cuda", "v100"), HEAD.target, None),
        JournalHead(KEY, '{"kind":"cuda","arch":"sm_90"}', None),
    ):
        with pytest.raises(HardwareMismatchError, match="cuda-a100"):
            Journal(path, other)


def test_times_of_emptied_caches_mix_with_no_others(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    cold = dataclasses.replace(HEAD, limits=(COLD,))
    with Journal(path, cold) as journal:
        journal.append(WORKLOAD, [record(1)])
    assert read_head(path) == cold
    with pytest.raises(InvalidInputError, match="begun with emptied caches"):
        Journal(path, HEAD)


def test_two_writers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD), pytest.raises(MeasureError, match="another process"):
        Journal(path, HEAD)


@pytest.mark.parametrize("text", ["not json\n", "[]\n", '{"wmhub_journal": 99}\n'])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(text)
    with pytest.raises(LogFormatError, match=r"journal\.jsonl:1: no head"):
        Journal(path, HEAD)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{}", "'record' is missing"),
        ("nonsense", "invalid literal, expected 'null'$"),
        ("5", "not iterable"),
        ('{"record": {"scheduler": "x"}}', "'workload_id' is missing"),
        ('{"workload": {"id": 5, "key": "", "program": null}}', "5 is no text"),
        (line_of(record(7, (), FailureKind.CRASH)).replace("crash", "bored"), "'bored'"),
        (line_of(record(7)).replace("0.25", "null"), "float"),
        (line_of(record(7)).replace("0.25", "-0.25"), "not positive and finite"),
        (line_of(record(7)).replace("[0.5,0.25]", "[]"), "not positive and finite"),
        (line_of(record(7)).replace('"live/one"', "[1]"), r"\[1\] is no text"),
        ("\0" * 50, "unexpected"),
    ],
)
def test_a_damaged_line_costs_itself_alone(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(1)])
    with path.open("a") as file:
        file.write(line + "\n")
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(2)])
        assert list(journal.records()) == [record(1), record(2)]
    workload, first, damaged, second = read_journal(path)
    assert (workload, first, second) == (WORKLOAD, record(1), record(2))
    assert isinstance(damaged, Rejection)
    assert (damaged.source, damaged.line) == ("journal.jsonl", 4)
    assert re.match(f"damaged: .*{reason}", damaged.reason)


def test_records_wait_for_the_line_of_their_workload(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(1)])
    head, workload, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([head, workload[:9] + b"\n", *rest]))
    damaged, orphan = read_measured(path, {})
    assert isinstance(damaged, Rejection)
    assert orphan == Rejection("journal.jsonl", 3, "the line of its workload, w1, is damaged")
    assert list(read_measured(path, {"w1": WORKLOAD})) == [damaged, (WORKLOAD, record(1))]
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [])
    assert list(read_measured(path, {})) == [damaged, (WORKLOAD, record(1))]


def test_a_last_line_that_lacks_nothing_but_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(1), record(2)])
    path.write_bytes(path.read_bytes()[:-1])
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(3)])
        assert list(journal.records()) == [record(1), record(2), record(3)]


def test_a_journal_without_a_record_is_begun_anew_for_another_target(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD):
        pass
    other = JournalHead(KEY, '{"kind":"cuda","arch":"sm_90"}', None)
    with Journal(path, other) as journal:
        assert journal.head == other
        journal.append(WORKLOAD, [record(1)])
    assert list(read_journal(path)) == [WORKLOAD, record(1)]
