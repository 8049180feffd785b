from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scorers import FakeEvaluator, FakeScorer

from wmhub.errors import (
    CheckpointError,
    InvalidInputError,
    MissingInputError,
)
from wmhub.evaluator import LatentSpace
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload
from wmhub.search.learner import Learner

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm


@pytest.fixture(scope="module")
def context() -> Any:
    from wmhub.tvm_compat import llvm_target, use_target
    from wmhub.tvm_compat import meta_schedule as ms

    target = use_target(llvm_target(cores=2))
    return ms.TuneContext(
        mod=ms_workload("GMM"), target=target, space_generator="post-order-apply",
        search_strategy="replay-trace", num_threads=1, rand_state=1,
    )  # fmt: skip


def ms_workload(name: str) -> Any:
    from tvm.s_tir.meta_schedule.testing.te_workload import create_te_workload

    from wmhub.tvm_compat import tvm

    assert tvm
    return create_te_workload(name, 0)


@pytest.fixture(scope="module")
def candidates(context: Any) -> list[Any]:
    context.pre_tuning(max_trials=24, num_trials_per_iter=24)
    drawn = list(context.generate_measure_candidates())
    context.post_tuning()
    return drawn


def results(seconds: list[float | None]) -> list[Any]:
    from wmhub.tvm_compat import meta_schedule as ms

    return [
        ms.runner.RunnerResult(None, "failed") if s is None else ms.runner.RunnerResult([s], None)
        for s in seconds
    ]


def test_candidates_are_scored_in_their_order(context: Any, candidates: list[Any]) -> None:
    from wmhub.search.cost_model import score_traces
    from wmhub.tvm_compat import plain, raw_trace

    evaluator = FakeEvaluator()
    scorer = evaluator.for_workload("any")
    together = score_traces(scorer, [candidate.sch.trace for candidate in candidates])
    spaces = {str(plain(raw_trace(c.sch.trace)[0])) for c in candidates}
    assert len(spaces) > 1
    # Even where a space has a single one: all are judged beside each other.
    assert scorer.calls == 1
    assert (together.uncertainty > 0).all()
    for index, candidate in enumerate(candidates):
        alone = scorer.score_traces([[plain(part) for part in raw_trace(candidate.sch.trace)]])
        assert alone.score[0] == together.score[index]


def test_predictions_are_positive_and_ordered_as_the_score(
    context: Any, candidates: list[Any]
) -> None:
    from wmhub.search.cost_model import cost_model, score_traces

    evaluator = FakeEvaluator()
    predicted = cost_model(evaluator).predict(context, candidates)
    scorer = next(iter(evaluator.scorers.values()))
    scores = score_traces(scorer, [c.sch.trace for c in candidates]).score
    assert (predicted > 0).all()
    assert predicted.max() == pytest.approx(1.0)
    np.testing.assert_array_equal(
        np.argsort(predicted, kind="stable"), np.argsort(scores, kind="stable")
    )


def test_update_adapts_and_save_load_resume(
    context: Any, candidates: list[Any], tmp_path: Path
) -> None:
    from wmhub.search.cost_model import cost_model

    model = cost_model(FakeEvaluator())
    before = model.predict(context, candidates)
    # The measurements say the opposite of the prior.
    seconds: list[float | None] = [1e-3 * float(np.exp(3 * value)) for value in before]
    seconds[0] = None
    model.update(context, candidates, results(seconds))
    after = model.predict(context, candidates)
    assert np.corrcoef(before[1:], after[1:])[0, 1] < 0
    model.save(str(tmp_path / "learned.npz"))
    again = cost_model(FakeEvaluator())
    again.load(str(tmp_path / "learned.npz"))
    np.testing.assert_allclose(again.predict(context, candidates), after, rtol=1e-4)
    frozen = cost_model(FakeEvaluator(), adapt=False)
    frozen.update(context, candidates, results(seconds))
    np.testing.assert_array_equal(frozen.predict(context, candidates), before)


