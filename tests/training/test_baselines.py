"""Baselines learn from the training workloads alone, and one that is missing says why."""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from trainmaking import SMALL, make_dataset

import wmhub
from wmhub.dataset.reader import open_dataset
from wmhub.errors import InvalidInputError, WmhubError
from wmhub.training import baselines
from wmhub.training.baselines import Setting, fit_baselines
from wmhub.training.corpus import profile_of
from wmhub.training.data import Candidates, load_candidates
from wmhub.training.evaluation import EvaluationReport
from wmhub.training.metrics import summarise
from wmhub.training.run import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "checkpoint"
    train(dataset, output, config=dataclasses.replace(SMALL, steps=5))
    return output


@pytest.fixture(scope="module")
def report(dataset: Path, model: Path) -> EvaluationReport:
    pytest.importorskip("xgboost")
    names = ["gradient_boosting", "sequence_model", "xgb_model"]
    return wmhub.evaluate(model, dataset, baselines=names, ks=(1, 3), steps=30)


def test_every_scorer_has_the_same_keys(report: EvaluationReport) -> None:
    found = report.to_json()
    for name in ("random", "gradient_boosting", "sequence_model"):
        other = found[name]
        assert isinstance(other, dict)
        keys = {"top1", "top5", "pairwise_accuracy", "spearman", "workloads"}
        assert keys <= set(other)
        assert keys <= set(found)
        assert other["workloads"] == found["workloads"]
    assert list(report.scorers) == ["model", "gradient_boosting", "sequence_model", "random"]
    for scorer in report.scorers.values():
        assert len(scorer.curve) == 64
        assert scorer.curve[0] == pytest.approx(scorer.top_k[1][0], abs=0.1)
        assert scorer.top_k[1][0] == pytest.approx(scorer.metrics.top1)
        assert scorer.top_k[1][1] == pytest.approx(scorer.metrics.top1_ratio_of_sums)
    assert json.loads(json.dumps(found)) == found


def test_baselines_learn(report: EvaluationReport) -> None:
    assert report.scorers["gradient_boosting"].metrics.pairwise_accuracy > 0.8
    assert report.scorers["sequence_model"].metrics.pairwise_accuracy > 0.55


