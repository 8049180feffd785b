from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from wmhub.bench.ratios import Ratio, WorkloadOutcome, compare, summarize
from wmhub.bench.search import SearchBench, _read, search
from wmhub.bench.search_spec import RunResult, RunSpec
from wmhub.errors import InvalidInputError, MeasureError, MissingDependencyError

TARGET = {"kind": "llvm", "num-cores": 2}


def run(method: str, seed: int, curve: Any, seconds_at: dict[int, float]) -> RunResult:
    spec = RunSpec("toy", method, seed, max(seconds_at), "wm-fake", TARGET, "llvm-znver4-2c")
    checkpoints = dict.fromkeys(seconds_at, "program")
    return RunResult(spec, curve, checkpoints, 0, max(seconds_at.values()), seconds_at)


def runs() -> list[RunResult]:
    found = []
    for seed in (0, 1):
        found += [
            run("wmhub", seed, [(16, 4.0, 2e-3), (64, 10.0, 1e-3)], {64: 10.0}),
            run("stock", seed, [(64, 100.0, 3e-3), (640, 900.0, 1e-3)], {64: 100.0, 640: 900.0}),
            run("zero", seed, [], {0: 2.0}),
        ]
    return found


def finals(failed_zero: bool = False) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for seed, factor in ((0, 1.0), (1, 2.0)):
        found["wmhub", 64, seed] = 1e-3
        found["stock", 64, seed] = 2e-3 * factor
        found["stock", 640, seed] = 1e-3
        found["zero", 0, seed] = None if failed_zero and seed else 2e-3
    return found


def test_ratios_pair_the_seeds_and_are_above_one_in_our_favour() -> None:
    outcome = compare("toy", runs(), finals(), 64, 640)
    assert outcome.ratios["latency_64_vs_stock_64"] == {0: 2.0, 1: 4.0}
    assert outcome.ratios["latency_64_vs_stock_640"] == {0: 1.0, 1: 1.0}
    assert outcome.ratios["latency_0_vs_stock_64"] == {0: 1.0, 1: 2.0}
    assert outcome.ratios["wall_64_vs_stock_64"] == {0: 10.0, 1: 10.0}
    # Stock's first result comes at 100 s, when we are at 1 ms; at 900 s both are.
    assert outcome.ratios["curve_vs_stock"] == {0: 1.0, 1: 1.0}
    assert "latency_64_vs_random" not in outcome.ratios


def test_a_program_of_ours_that_failed_at_the_end_is_a_loss() -> None:
    outcome = compare("toy", runs(), finals(failed_zero=True), 64, 640)
    name = "latency_0_vs_stock_64"
    assert outcome.ratios[name] == {0: 1.0}
    assert outcome.failures == {name: {1: "ours"}}
    assert outcome.latency_s["zero@0"] == {0: 2e-3, 1: None}
    ratio = summarize([compare("well", runs(), finals(), 64, 640), outcome])[name]
    assert (ratio.pairs, ratio.failed, ratio.other_failed) == (3, 1, 0)
    assert ratio.worst == 0.0
    assert ratio.geomean == pytest.approx(2 ** (1 / 4))


def test_a_search_of_ours_that_found_nothing_is_a_loss_and_one_of_theirs_none() -> None:
    found = [
        run("wmhub", 0, [], {64: 10.0}),
        run("stock", 0, [(64, 100.0, 3e-3)], {64: 100.0}),
        run("wmhub", 1, [(16, 4.0, 2e-3)], {64: 10.0}),
        run("stock", 1, [], {64: 100.0}),
        run("wmhub", 2, [], {64: 10.0}),
        run("stock", 2, [], {64: 100.0}),
    ]
    # What found nothing has no program to measure at the end.
    outcome = compare("toy", found, {("stock", 64, 0): 2e-3, ("wmhub", 64, 1): 1e-3}, 64, 64)
    for name in ("latency_64_vs_stock_64", "curve_vs_stock"):
        assert outcome.failures[name] == {0: "ours", 1: "other"}
        ratio = summarize([outcome])[name]
        assert (ratio.geomean, ratio.low, ratio.worst, ratio.pairs) == (None, None, 0.0, 0)
        assert (ratio.failed, ratio.other_failed) == (1, 1)


