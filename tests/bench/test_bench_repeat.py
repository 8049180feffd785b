from __future__ import annotations

import dataclasses
import datetime
import os
import signal
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from logmaking import ansor_log, meta_database

import wmhub
from wmhub.dataset.manifest import Repeatability, read_manifest
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.rewrite import render_again
from wmhub.errors import DatasetError
from wmhub.hardware.probe import NoisyMachineWarning
from wmhub.live_collection import collect_live
from wmhub.measure.live import LivePlan
from wmhub.measure.rebuild import repeatability
from wmhub.measure.timing import TimingPlan
from wmhub.names import HardwareKey
from wmhub.records import Scheduler

DAY = datetime.date(2026, 11, 25)

DATABASE = ("database_workload.json", "database_tuning_record.json")


def test_ratios_count_the_same_either_way() -> None:
    found = repeatability([1.0, 1.04, 1 / 1.04, 1.09, 1 / 1.2, 3.0], 7, DAY)
    assert found.within_5_percent == pytest.approx(3 / 6)
    assert found.within_10_percent == pytest.approx(4 / 6, abs=1e-4)
    assert found.within_25_percent == pytest.approx(5 / 6, abs=1e-4)
    assert (found.records, found.failed, found.day) == (7, 1, "2026-11-25")


def test_a_machine_that_is_slower_as_a_whole_is_told_from_noise() -> None:
    found = repeatability([1.5, 1.5 * 1.09, 1.5 / 1.09, 1.5 * 1.2, 3.0], 5, DAY)
    assert found.median_ratio == pytest.approx(1.5, abs=0.2)
    assert found.within_25_percent == 0.0
    assert found.scaled_within_25_percent >= found.scaled_within_10_percent > 0
    exact = repeatability([1.5, 1.5 * 1.09, 1.5 / 1.09], 3, DAY)
    assert (exact.median_ratio, exact.scaled_within_10_percent) == (1.5, 1.0)


@pytest.mark.parametrize("change", [{"day": "today"}, {"records": -1}, {"within_5_percent": "x"}])
def test_nonsense_in_a_manifest_is_refused(change: dict[str, object]) -> None:
    good = dataclasses.asdict(repeatability([1.0], 1, DAY))
    with pytest.raises(DatasetError):
        Repeatability(**{**good, **change})  # type: ignore[arg-type]


def test_of_a_dataset_of_both_schedulers_none_is_drawn_that_cannot_be_built(
    tmp_path: Path,
) -> None:
    from wmhub.bench.repeat import _draw

    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.log").write_text(ansor_log())
    for name, text in zip(DATABASE, meta_database(), strict=True):
        (logs / name).write_text(text)
    wmhub.collect(logs, tmp_path / "data", hardware="cuda-v100")
    dataset = open_dataset(tmp_path / "data")
    every = _draw(dataset, 1000, 0)
    assert {workload.scheduler for workload, _ in every} == {Scheduler.META_SCHEDULE}
    for seed in range(10):
        assert len(_draw(dataset, 1, seed)) == 1


@pytest.mark.tvm
def test_records_are_measured_again_and_the_card_says_how_they_repeat(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    from wmhub.bench.repeat import repeat

    folder = tmp_path / "dataset"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoisyMachineWarning)
        collect_live(
            folder,
            workloads=["matmul-m128-n128-k128"],
            plan=LivePlan(candidates=4, batch=4),
            timing=TimingPlan(rounds=1, extra_rounds=0, round_seconds=0.0),
        )
    told: list[tuple[int, int]] = []
    found = repeat(folder, count=3, progress=lambda done, total: told.append((done, total)))
    assert (found.records, found.failed) == (3, 0)
    assert 0.1 < found.median_ratio < 10
    assert told == [(3, 3)]
    before = read_manifest(folder).version
    render_again(folder, found)
    after = read_manifest(folder)
    assert after.repeatability == found
    assert after.version > before
    assert "How well latencies repeat" in (folder / "README.md").read_text()
    assert len(wmhub.load_dataset(folder, split=None)) >= 1


@pytest.mark.tvm
def test_tensor_intrinsics_are_there_before_a_trace_is_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tvm")
    from wmhub.bench import repeat as module

    done: list[str] = []
    monkeypatch.setattr(module, "Engine", lambda *_, **__: nullcontext(Unused()))
    monkeypatch.setattr(module, "use_target", lambda target: done.append(target["mcpu"]))
    monkeypatch.setattr(module, "rebuilt", lambda *_: done.append("replayed"))
    targets = ['{"kind":"llvm","mcpu":"a"}', '{"mcpu": "b", "kind": "llvm"}', "llvm -mcpu=c", '"d"']
    targets.append('{"kind": "cuda", "mcpu": "e"}')
    records: list[Any] = [(None, SimpleNamespace(target=target)) for target in targets]
    here: Any = SimpleNamespace(hardware=HardwareKey.parse("llvm-znver4-2c"), is_cold=False)
    assert module.measure_again(here, records) == dict.fromkeys((4, 0, 1, 2, 3))
    assert done == ["a", "replayed", "b", "replayed"]


class Unused:
    """An engine that is given nothing, because no trace could be replayed."""

    def measure(self, programs: Sequence[object]) -> list[object]:
        assert not programs
        return []


@pytest.mark.tvm
def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tvm")
    from wmhub.bench import repeat as module

    monkeypatch.setattr(module, "Engine", lambda *_, **__: nullcontext(None))
    monkeypatch.setattr(module, "use_target", lambda target: None)
    records: list[Any] = [(None, SimpleNamespace(target='{"kind":"llvm"}'))] * 60
    here: Any = SimpleNamespace(hardware=HardwareKey.parse("llvm-znver4-2c"), is_cold=False)

    def measured(seconds: float | None) -> dict[int, float | None]:
        def one_batch(_engine: object, batch: Any) -> dict[int, float | None]:
            os.kill(os.getpid(), signal.SIGINT)
            return dict.fromkeys(batch, seconds)

        monkeypatch.setattr(module, "_measured", one_batch)
        return module.measure_again(here, records)

    assert measured(1e-3) == dict.fromkeys(range(25), 1e-3)
    with pytest.raises(KeyboardInterrupt):
        measured(None)
