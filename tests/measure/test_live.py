from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.hardware import lookup
from wmhub.logs.chunks import Rejection
from wmhub.measure import live
from wmhub.measure.candidate import Measurement, Program
from wmhub.measure.journal import Journal, JournalHead, read_measured
from wmhub.measure.live import LivePlan, LiveProgress, measure_live
from wmhub.names import HardwareKey
from wmhub.records import FailureKind

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

TARGET = {"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2}
KEY = HardwareKey("llvm", "skylake-avx512", 2)
HEAD = JournalHead(KEY, '{"kind":"llvm"}', lookup(KEY))


class FakeEngine:
    """Latency is the length of the program; every fifth one crashes."""

    target: dict[str, Any] = TARGET

    def __init__(self, gone_after: int | None = None, broken_after: int = 1 << 30) -> None:
        self.measured: list[Program] = []
        self.gone_after, self.broken_after = gone_after, broken_after
        self.is_broken = False

    def require_sound(self) -> None:
        if self.is_broken:
            raise MeasureError("not even a trivial program can be run any more")

    def measure(
        self, programs: Sequence[Program], done: Callable[[int, Measurement], None] | None = None
    ) -> list[Measurement]:
        results = []
        for index, program in enumerate(programs):
            if len(self.measured) == self.gone_after:
                raise MeasureError("the device is gone")
            self.measured.append(program)
            if len(self.measured) % 5 == 0 or len(self.measured) > self.broken_after:
                result = Measurement((), FailureKind.CRASH, "it died", 0.1, 0.0)
            else:
                result = Measurement((len(program.module) * 1e-9,), None, "", 0.1, 0.2)
            results.append(result)
            if done is not None:
                done(index, result)
        return results


def workloads(*names: str) -> list[Any]:
    from wmhub.measure.sources import extract

    return extract(names or ("matmul-m16-n16-k16", "dense-m8-n16-k16-bias")).workloads


def run(
    path: Path, engine: FakeEngine, plan: LivePlan, names: Sequence[str] = (), **options: Any
) -> LiveProgress:
    with Journal(path, HEAD) as journal:
        return measure_live(journal, workloads(*names), engine, plan, **options)


def records(path: Path) -> list[Any]:
    with Journal(path, HEAD) as journal:
        return list(journal.records())


def test_every_candidate_is_a_record_that_says_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    seen: list[int] = []
    state = run(
        path,
        FakeEngine(),
        LivePlan(candidates=10, batch=4),
        progress=lambda p: seen.append(p.records),
    )
    found = records(path)
    assert len(found) == state.records == state.expected == 20
    assert seen == [4, 8, 12, 16, 18, 20]
    assert state.failures == {"crash": 4}
    assert state.last_failure == "it died"
    assert {record.source for record in found} == {
        "live/matmul-m16-n16-k16",
        "live/dense-m8-n16-k16-bias",
    }
    assert sorted(r.line for r in found if "matmul" in r.source) == list(range(1, 11))
    assert len({(record.workload_id, record.trace) for record in found}) == 20
    ran = [record for record in found if record.failure is None]
    assert all(record.measure_seconds == pytest.approx(0.3) for record in ran)
    assert all(record.context.startswith('[["TENSOR","float32",[') for record in found)
    assert state.best_seconds["matmul-m16-n16-k16"] == min(
        record.latency_seconds for record in ran if "matmul" in record.source
    )


def test_what_failed_before_the_engine_ended_is_not_kept_where_it_is_most(tmp_path: Path) -> None:
    # The last of the second batch finds no worker that can work.
    engine = FakeEngine(gone_after=7, broken_after=4)
    with pytest.raises(MeasureError, match="the device is gone"):
        run(tmp_path / "journal", engine, LivePlan(candidates=8, batch=4))
    assert [record.failure for record in records(tmp_path / "journal")] == [None] * 4


@pytest.mark.parametrize("is_broken", [True, False])
def test_what_a_broken_machine_fails_of_is_no_failure_of_its_candidates(
    tmp_path: Path, is_broken: bool
) -> None:
    engine = FakeEngine(broken_after=5)
    engine.is_broken = is_broken
    path, plan = tmp_path / "journal", LivePlan(candidates=8, batch=4)
    if is_broken:
        with pytest.raises(MeasureError, match="not even a trivial program"):
            run(path, engine, plan)
        # The failures among the first four, of a machine that was sound, but not those that follow.
        assert [record.failure for record in records(path)] == [None] * 4
        return
    run(path, engine, plan)
    failures = [record.failure for record in records(path)]
    assert (len(failures), failures.count(None)) == (16, 4)


def test_a_second_run_goes_on_where_the_first_was(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    asked = iter([False, False, True])
    run(path, FakeEngine(), LivePlan(candidates=8, batch=4), stop=lambda: next(asked))
    assert len(records(path)) == 8
    state = run(path, FakeEngine(), LivePlan(candidates=8, batch=4))
    assert state.records == 8
    found = records(path)
    assert len(found) == 16
    assert len({(record.workload_id, record.trace) for record in found}) == 16


def test_what_was_measured_before_the_device_went_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with pytest.raises(MeasureError, match="gone"):
        run(path, FakeEngine(gone_after=6), LivePlan(candidates=8, batch=4))
    assert len(records(path)) == 6


def test_each_record_says_when_it_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(1000)
    clock = SimpleNamespace(time=lambda: float(next(now)), monotonic=time.monotonic)
    monkeypatch.setattr(live, "time", clock)
    run(tmp_path / "journal", FakeEngine(), LivePlan(candidates=4, batch=4), ["softmax-m8-n32"])
    assert [record.timestamp for record in records(tmp_path / "journal")] == [
        1000.0, 1001.0, 1002.0, 1003.0,
    ]  # fmt: skip


def test_a_workload_whose_line_is_damaged_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    names = ["matmul-m16-n16-k16"]
    run(path, FakeEngine(), LivePlan(candidates=4, batch=4), names)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"damage\n", *lines[2:]]))
    state = run(path, FakeEngine(), LivePlan(candidates=4, batch=4), names)
    assert state.records == 0
    rejected, *kept = read_measured(path, {})
    assert isinstance(rejected, Rejection)
    assert len(kept) == 4