def test_the_table_says_how_many_pairs_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.cli.bench_search import command

    outcome = compare("toy", runs(), finals(failed_zero=True), 64, 640)
    bench = SearchBench("wm", "llvm-x-2c", 64, 640, (0, 1), summarize([outcome]), (outcome,))
    monkeypatch.setattr("wmhub.bench.search.search", lambda *_, **__: bench)
    done = CliRunner().invoke(command, ["--model", "wm", "--json"], catch_exceptions=False)
    lines = [line.split() for line in done.stderr.splitlines()]
    (row,) = [line for line in lines if line[0] == "latency_0_vs_stock_64"]
    assert row[-4:] == ["0.000", "1", "1", "-"]
    assert "left out of the means: 1 pairs" in done.stderr
    data = json.loads(done.stdout)
    assert data["spread"]["latency_0_vs_stock_64"]["failed"] == 1


def test_a_curve_that_starts_later_than_stocks_scores_zero() -> None:
    late = [
        run("wmhub", 0, [(16, 50.0, 1e-3)], {64: 60.0}),
        run("stock", 0, [(64, 20.0, 9e-3)], {64: 20.0}),
    ]
    outcome = compare("toy", late, {}, 64, 64)
    assert outcome.ratios["curve_vs_stock"] == {0: 0.0}


def test_the_summary_is_a_geometric_mean_with_its_spread() -> None:
    first = compare("a", runs(), finals(), 64, 640)
    second = compare(
        "b", runs(), {**finals(), ("stock", 64, 0): 1e-3, ("stock", 64, 1): 1e-3}, 64, 640
    )
    ratio = summarize([first, second])["latency_64_vs_stock_64"]
    assert ratio.geomean == pytest.approx(8 ** (1 / 4))
    assert ratio.worst == pytest.approx(1.0)
    assert ratio.low <= ratio.geomean <= ratio.high
    assert ratio.pairs == 4


def test_the_json_has_one_number_for_each_ratio() -> None:
    outcome = compare("toy", runs(), finals(), 64, 640)
    bench = SearchBench("wm", "llvm-x-2c", 64, 640, (0, 1), summarize([outcome]), (outcome,))
    data = json.loads(json.dumps(bench.to_json()))
    assert data["geomean"]["latency_64_vs_stock_64"] == pytest.approx(8**0.5)
    assert data["spread"]["wall_64_vs_stock_64"]["worst"] == pytest.approx(10.0)
    assert data["workloads"][0]["name"] == "toy"
    assert isinstance(bench.ratios["wall_64_vs_stock_64"], Ratio)


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="magic"):
        search(tmp_path, model="wm", methods=["magic"])
    with pytest.raises(InvalidInputError, match="stock_trials"):
        search(tmp_path, model="wm", trials=64, stock_trials=8)


@pytest.mark.tvm
def test_workloads_of_tvm_itself_have_names() -> None:
    pytest.importorskip("tvm")
    from wmhub.bench.search import WORKLOADS
    from wmhub.bench.search_spec import workload_module
    from wmhub.measure import zoo

    assert workload_module("te:GMM:0")["main"] is not None
    for wrong in ("te:GMM:99", "te:NO:0", "te:GMM"):
        with pytest.raises(InvalidInputError, match="te:NAME:NUMBER"):
            workload_module(wrong)
    with pytest.raises(InvalidInputError, match="TVM cannot make it"):
        workload_module("te:C2D_WIN_NHWC:0")
    ours = [name for name in WORKLOADS if not name.startswith("te:")]
    assert set(ours) <= zoo.HELD_OUT


@pytest.mark.tvm
@pytest.mark.slow
def test_a_run_in_a_process_of_its_own_is_measured_again_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    said: list[str] = []
    options: dict[str, Any] = {
        "model": "wm-none", "workloads": ["te:GMM:0"], "methods": ["random"], "seeds": 1,
        "trials": 4, "stock_trials": 4, "on_run": said.append,
    }  # fmt: skip
    result = search(tmp_path, **options)
    (outcome,) = result.workloads
    assert outcome.latency_s["random@4"][0]
    assert len(said) == 2
    again = search(tmp_path, **options)
    assert len(said) == 2
    assert again.workloads[0].latency_s == outcome.latency_s


