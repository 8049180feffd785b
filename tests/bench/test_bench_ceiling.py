from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from wmhub.dataset.manifest import Manifest
from wmhub.errors import HardwareMismatchError, InvalidInputError, MeasureError
from wmhub.hardware.probe import NoisyMachineWarning
from wmhub.live_collection import collect_live
from wmhub.measure.live import LivePlan
from wmhub.measure.timing import TimingPlan
from wmhub.names import HardwareKey
from wmhub.records import MeasureRecord, Workload

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ceiling") / "dataset"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoisyMachineWarning)
        collect_live(
            folder,
            workloads=["matmul-m64-n64-k64", "softmax-m16-n64", "sum-m64-n64"],
            plan=LivePlan(candidates=4, batch=4),
            timing=TimingPlan(rounds=1, extra_rounds=0, round_seconds=0.0),
        )
    return folder


def test_a_workload_is_measured_again_as_a_whole(dataset: Path) -> None:
    from wmhub.bench.ceiling import ceiling

    told: list[tuple[int, int]] = []
    found = ceiling(dataset, workloads=1, split="train", progress=lambda *seen: told.append(seen))
    assert (found.records, found.failed) == (4, 0)
    assert told == [(4, 4)]
    assert found.again.workloads == found.random.workloads == 1
    assert 0 < found.again.top1 <= found.again.top5 == 1.0


def test_new_latencies_are_scored_on_the_recorded_ones(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.bench import ceiling as module

    def slower_by_half(
        manifest: Manifest,
        records: Sequence[tuple[Workload, MeasureRecord]],
        progress: object,
    ) -> dict[int, float | None]:
        return {n: 1.5 * (one.latency_seconds or 0.0) for n, (_, one) in enumerate(records)}

    def upside_down(
        manifest: Manifest,
        records: Sequence[tuple[Workload, MeasureRecord]],
        progress: object,
    ) -> dict[int, float | None]:
        turned = {n: 1 / (one.latency_seconds or 1.0) for n, (_, one) in enumerate(records)}
        return {**turned, 0: None}

    monkeypatch.setattr(module, "measure_again", slower_by_half)
    same = module.ceiling(dataset, split="train")
    assert (same.again.top1, same.again.pairwise_accuracy) == (1.0, 1.0)
    monkeypatch.setattr(module, "measure_again", upside_down)
    turned = module.ceiling(dataset, split="train")
    assert turned.failed == 1
    assert turned.again.pairwise_accuracy == 0.0
    assert turned.again.top1 < 1.0


def test_what_cannot_be_measured_again_is_refused(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.bench.ceiling import ceiling

    with pytest.raises(InvalidInputError):
        ceiling(dataset, workloads=0)
    monkeypatch.setattr("wmhub.bench.ceiling._draw", lambda *_: [])
    with pytest.raises(MeasureError, match="no workload of validation"):
        ceiling(dataset)
    profile = SimpleNamespace(key=HardwareKey.parse("llvm-zen3-1c"))
    elsewhere = SimpleNamespace(profile=profile, warnings=())
    monkeypatch.setattr("wmhub.hardware.probe.examine", lambda *_, **__: elsewhere)
    with pytest.raises(HardwareMismatchError, match="this machine is llvm-zen3-1c"):
        ceiling(dataset)


def test_a_record_that_cannot_be_rebuilt_is_counted_and_costs_no_other(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.bench import ceiling as module
    from wmhub.bench.repeat import measure_again

    def with_one_that_is_odd(
        manifest: Manifest,
        records: Sequence[tuple[Workload, MeasureRecord]],
        progress: object,
    ) -> list[float | None]:
        workload, record = records[0]
        odd = dataclasses.replace(record, trace='[[["NoSuchInstruction",[],[],[]]],[]]')
        return measure_again(manifest, [(workload, odd), *records[1:]])

    monkeypatch.setattr(module, "measure_again", with_one_that_is_odd)
    found = module.ceiling(dataset, workloads=1, split="train")
    assert (found.records, found.failed) == (4, 1)