def test_only_what_is_wanted_is_asked_for(tmp_path: Path) -> None:
    asked: list[Collection[str]] = []

    def known(ids: Collection[str]) -> dict[str, list[tuple[str, float | None]]]:
        asked.append(set(ids))
        return {}

    path = tmp_path / "journal"
    run(path, FakeEngine(), LivePlan(candidates=2, batch=2), known=known)
    assert asked == [{record.workload_id for record in records(path)}]


def test_what_a_dataset_has_is_not_measured_again(tmp_path: Path) -> None:
    first = tmp_path / "first"
    names = ["matmul-m16-n16-k16"]
    run(first, FakeEngine(), LivePlan(candidates=6, batch=6), names)
    before = records(first)
    known = {before[0].workload_id: [(r.trace, r.latency_seconds) for r in before]}
    second = tmp_path / "second"
    run(second, FakeEngine(), LivePlan(candidates=6, batch=6), names, known=lambda ids: known)
    assert not {r.trace for r in before} & {r.trace for r in records(second)}


def test_a_workload_without_a_design_space_is_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(live.Sampler):
        def __init__(self, mod: Any, *rest: Any) -> None:
            if "bias" in str(mod):
                raise MeasureError("TVM cannot make its design space for llvm")
            super().__init__(mod, *rest)

    monkeypatch.setattr(live, "Sampler", Failing)
    state = run(tmp_path / "journal", FakeEngine(), LivePlan(candidates=4, batch=4))
    assert state.skipped == {"dense-m8-n16-k16-bias": "TVM cannot make its design space for llvm"}
    assert state.records == state.expected == 4


def test_a_grown_dataset_begins_with_what_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["matmul-m16-n16-k16"]
    run(tmp_path / "first", FakeEngine(), LivePlan(candidates=4, batch=4), names)
    before = records(tmp_path / "first")
    known = {before[0].workload_id: [(r.trace, r.latency_seconds) for r in before]}
    measured: list[int] = []
    original = live.mixed

    def spy(sampler: Any, count: int, share: float, seen: int, warm_up: int) -> Any:
        measured.append(seen)
        return original(sampler, count, share, seen, warm_up)

    monkeypatch.setattr(live, "mixed", spy)
    plan = LivePlan(candidates=4, batch=2)
    run(tmp_path / "second", FakeEngine(), plan, names, known=lambda ids: known)
    assert measured == [4, 6]