def test_boosting_learns_from_measurements() -> None:
    pytest.importorskip("xgboost")
    from wmhub.bench.peers import BoostedWorkload

    workload = BoostedWorkload(0)
    assert workload.predict(workload.scorer.score_decisions([], [[], []]))[1].all()
    instructions = [["SamplePerfectTile", ["l0"], [2, 64], []]]
    decisions = [[[0, [64 // inner, inner]]] for inner in (1, 2, 4, 8, 16, 32, 64)]
    scores = workload.scorer.score_decisions(instructions, decisions)
    seconds = np.asarray([1e-3 * abs(np.log2(i / 8)) + 1e-3 for i in (1, 2, 4, 8, 16, 32, 64)])
    seconds[0] = np.nan
    for _ in range(4):
        workload.update(scores, seconds)
    label, deviation = workload.predict(scores)
    assert int(np.argmax(label)) == 3
    # Or the search would draw from the ranking instead of taking the best.
    assert not deviation.any()


def test_a_disturbed_round_and_an_unlucky_build_are_outvoted() -> None:
    from wmhub.bench.search import _settled

    # The first round was disturbed in part, the last one's buffers lie badly.
    assert _settled([(3.0, 1.0, 3.1), (1.1, 1.2), (2.0, 2.0)]) == 2.0
    assert _settled([(), (1.0,)]) == 1.0
    assert _settled([(), ()]) is None


def test_a_mark_that_was_passed_without_a_program_gets_no_later_one() -> None:
    from wmhub.bench.search_run import _Watch
    from wmhub.measure import zoo

    candidate = SimpleNamespace(sch=SimpleNamespace(mod=zoo.build("matmul-m8-n8-k8")))
    watch = _Watch(0.0, [2, 4, 8])
    watch.take([candidate] * 2, [math.nan] * 2)
    watch.take([candidate] * 2, [math.nan, 1.0])
    watch.close()
    # The search ended after 4 trials: what it had then stands for 8 as well.
    assert sorted(watch.programs) == [4, 8]
    assert sorted(watch.seconds_at) == [2, 4, 8]


@pytest.mark.parametrize("left", ["", "{", '{"spec": {"odd": 1}}', "[]", "null"])
def test_a_result_that_cannot_be_read_is_no_result(tmp_path: Path, left: str) -> None:
    file = tmp_path / "stock-64-seed0.json"
    assert _read(file) is None
    file.write_text(left)
    assert _read(file) is None


def test_a_ratio_s_spread_is_the_same_beside_others() -> None:
    outcomes = [
        WorkloadOutcome(f"w{n}", {}, {}, {"a": {0: 1.0 + n}, "b": {0: 2.0 / (n + 1)}}, {})
        for n in range(8)
    ]
    alone = [dataclasses.replace(one, ratios={"b": one.ratios["b"]}) for one in outcomes]
    assert summarize(outcomes)["b"] == summarize(alone)["b"]


def test_without_xgboost_nothing_is_run_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tvm")
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingDependencyError, match=r"wmhub\[bench\]"):
        search(tmp_path, model="", methods=["random", "stock"])
    assert not list(tmp_path.iterdir())


def test_results_of_a_checkpoint_a_tvm_or_a_code_are_not_taken_for_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.bench import search as module

    begun: list[str] = []

    def fails(*_: object, **options: object) -> SimpleNamespace:
        begun.append("run")
        return SimpleNamespace(returncode=1, stderr="stopped here")

    monkeypatch.setattr(module.subprocess, "run", fails)
    spec = RunSpec(
        "matmul-m8-n8-k8", "wmhub", 0, 4, "wm-fake", {"kind": "llvm"}, "cuda-h100", "aaaa"
    )
    result = RunResult(spec, [], {}, 4, 1.0, {4: 1.0})
    file = tmp_path / "wmhub-4-seed0.json"
    file.write_text(json.dumps(dataclasses.asdict(result)))
    # A run in which nothing ran is a result, too.
    assert module._run(tmp_path, spec, [4], None) == result
    assert begun == []
    for other in (
        {"digest": "bbbb"}, {"tvm": "0.28"}, {"code": "cccc"}, {"hardware": "cuda-h200"}
    ):  # fmt: skip
        with pytest.raises(MeasureError, match="stopped here"):
            module._run(tmp_path, dataclasses.replace(spec, **other), [4], None)


@pytest.mark.tvm
def test_a_run_is_known_by_tvms_version_and_all_but_stock_by_our_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tvm")
    from wmhub.bench import search as module
    from wmhub.tvm_compat import tvm

    specs: list[RunSpec] = []

    def run(_folder: Path, spec: RunSpec, marks: list[int], _on_run: object) -> RunResult:
        specs.append(spec)
        return RunResult(spec, [], {}, 0, 1.0, dict.fromkeys(marks, 1.0))

    monkeypatch.setattr(module, "_run", run)
    search(tmp_path, model="wm-none", workloads=["te:GMM:0"], methods=["random", "stock"], seeds=1)
    ours, stock = specs
    assert ours.tvm == stock.tvm == tvm.__version__
    # Neither looks at the checkpoint, so both go on under another one.
    assert ours.model == stock.model == ""
    assert len(ours.code) == 64
    assert stock.code == ""
