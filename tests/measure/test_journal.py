from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import HardwareMismatchError, LogFormatError, MeasureError
from wmhub.hardware import lookup
from wmhub.measure.journal import Journal, JournalHead, read_journal
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
    intact = whole[: min(cut, len(whole))].count(b"\n")
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


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"record": {"scheduler": "x"}}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD) as journal:
        journal.append(WORKLOAD, [record(1)])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(LogFormatError, match=r"journal\.jsonl:4: damaged"):
        list(read_journal(path))


def test_a_journal_without_a_record_is_begun_anew_for_another_target(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEAD):
        pass
    other = JournalHead(KEY, '{"kind":"cuda","arch":"sm_90"}', None)
    with Journal(path, other) as journal:
        assert journal.head == other
        journal.append(WORKLOAD, [record(1)])
    assert list(read_journal(path)) == [WORKLOAD, record(1)]