def test_a_batch_of_which_nothing_could_be_built_is_no_news(
    context: Any, candidates: list[Any]
) -> None:
    from wmhub.search.cost_model import cost_model

    model = cost_model(FakeEvaluator())
    before = model.predict(context, candidates)
    model.update(context, [], [])
    np.testing.assert_array_equal(model.predict(context, candidates), before)


def test_an_error_of_ours_comes_out_of_tvm_as_itself(tmp_path: Path) -> None:
    from wmhub.search.cost_model import cost_model

    with pytest.raises(MissingInputError, match=r"absent\.npz"):
        cost_model(FakeEvaluator()).load(str(tmp_path / "absent.npz"))


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    learner = Learner(FakeEvaluator())
    with pytest.raises(MissingInputError):
        learner.load(tmp_path / "absent.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(CheckpointError, match=r"broken\.npz"):
        learner.load(broken)
    pickled = tmp_path / "pickled.npz"
    with pickled.open("wb") as file:
        np.savez(file, format=np.asarray([{}], dtype=object))
    with pytest.raises(CheckpointError):
        learner.load(pickled)
    path = tmp_path / "learned.npz"
    learner.save(path)
    # Another checkpoint, and the same name with other weights.
    for model in ("wm-other@1.0.0 (weights 0000)", "wm-fake@1.0.0 (weights 1111)"):
        other = FakeEvaluator()
        other.latents = LatentSpace(model, FakeScorer.width, FakeScorer.width)
        with pytest.raises(CheckpointError, match=r"learned by wm-fake.*0000.*; delete"):
            Learner(other).load(path)


def test_latents_of_another_width_are_refused(tmp_path: Path) -> None:
    learner = Learner(FakeEvaluator())
    scores = FakeScorer().score_decisions([], [[[0, [2, 4]]], [[0, [4, 2]]]])
    known, other = (
        Workload(name, Scheduler.META_SCHEDULE, "1", "program") for name in ("w", "never measured")
    )
    learner.workload(known).update(scores, np.array([1e-3, 2e-3]))
    learner.workload(other)
    learner.save(tmp_path / "learned.npz")
    Learner(FakeEvaluator()).load(tmp_path / "learned.npz")
    for width, trees in ((32, FakeScorer.width), (FakeScorer.width, 32)):
        other = FakeEvaluator()
        other.latents = LatentSpace(FakeEvaluator.latents.model, width, trees)
        with pytest.raises(CheckpointError, match=rf"not \[\(2, {width}\), \(2, {trees}\)"):
            Learner(other).load(tmp_path / "learned.npz")


SOUND: dict[str, np.ndarray] = {
    "format": np.asarray(4),
    "model": np.asarray(FakeEvaluator.latents.model),
    "keys": np.asarray(["w"]),
    "latents0": np.zeros((2, FakeScorer.width), np.float32),
    "leaves0": np.zeros((2, FakeScorer.width), np.uint8),
    "rows0": np.full((3, 2), 0.5),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": None}, "model"),
        ({"format": np.asarray("three")}, "three"),
        ({"format": np.asarray(3)}, "format 4"),
        ({"leaves0": None}, "leaves0"),
        ({"leaves0": np.full((2, FakeScorer.width), 300, np.int64)}, "int64"),
        ({"rows0": np.asarray(0.5)}, "shapes"),
        ({"rows0": np.full((2, 2), 0.5)}, "shapes"),
        ({"rows0": np.full((3, 7), 0.5)}, "shapes"),
        ({"rows0": np.zeros((3, 0))}, "shapes"),
        ({"rows0": np.asarray([["a", "b"]] * 3)}, "not of float32, uint8, float64"),
        ({"rows0": np.asarray([[0.5, np.inf]] * 3)}, "not finite"),
        ({"latents0": np.full((2, FakeScorer.width), np.nan, np.float32)}, "not finite"),
    ],
)
def test_what_no_search_saved_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray | None], says: str
) -> None:
    arrays = {name: array for name, array in {**SOUND, **change}.items() if array is not None}
    path = tmp_path / "learned.npz"
    np.savez(path, **SOUND)  # type: ignore[arg-type]
    Learner(FakeEvaluator()).load(path)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=rf"learned\.npz.*{says}"):
        Learner(FakeEvaluator()).load(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "learned.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match="not what a search saved"):
        Learner(FakeEvaluator()).load(tmp_path / "learned.npz")


def test_stock_search_runs_with_it(tmp_path: Path) -> None:
    """The drop-in: TVM's own evolutionary search, its own builder and runner replaced by fakes."""
    from tvm.s_tir.meta_schedule.testing.dummy_object import DummyBuilder, DummyRunner

    from wmhub.search.cost_model import cost_model
    from wmhub.tvm_compat import llvm_target, use_target
    from wmhub.tvm_compat import meta_schedule as ms

    evaluator = FakeEvaluator()
    keep = [ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel()]
    database = ms.tir_integration.tune_tir(
        mod=ms_workload("GMM"), target=use_target(llvm_target(cores=2)), work_dir=str(tmp_path),
        max_trials_global=8, num_trials_per_iter=4, builder=DummyBuilder(), runner=DummyRunner(),
        cost_model=cost_model(evaluator), measure_callbacks=keep, num_tuning_cores=1, seed=0,
        strategy=ms.search_strategy.EvolutionarySearch(
            population_size=16, genetic_num_iters=1, init_min_unmeasured=8
        ),
    )  # fmt: skip
    assert len(database.get_all_tuning_records()) == 8
    assert next(iter(evaluator.scorers.values())).scored >= 16


def test_a_search_for_another_backend_is_told_once(context: Any, candidates: list[Any]) -> None:
    from wmhub.search.cost_model import cost_model

    evaluator = FakeEvaluator()
    evaluator.hardware = HardwareKey("cuda", "a100")
    model = cost_model(evaluator)
    with pytest.warns(
        RuntimeWarning, match=r"wm-fake: trained on cuda-a100, and asked for .* llvm"
    ):
        predicted = model.predict(context, candidates)
    assert model.predict(context, candidates).tolist() == predicted.tolist()


def test_a_workload_that_cannot_be_read_is_told_once_and_ranked_at_random(
    context: Any, candidates: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import cost_model as module

    def unread(*_: object) -> None:
        raise InvalidInputError("a block of 4,096 reads is more than can be followed")

    monkeypatch.setattr(module, "score_traces", unread)
    model = module.cost_model(FakeEvaluator())
    with pytest.warns(RuntimeWarning, match=r"not read, and so not ranked: a block of 4,096 reads"):
        predicted = model.predict(context, candidates)
    assert predicted.tolist() == [1.0] * len(candidates)
    assert model.predict(context, candidates).tolist() == predicted.tolist()
    model.update(context, candidates[:1], results([1e-3]))


def test_candidates_that_cannot_be_read_are_middling(
    context: Any, candidates: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import cost_model as module
    from wmhub.tvm_compat import raw_trace, same_structure

    spaces = [same_structure(raw_trace(candidate.sch.trace)[0]) for candidate in candidates]
    odd, good = np.asarray(spaces) == spaces[0], np.asarray(spaces) != spaces[0]
    assert good.any()
    real = module.score_traces

    def picky(scorer: Any, traces: Any) -> Any:
        if spaces[0] in [same_structure(raw_trace(trace)[0]) for trace in traces]:
            raise InvalidInputError("a block of 4,096 reads is more than can be followed")
        return real(scorer, traces)

    readable = [candidates[at] for at in np.flatnonzero(good)]
    expected = module.cost_model(FakeEvaluator()).predict(context, readable)
    monkeypatch.setattr(module, "score_traces", picky)
    model = module.cost_model(FakeEvaluator())
    with pytest.warns(RuntimeWarning, match="not read, and so not ranked"):
        predicted = model.predict(context, candidates)
    assert predicted[good].tolist() == expected.tolist()
    assert set(predicted[odd].tolist()) == {np.median(expected)}
    model.update(context, candidates, results([1e-3] * len(candidates)))