def test_a_missing_baseline_says_why(
    report: EvaluationReport, model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (note,) = report.notes
    assert note.startswith("xgb_model: ")
    assert "MetaSchedule records" in note
    monkeypatch.setitem(sys.modules, "xgboost", None)
    found = wmhub.evaluate(model, dataset, baselines=["gradient_boosting"])
    assert list(found.scorers) == ["model", "random"]
    assert "pip install" in found.notes[0]
    # Known before anything is read.
    with pytest.raises(InvalidInputError, match="sequence_model"):
        wmhub.evaluate(model, "nowhere", baselines=["sequence_modle"])


class Recorder:
    """A baseline that remembers what it was shown."""

    def __init__(self, _setting: Setting) -> None:
        self.learned: list[str] = []
        self.scored: list[str] = []
        RECORDERS.append(self)

    def fit(self, train: Iterable[Candidates]) -> None:
        for _ in range(2):
            self.learned = [candidates.workload.id for candidates in train]

    def score(self, candidates: Candidates) -> np.ndarray:
        self.scored.append(candidates.workload.id)
        return np.zeros(len(candidates.latency))


RECORDERS: list[Recorder] = []


def test_baselines_are_shown_training_workloads_only(
    model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(baselines.BASELINES, "recorder", Recorder)
    RECORDERS.clear()
    report = wmhub.evaluate(model, dataset, baselines=["recorder"])
    (seen,) = RECORDERS
    splits = open_dataset(dataset).splits
    assert seen.learned == splits["train"]
    assert seen.scored == splits["test"]
    assert report.scorers["recorder"].metrics.pairwise_accuracy == 0.5


class Dying(Recorder):
    """One that ends in the middle of ranking."""

    def score(self, candidates: Candidates) -> np.ndarray:
        super().score(candidates)
        raise WmhubError("a process died")


class Dead(Recorder):
    """One that does not even learn, for a reason that its library tells."""

    def fit(self, train: Iterable[Candidates]) -> None:
        raise RuntimeError("no memory")


def test_a_baseline_that_fails_costs_no_other(
    model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("recorder", Recorder), ("dying", Dying), ("dead", Dead)):
        monkeypatch.setitem(baselines.BASELINES, name, kind)
    RECORDERS.clear()
    report = wmhub.evaluate(model, dataset, baselines=["dead", "dying", "recorder"])
    assert list(report.scorers) == ["model", "recorder", "random"]
    assert report.notes[-2:] == ("dead: RuntimeError: no memory", "dying: a process died")
    assert [len(one.scored) for one in RECORDERS] == [0, 1, report.metrics.workloads]


@pytest.mark.tvm
@pytest.mark.slow
def test_the_model_of_tvm_learns_from_replayed_traces(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    pytest.importorskip("xgboost")
    names = ("matmul-m32-n32-k32", "matmul-m64-n32-k32")
    source = open_dataset(_measured(tmp_path / "two", names))
    setting = Setting(source, profile_of(source), tmp_path / "cache", threads=1)
    first, second = load_candidates(source, None, setting.profile)
    fitted, notes = fit_baselines(["xgb_model"], setting, [first])
    assert notes == []
    # Of 24 candidates it knows those alone, each by its own features.
    learned = fitted["xgb_model"].score(first)
    assert summarise([(first.latency, learned)]).pairwise_accuracy > 0.9
    score = fitted["xgb_model"].score(second)
    # The second time the features come from the disk.
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2
    again = fitted["xgb_model"].score(second)
    assert np.array_equal(score, again)
    # They outlive a dataset that grows.
    grown = open_dataset(_measured(tmp_path / "three", (*names, "matmul-m16-n32-k64")))
    more = dataclasses.replace(setting, dataset=grown)
    fit_baselines(["xgb_model"], more, list(load_candidates(grown, None, setting.profile)))
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 3


def _measured(folder: Path, names: Sequence[str]) -> Path:
    """Tiny workloads of the zoo with made-up latencies that follow from the scheduled program."""
    from wmhub.measure import zoo
    from wmhub.measure.programs import argument_info, load_program, save_program
    from wmhub.measure.sampling import Sampler

    target = {"kind": "llvm", "num-cores": 2}
    programs, records = [], []
    folder.mkdir()
    for number, name in enumerate(names):
        module = zoo.build(name)
        text = save_program(module).encode()
        encoded = base64.b64encode(struct.pack("<Q", len(text)) + text).decode()
        programs.append([str(number), encoded])
        for candidate in Sampler(module, target, seed=0).random(24):
            seconds = 1e-6 * str(load_program(candidate.module)).count("for ")
            trace = json.loads(candidate.trace)
            records.append([number, [trace, [seconds], target, argument_info(module)]])
    for name, lines in (("workload", programs), ("tuning_record", records)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"database_{name}.json").write_text(text)
    wmhub.collect([folder], hardware="llvm-emeraldrapids-2c", output=folder / "dataset", workers=1)
    return folder / "dataset"


@pytest.mark.tvm
def test_tensor_intrinsics_are_there_before_a_trace_is_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tvm")
    from wmhub import tvm_compat
    from wmhub.measure import zoo
    from wmhub.training import tvm_baseline

    done: list[str] = []
    use_target = tvm_compat.use_target
    monkeypatch.setattr(
        tvm_compat, "use_target", lambda target: done.append("target") or use_target(target)
    )
    monkeypatch.setattr(tvm_baseline, "_replayed", lambda *_: done.append("replayed"))
    program = str(tvm_compat.tvm.ir.save_json(zoo.build("matmul-m8-n8-k8")))
    tables = tvm_baseline._extract(program, ["[]"] * 2, [json.dumps(tvm_compat.llvm_target(2))] * 2)
    assert done == ["target", "replayed", "replayed"]
    assert [len(table) for table in tables] == [0, 0]
