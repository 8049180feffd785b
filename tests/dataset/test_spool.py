from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmhub.dataset import spool
from wmhub.dataset.schema import Provenance, records_of
from wmhub.dataset.spool import measurement_digests, read_note, read_sorted, to_table, write_run
from wmhub.records import FailureKind, MeasureRecord, Scheduler, candidate_id


def record(
    workload: int = 0, trace: int = 0, second: int = 1, source: str = "a", line: int = 1
) -> MeasureRecord:
    return MeasureRecord(
        f"w{workload:020x}",
        Scheduler.AUTO_SCHEDULER,
        f"[{trace}]",
        '"llvm"',
        (float(second),),
        None if second < 5 else FailureKind.CRASH,
        None,
        2.0,
        "v0.6",
        "[]",
        source,
        line,
    )


records = st.builds(
    record,
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(1, 6),
    st.sampled_from("ab"),
    st.integers(1, 9),
)


def facts(item: MeasureRecord) -> tuple[object, ...]:
    return item.workload_id, item.trace, item.run_seconds


@settings(max_examples=60)
@given(
    parts=st.lists(st.lists(records, min_size=1, max_size=30), min_size=1, max_size=4),
    range_bytes=st.sampled_from([1, 300, 2000, 1 << 20]),
)
def test_sorting_by_parts_is_sorting_the_whole(
    parts: list[list[MeasureRecord]], range_bytes: int, tmp_path_factory: object
) -> None:
    folder: Path = tmp_path_factory.mktemp("runs")  # type: ignore[attr-defined]
    runs = []
    for number, part in enumerate(parts):
        runs.append(folder / f"{number}.run")
        write_run(runs[-1], to_table(part, "cuda-v100", Provenance("me", "MIT", "test")), b"note")
    read = [row for table in read_sorted([runs], range_bytes) for row in records_of(table)]
    everything = [item for part in parts for item in part]
    expected = {
        (r.workload_id, candidate_id(r.workload_id, r.trace), r.run_seconds) for r in everything
    }
    found = [(r.workload_id, candidate_id(r.workload_id, r.trace), r.run_seconds) for r in read]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert [pair[:2] for pair in found] == sorted(pair[:2] for pair in found)


def test_of_equal_rows_the_first_source_and_line_stay(tmp_path: Path) -> None:
    for name, items in {
        "1": [record(source="a", line=7), record(source="b", line=1)],
        "2": [record(source="a", line=3)],
    }.items():
        write_run(tmp_path / name, to_table(items, "h", Provenance()), b"")
    (table,) = read_sorted([[tmp_path / "1", tmp_path / "2"]])
    assert table.select(["source", "line"]).to_pylist() == [{"source": "a", "line": 3}]
    (table,) = read_sorted([[tmp_path / "1"], [tmp_path / "2"]])
    assert table.select(["source", "line"]).to_pylist() == [{"source": "a", "line": 7}]


def test_rows_come_back_as_the_records_that_went_in(tmp_path: Path) -> None:
    items = [record(trace=n, second=1 + n) for n in range(6)]
    write_run(tmp_path / "run", to_table(items, "h", Provenance()), b"a note")
    assert read_note(tmp_path / "run") == b"a note"
    (table,) = read_sorted([[tmp_path / "run"]])
    assert sorted(records_of(table), key=lambda r: r.trace) == items


def test_a_digest_from_a_row_is_that_from_a_record() -> None:
    table = to_table([record(second=6), record()], "h", Provenance())
    keys = table["key"].to_pylist()
    assert [key[-20:] for key in keys] == measurement_digests(table)


def test_digests_never_change() -> None:
    assert measurement_digests(to_table([record(second=6)], "h", Provenance())) == [
        "83583c86663587507d17"
    ]


def runs_of(folder: Path, count: int, rows: int, **changes: Any) -> list[Path]:
    """``count`` runs of so many ``rows`` each, with ``changes`` to all records."""
    runs = []
    for number in range(count):
        items = [record(trace=1000 * number + n) for n in range(rows)]
        items = [dataclasses.replace(item, **changes) for item in items]
        runs.append(folder / f"{number}.run")
        write_run(runs[-1], to_table(items, "h", Provenance()), b"")
    return runs


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, 12, 1000)
    before = pa.total_allocated_bytes()
    peaks, rows = [], 0
    for table in read_sorted([runs], 200_000):
        rows += len(table)
        peaks.append(pa.total_allocated_bytes() - before)
    assert rows == 12_000
    assert len(peaks) > 10
    assert max(peaks) < 3_000_000


def test_wide_rows_of_many_runs_are_read_in_flat_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of MetaSchedule, whose runs have rows of all workloads each."""
    runs, peaks = runs_of(tmp_path, 10, 200, context='["' + "x" * 15_000 + '"]'), []
    look, before = spool._rows_before, pa.total_allocated_bytes()

    def looked(*given: Any) -> int:
        peaks.append(pa.total_allocated_bytes() - before)
        return look(*given)

    monkeypatch.setattr(spool, "_rows_before", looked)
    assert sum(map(len, read_sorted([runs], 1 << 20))) == 2000
    assert len(peaks) > 100
    assert max(peaks) < 8 << 20  # Of 30 MB.


def test_many_small_logs_are_cut_into_ranges_of_one_size(tmp_path: Path) -> None:
    """Each run is one batch that is spread over all keys: its first tells nothing of the rest."""
    runs = runs_of(tmp_path, 60, 64)
    sizes = [len(table) for table in read_sorted([runs], 100_000)]
    assert sum(sizes) == 60 * 64
    assert len(sizes) > 5
    assert max(sizes) < 3 * sum(sizes) / len(sizes)
