from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from wmhub.cli import cli
from wmhub.dataset.reader import WorkloadRecords, open_dataset
from wmhub.dataset.rewrite import render_again
from wmhub.dataset.row_choice import RowChoice
from wmhub.dataset.schema import Provenance
from wmhub.dataset.verify import open_verified
from wmhub.dataset.working import finish_work, working, working_folder
from wmhub.errors import (
    DatasetError,
    HardwareMismatchError,
    InvalidInputError,
    MeasureError,
    OutputExistsError,
)
from wmhub.hardware import lookup
from wmhub.hardware.probe import NoisyMachineWarning
from wmhub.live_collection import collect_live
from wmhub.live_dataset import dataset_of
from wmhub.measure.candidate import Measurement, Program
from wmhub.measure.journal import Journal, JournalHead
from wmhub.measure.live import LivePlan
from wmhub.measure.rebuild import repeatability
from wmhub.measure.timing import TimingPlan
from wmhub.names import HardwareKey
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload
from wmhub.remeasure import remeasure

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

KEY = HardwareKey("llvm", "skylake-avx512", 2)
TARGET = '{"kind":"llvm"}'
SLOW = Workload("w" + "1" * 20, Scheduler.META_SCHEDULE, "1", "QUJD")
FAST = Workload("w" + "2" * 20, Scheduler.META_SCHEDULE, "2", "QUJE")
OLD = 1e9
"""When all rows were measured first, Unix seconds."""


def record(workload: Workload, line: int, seconds: float, **more: Any) -> MeasureRecord:
    plain = MeasureRecord(
        workload.id, Scheduler.META_SCHEDULE, f"[[],[[{line},1]]]", TARGET, (seconds,), None, 1.5,
        OLD, "", "[]", f"live/{workload.key}", line,
    )  # fmt: skip
    return dataclasses.replace(plain, **more)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two workloads of three rows each, and a failure, of another machine than this."""
    monkeypatch.setattr(
        "wmhub.dataset.writer.draw_picture", lambda path, _: path.write_bytes(b"picture")
    )
    rows = [
        *((SLOW, record(SLOW, line, seconds)) for line, seconds in ((1, 0.5), (2, 0.2), (3, 0.9))),
        (FAST, record(FAST, 1, 3e-6)),
        (FAST, record(FAST, 2, 1e-6, target='{"kind": "llvm"}')),
        (FAST, record(FAST, 3, 0, run_seconds=(), failure=FailureKind.CRASH)),
    ]
    write(tmp_path / "data", rows)
    return tmp_path / "data"


def write(folder: Path, rows: Sequence[tuple[Workload, MeasureRecord]]) -> None:
    """A dataset of ``rows``, by way of a journal."""
    with working(folder):
        head = JournalHead(KEY, TARGET, lookup(KEY))
        with Journal(working_folder(folder) / "live" / "journal.jsonl", head) as journal:
            for workload, row in rows:
                journal.append(workload, [row])
            dataset_of(journal, folder, None, Provenance("me", "MIT", "test"), None)
        finish_work(folder, "live")


class FakeEngine:
    """Answers with ten times the line as seconds; fails or is broken off as the test says."""

    def __init__(self) -> None:
        self.measured: list[tuple[str, int]] = []
        self.interrupt_at: tuple[str, int] | None = None
        self.answer: Callable[[str], FailureKind | None] = lambda module: None

    def __call__(self, target: dict[str, Any], **_: Any) -> FakeEngine:
        assert target == json.loads(TARGET)
        return self

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def measure(
        self, programs: Sequence[Program], done: Callable[[int, Measurement], None]
    ) -> None:
        for index, program in enumerate(programs):
            failure = self.answer(program.module)
            line = int(program.module.split()[1])
            self.measured.append((program.group, line))
            if self.interrupt_at == (program.group, line):
                os.kill(os.getpid(), signal.SIGINT)
            done(index, Measurement(() if failure else (10.0 * line,), failure, "why", 1.0, 2.0))


def _line(row: MeasureRecord) -> int:
    """The line that the trace of a row was made of."""
    line: int = json.loads(row.trace)[1][0][0]
    return line


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr("wmhub.remeasure.Engine", fake)
    monkeypatch.setattr("wmhub.remeasure.use_target", lambda target: None)
    monkeypatch.setattr("wmhub.remeasure.calibrated_here", lambda key: None)
    monkeypatch.setattr(
        "wmhub.remeasure.rebuilt",
        lambda workload, row, group: Program(f"{workload.id} {_line(row)}", group),
    )
    return fake


def break_off(engine: FakeEngine, dataset: Path, new: Path, line: int) -> None:
    """A run that a second Ctrl-C ends at a ``line`` of the slow workload."""

    def interrupt(module: str) -> None:
        if module == f"{SLOW.id} {line}":
            raise KeyboardInterrupt

    before, engine.answer = engine.answer, interrupt
    with pytest.raises(KeyboardInterrupt):
        remeasure(dataset, new)
    engine.answer = before


def rows_of(folder: Path) -> dict[tuple[str, int], MeasureRecord]:
    found = {}
    for workload, records in open_dataset(folder).iter_workload_records():
        found.update({(workload.id, row.line): row for row in records.records()})
    return found


def column(folder: Path, name: str) -> list[str]:
    return [
        value for table in open_dataset(folder).iter_tables() for value in table[name].to_pylist()
    ]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Where the new dataset comes to be."""
    return tmp_path / "new"