@pytest.mark.parametrize("budget", [{"count": 5}, {"seconds": 1e-9}])
def test_a_budget_ends_it(tmp_path: Path, budget: dict[str, Any]) -> None:
    state = run(tmp_path / "journal", FakeEngine(), LivePlan(candidates=8, batch=4, **budget))
    assert state.records == budget.get("count", 0)


def test_a_small_design_space_ends_early(tmp_path: Path) -> None:
    names = ["transpose-m16-n16"]
    state = run(tmp_path / "journal", FakeEngine(), LivePlan(candidates=50, batch=25), names)
    assert 1 <= state.records < 50
    assert state.expected == state.records


@pytest.mark.parametrize(
    "options",
    [{"candidates": 0}, {"batch": 0}, {"random_share": 1.5}, {"count": 0}, {"seconds": 0}],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        LivePlan(**options)


def test_a_workload_without_constant_shapes_is_skipped_and_named(tmp_path: Path) -> None:
    from wmhub.measure.sources import NamedWorkload
    from wmhub.search.tasks import tasks_of
    from wmhub.tvm_compat import tvm

    n = tvm.te.var("n", "int64")
    x = tvm.te.placeholder((n,), name="x", dtype="float32")
    y = tvm.te.compute((n,), lambda i: x[i] + 1.0, name="y")
    symbolic = tvm.IRModule({"main": tvm.te.create_prim_func([x, y])})
    given = [NamedWorkload("symbolic", symbolic), *workloads("matmul-m16-n16-k16")]
    with Journal(tmp_path / "journal", HEAD) as journal:
        state = measure_live(journal, given, FakeEngine(), LivePlan(candidates=4, batch=4))
    assert list(state.skipped) == ["symbolic"]
    assert (state.records, state.expected) == (4, 4)
    with pytest.raises(InvalidInputError, match="main: a task needs arguments of constant shape"):
        tasks_of(symbolic, TARGET)


def test_a_guide_of_each_workload_proposes_what_is_not_random(tmp_path: Path) -> None:
    made: list[Guiding] = []

    class Guiding:
        """Proposes the programs that another sampler draws."""

        def __init__(self, context: Any, spaces: Any, seed: int) -> None:
            made.append(self)
            self.asked: list[int] = []
            self.learned: list[float | None] = []

        def propose(self, count: int) -> list[Any]:
            self.asked.append(count)
            return []

        def learn(self, trace: Any, seconds: float | None) -> None:
            self.learned.append(seconds)

    plan = LivePlan(candidates=10, batch=4, random_share=0.25)
    state = run(tmp_path / "journal", FakeEngine(), plan, make_guide=Guiding)
    # A first batch at random, then one of four and of two; what the guide has not, is changed.
    assert [guide.asked for guide in made] == [[3, 2], [3, 2]]
    assert [len(guide.learned) for guide in made] == [10, 10]
    assert any(seconds is None for guide in made for seconds in guide.learned)
    assert (state.records, state.expected) == (20, 20)


def test_what_a_guide_cannot_read_costs_the_other_workloads_nothing(tmp_path: Path) -> None:
    class Unread:
        def __init__(self, context: Any, spaces: Any, seed: int) -> None:
            """Nothing to prepare."""

        def propose(self, count: int) -> list[Any]:
            raise InvalidInputError("a block of 4,096 reads is more than can be followed")

        def learn(self, trace: Any, seconds: float | None) -> None:
            """Nothing to learn."""

    plan = LivePlan(candidates=10, batch=4, random_share=0.25)
    state = run(tmp_path / "journal", FakeEngine(), plan, make_guide=Unread)
    assert set(state.skipped.values()) == {"a block of 4,096 reads is more than can be followed"}
    # The first batch of each is drawn at random.
    assert state.records == state.expected == 8
