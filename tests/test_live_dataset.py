from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wmhub.dataset.reader import Dataset, open_dataset
from wmhub.dataset.schema import Provenance
from wmhub.dataset.version import Version
from wmhub.dataset.working import working, working_folder
from wmhub.errors import MeasureError
from wmhub.hardware import lookup
from wmhub.live_collection import _known
from wmhub.live_dataset import Finished, HeldOutWarning, dataset_of, put_aside
from wmhub.measure.journal import Journal, JournalHead
from wmhub.names import HardwareKey
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

KEY = HardwareKey("llvm", "skylake-avx512", 2)
HEAD = JournalHead(KEY, '{"kind":"llvm"}', lookup(KEY))
ONE = Workload("w1", Scheduler.META_SCHEDULE, "1", "QUJD")
TWO = Workload("w2", Scheduler.META_SCHEDULE, "2", "QUJE")


def record(workload: Workload, number: int, failure: FailureKind | None = None) -> MeasureRecord:
    return MeasureRecord(
        workload.id, Scheduler.META_SCHEDULE, f"[[],[[{number},1]]]", HEAD.target,
        () if failure else (0.5, 0.25), failure, 1.5, 1e9, "", "[]", "live/one", number,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "wmhub.dataset.writer.draw_picture", lambda path, _: path.write_bytes(b"picture")
    )


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    with working(tmp_path / "data"):
        yield tmp_path / "data"


def journal_of(output: Path) -> Path:
    return working_folder(output) / "live" / "journal.jsonl"


def begin(output: Path, *records: tuple[Workload, MeasureRecord]) -> None:
    with Journal(journal_of(output), HEAD) as journal:
        for workload, one in records:
            journal.append(workload, [one])


def damage(output: Path, *lines: int) -> None:
    path = journal_of(output)
    kept = path.read_bytes().splitlines(keepends=True)
    for number in lines:
        kept[number - 1] = kept[number - 1][:20] + b"\n"
    path.write_bytes(b"".join(kept))


def finish(output: Path, older: Dataset | None = None, version: Version | None = None) -> Finished:
    with Journal(journal_of(output), HEAD) as journal:
        return dataset_of(journal, output, older, Provenance("me", "MIT", "test"), version)


def test_all_but_the_damaged_lines_become_a_dataset(output: Path) -> None:
    begin(
        output,
        (ONE, record(ONE, 1)),
        (TWO, record(TWO, 2)),
        (ONE, record(ONE, 3)),
        (ONE, record(ONE, 4, FailureKind.CRASH)),
    )
    damage(output, 4, 6)  # the second workload, and the third record
    finished = finish(output)
    counts = finished.manifest.counts
    assert (counts.lines, counts.measured, counts.failed, counts.rejected) == (5, 1, 1, 3)
    assert (counts.workloads, counts.failures) == (1, {"crash": 1})
    assert [rejection.line for rejection in finished.rejections] == [4, 5, 6]
    rejected = (output / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in rejected] == [4, 5, 6]


def test_a_workload_that_the_dataset_has_need_not_be_in_the_journal(output: Path) -> None:
    begin(output, (ONE, record(ONE, 1)))
    finish(output)
    journal_of(output).unlink()
    begin(output, (ONE, record(ONE, 2)))
    damage(output, 2)
    finished = finish(output, open_dataset(output))
    assert [rejection.line for rejection in finished.rejections] == [2]
    assert finished.manifest.counts.records == 2


def test_where_nothing_is_left_the_damage_is_told(output: Path) -> None:
    begin(output, (ONE, record(ONE, 1)))
    damage(output, 3)
    with pytest.raises(MeasureError, match=r"nothing was measured[^\0]*journal\.jsonl:3: damaged"):
        finish(output)


def test_a_version_of_which_nothing_was_measured_is_not_made(output: Path) -> None:
    begin(output, (ONE, record(ONE, 1)))
    finish(output)
    journal_of(output).unlink()
    older = open_dataset(output)
    assert finish(output, older).manifest == older.manifest
    with pytest.raises(MeasureError, match=r"so there is no version 1\.1\.0 to write"):
        finish(output, older, Version(1, 1, 0))


def test_a_held_out_program_that_trained_stays_and_is_told(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(output, (ONE, record(ONE, 1)))
    finish(output)
    journal_of(output).unlink()
    older = open_dataset(output)
    assert older.split_of == {ONE.id: "train"}
    one = record(ONE, 2)
    monkeypatch.setattr("wmhub.live_dataset.HELD_OUT", {one.source.removeprefix("live/")})
    begin(output, (ONE, one))
    with pytest.warns(HeldOutWarning, match=f"{ONE.id} in train"):
        manifest = finish(output, older).manifest
    assert manifest.test_workloads == ()
    assert open_dataset(output).split_of == {ONE.id: "train"}


def test_a_damaged_journal_is_kept_beside_those_from_before(output: Path) -> None:
    kept = []
    for number in range(2):
        begin(output, (ONE, record(ONE, number)))
        kept.append(put_aside(journal_of(output), output))
    assert [path.name for path in kept] == ["journal-1.jsonl", "journal-2.jsonl"]
    assert kept[0].read_bytes() != kept[1].read_bytes()


def test_of_a_dataset_only_what_a_collection_needs_is_read(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(
        output,
        (ONE, record(ONE, 1)),
        (TWO, record(TWO, 2)),
        (ONE, record(ONE, 3, FailureKind.CRASH)),
    )
    finish(output)
    asked: list[Any] = []
    original = Dataset.iter_tables

    def spy(self: Dataset, split: Any = None, columns: Any = None) -> Any:
        asked.append(set(columns))
        return original(self, split, columns)

    monkeypatch.setattr(Dataset, "iter_tables", spy)
    known = _known(open_dataset(output), {"w1", "w9"})
    assert asked == [{"workload_id", "trace", "run_seconds", "failure"}]
    assert list(known) == ["w1"]
    assert sorted(known["w1"]) == [("[[],[[1,1]]]", 0.375), ("[[],[[3,1]]]", None)]
    assert _known(None, {"w1"}) == {}