def test_rows_take_new_times_and_keep_all_else(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    before = rows_of(dataset)
    report = remeasure(dataset, new, contributor="another")
    assert rows_of(dataset) == before
    after = rows_of(new)
    assert (report.chosen, report.replaced, report.interrupted) == (5, 5, False)
    assert before.keys() == after.keys()
    for key, row in after.items():
        if row.failure is not None:
            assert row == before[key]
            continue
        assert row.run_seconds == (10.0 * row.line,)
        assert row.measure_seconds == 3.0
        assert row.timestamp is not None
        assert row.timestamp > OLD
        same = {"run_seconds": (), "measure_seconds": None, "timestamp": None}
        assert dataclasses.replace(row, **same) == dataclasses.replace(before[key], **same)  # type: ignore[arg-type]
    opened = open_verified(new)
    assert str(opened.manifest.version) == "2.0.0"
    assert opened.split_of == open_dataset(dataset).split_of
    assert opened.manifest.profile == lookup(KEY)
    assert sorted(column(new, "contributor")) == ["another"] * 5 + ["me"]
    assert column(new, "licence") == ["MIT"] * 6
    assert sorted(set(column(new, "collector"))) == ["test", opened.manifest.collector]
    assert not new.with_name("new.wmhub").exists()
    assert report.change.records == 5


def test_fast_workloads_come_first_whatever_spells_their_target(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    remeasure(dataset, new)
    in_order = [(FAST.id, 2), (FAST.id, 1), (SLOW.id, 2), (SLOW.id, 1), (SLOW.id, 3)]
    assert engine.measured == in_order


def test_without_a_contributor_the_credit_stays(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    remeasure(dataset, new)
    assert column(new, "contributor") == ["me"] * 6


@pytest.mark.parametrize(
    ("choice", "lines"),
    [
        (RowChoice(below_seconds=2e-6), {(FAST.id, 2)}),
        (RowChoice(within=2.5), {(FAST.id, 2), (SLOW.id, 1), (SLOW.id, 2)}),
        (RowChoice(before=OLD + 1, within=1), {(FAST.id, 2), (SLOW.id, 2)}),
    ],
)
def test_only_chosen_rows_are_measured(
    dataset: Path, new: Path, engine: FakeEngine, choice: RowChoice, lines: set[tuple[str, int]]
) -> None:
    report = remeasure(dataset, new, choice=choice)
    assert set(engine.measured) == lines
    assert report.chosen == report.replaced == len(lines)
    before = rows_of(dataset)
    for key, row in rows_of(new).items():
        assert row.run_seconds == ((10.0 * key[1],) if key in lines else before[key].run_seconds)


def test_where_no_row_is_chosen_it_says_so(dataset: Path, new: Path, engine: FakeEngine) -> None:
    with pytest.raises(InvalidInputError, match="no row of MetaSchedule ran and is chosen"):
        remeasure(dataset, new, choice=RowChoice(before=OLD))
    assert not new.exists()
    assert not new.with_name("new.wmhub").exists()


def test_a_row_without_a_date_is_of_before() -> None:
    table = pa.table(
        {
            "run_seconds": pa.array([[1.0], [1.0], [1.0]], pa.list_(pa.float64())),
            "failure": pa.array([None, None, None], pa.string()),
            "timestamp": pa.array([None, 5.0, 15.0], pa.float64()),
        }
    )
    assert RowChoice(before=10.0).rows(WorkloadRecords(table)).tolist() == [True, True, False]


@pytest.mark.parametrize(
    "wrong", [{"below_seconds": 0.0}, {"within": 0.5}, {"below_seconds": math.nan}]
)
def test_choices_that_choose_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        RowChoice(**wrong)


def test_what_fails_now_keeps_its_times(dataset: Path, new: Path, engine: FakeEngine) -> None:
    slow = f"{SLOW.id} 3"
    engine.answer = lambda module: FailureKind.RUN_TIMEOUT if module == slow else None
    report = remeasure(dataset, new)
    assert dict(report.progress.failures) == {"run_timeout": 1}
    assert (report.chosen, report.replaced) == (5, 4)
    kept = rows_of(new)[SLOW.id, 3]
    assert (kept.run_seconds, kept.timestamp) == ((0.9,), OLD)


def test_traces_that_this_tvm_refuses_make_no_dataset(
    dataset: Path, new: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmhub.remeasure.rebuilt", lambda *_: None)
    with pytest.raises(MeasureError, match="none of 5 rows ran again; the last: this TVM refuses"):
        remeasure(dataset, new)
    assert not new.exists()
    assert not new.with_name("new.wmhub").exists()


def test_a_run_that_is_broken_off_loses_nothing_and_the_next_goes_on(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    break_off(engine, dataset, new, line=2)
    assert not new.exists()
    first = set(engine.measured)
    assert first >= {(FAST.id, 1), (FAST.id, 2)}
    engine.measured.clear()
    report = remeasure(dataset, new)
    assert first.isdisjoint(engine.measured)
    ran = {key for key, row in rows_of(dataset).items() if row.failure is None}
    assert first | set(engine.measured) == ran
    assert (report.replaced, report.progress.records) == (5, len(engine.measured))
    assert rows_of(new)[FAST.id, 1].run_seconds == (10.0,)


def test_ctrl_c_ends_after_the_batch_and_writes_what_there_is(
    dataset: Path, new: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmhub.remeasure._BATCH", 1)
    engine.interrupt_at = (FAST.id, 1)
    told: list[int] = []
    report = remeasure(dataset, new, progress=lambda state: told.append(state.records))
    assert engine.measured == [(FAST.id, 2), (FAST.id, 1)]
    assert told == [1, 2]
    assert (report.interrupted, report.chosen, report.replaced) == (True, 5, 2)
    assert rows_of(new)[FAST.id, 1].run_seconds == (10.0,)
    assert rows_of(new)[SLOW.id, 1] == rows_of(dataset)[SLOW.id, 1]
    assert not new.with_name("new.wmhub").exists()


def test_rows_of_one_candidate_and_line_stay_rows_of_their_own(
    dataset: Path, new: Path, engine: FakeEngine, tmp_path: Path
) -> None:
    """As where one candidate was measured in two runs, which both counted from 1."""
    twice = [record(SLOW, 1, 0.5), record(SLOW, 1, 0.6, timestamp=OLD + 9), record(SLOW, 2, 0.2)]
    failed = record(SLOW, 1, 0, run_seconds=(), failure=FailureKind.CRASH)
    write(tmp_path / "twice", [(SLOW, row) for row in (*twice, failed)])
    report = remeasure(tmp_path / "twice", new, choice=RowChoice(before=OLD + 1))
    rows = [
        row for _, found in open_dataset(new).iter_workload_records() for row in found.records()
    ]
    assert (report.chosen, report.replaced, len(rows)) == (2, 2, 4)
    assert sorted(row.run_seconds for row in rows) == [(), (0.6,), (10.0,), (20.0,)]
    assert {row.line for row in rows} == {1, 2}


def test_the_journal_of_another_dataset_is_refused(
    dataset: Path, new: Path, engine: FakeEngine, tmp_path: Path
) -> None:
    break_off(engine, dataset, new, line=1)
    write(tmp_path / "other", [(SLOW, record(SLOW, 1, 0.5))])
    with pytest.raises(InvalidInputError, match="begun for another dataset"):
        remeasure(tmp_path / "other", new)
    assert remeasure(dataset, new).replaced == 5


@pytest.mark.parametrize("content", [b"", b'{"journal": 1, "hardw'])
def test_a_journal_that_was_never_begun_is_begun(
    dataset: Path, new: Path, engine: FakeEngine, content: bytes
) -> None:
    break_off(engine, dataset, new, line=1)
    (journal,) = new.parent.glob(f"{new.name}.wmhub/again/journal.jsonl")
    journal.write_bytes(content)
    assert remeasure(dataset, new).replaced == 5


def test_a_dataset_that_changes_meanwhile_loses_nothing(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    def change(module: str) -> None:
        if module == f"{SLOW.id} 3":
            render_again(dataset, limits=["The clock was wrong."])

    engine.answer = change
    with pytest.raises(DatasetError, match="changed meanwhile"):
        remeasure(dataset, new)
    assert not new.exists()
    assert (working_folder(new) / "again" / "journal.jsonl").read_bytes().count(b'"record"') == 5


def test_a_damaged_line_is_told_and_its_journal_kept(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    break_off(engine, dataset, new, line=2)
    path = working_folder(new) / "again" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert b'"record"' in lines[2]
    path.write_bytes(b"".join([*lines[:2], lines[2][:30] + b"\n", *lines[3:]]))
    engine.measured.clear()
    report = remeasure(dataset, new)
    assert [item.line for item in report.rejections] == [3]
    assert report.journal is not None
    assert report.journal.is_file()
    # What the damaged line held is measured again; what the next holds is not.
    assert (FAST.id, 2) in engine.measured
    assert (FAST.id, 1) not in engine.measured
    assert report.replaced == 5


def test_what_was_known_of_repeating_goes_and_limits_stay(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    found = repeatability([1.0], 1, datetime.date(2026, 11, 25))
    render_again(dataset, found, limits=["The clock was wrong."])
    manifest = remeasure(dataset, new).manifest
    assert manifest.repeatability is None
    assert manifest.limits == ("The clock was wrong.",)


def test_no_batch_begins_when_the_time_is_spent(
    dataset: Path, new: Path, engine: FakeEngine
) -> None:
    with pytest.raises(MeasureError, match="none of 5 rows was measured again: its time was spent"):
        remeasure(dataset, new, seconds=1e-9)
    assert engine.measured == []
    with pytest.raises(InvalidInputError, match="positive"):
        remeasure(dataset, new, seconds=0)


def test_what_is_there_is_left_alone(dataset: Path, new: Path, engine: FakeEngine) -> None:
    for there in (dataset, dataset.parent):
        with pytest.raises(OutputExistsError):
            remeasure(dataset, there)
    assert engine.measured == []


def test_another_machine_is_refused(dataset: Path, new: Path) -> None:
    with pytest.raises(HardwareMismatchError, match="measure there"):
        remeasure(dataset, new)
    assert not new.with_name("new.wmhub").exists()


@pytest.mark.slow
def test_by_command_on_this_machine(tmp_path: Path) -> None:
    folder, new = tmp_path / "data", tmp_path / "new"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoisyMachineWarning)
        collect_live(
            folder,
            workloads=["matmul-m128-n128-k128"],
            plan=LivePlan(candidates=4, batch=4),
            timing=TimingPlan(rounds=1, extra_rounds=0, round_seconds=0.0),
        )
    before = rows_of(folder)
    command = ["dataset", "remeasure", str(folder), "--output", str(tmp_path / "best")]
    assert CliRunner().invoke(cli, [*command, "--before", "soon"]).exit_code == 2
    shown = CliRunner().invoke(cli, [*command, "--within", "1"])
    assert shown.exit_code == 0, shown.output
    for told in ("llvm-", "v2.0.0", "chosen", "1 rows", "new / old", "in the median"):
        assert told in shown.output
    command[-1] = str(new)
    done = CliRunner().invoke(cli, [*command, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["chosen"], told["replaced"], told["version"]) == (4, 4, "2.0.0")
    after = rows_of(new)
    assert after.keys() == before.keys()
    for key, row in after.items():
        assert row.trace == before[key].trace
        assert row.run_seconds != before[key].run_seconds
        assert 0.1 < (row.latency_seconds or 0) / (before[key].latency_seconds or 1) < 10
