from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scorers import FakeEvaluator, make_context, workload

from wmhub.errors import MeasureError
from wmhub.search.evolve import Evolution
from wmhub.search.learner import Learner

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm
SMALL = Evolution(population=64, generations=3)


def make_search(context: Any, seed: int = 0, learner: Learner | None = None) -> Any:
    from wmhub.search.latent_config import LatentSearchConfig
    from wmhub.search.task_search import task_search

    spaces = context.generate_design_space()
    config = LatentSearchConfig(evolution=SMALL, later=SMALL)
    return task_search(context, learner or Learner(FakeEvaluator()), config, spaces, seed)


@pytest.fixture(scope="module")
def context() -> Any:
    return make_context(workload())


def innermost(search: Any, candidate: Any) -> float:
    """The opposite of what the fake scorer likes, as seconds."""
    return 1e-3 * float(np.exp(2 * search.scores([candidate]).score[0]))


def test_the_best_is_verified_and_well_scored(context: Any) -> None:
    search = make_search(context)
    candidate, schedule = search.best()
    assert schedule.mod is not None
    random = np.random.default_rng(0)
    spaces = [sketch.space for sketch in search._sketches]
    drawn = [type(candidate)(n, s.draw(random)) for n, s in enumerate(spaces) for _ in range(40)]
    assert search.scores([candidate]).score[0] > np.quantile(search.scores(drawn).score, 0.95)


def test_a_batch_begins_with_the_best_of_all(context: Any) -> None:
    # The same seed evolves the same candidates.
    best, _ = make_search(context).best()
    (first, _), *others = make_search(context).batch(6)
    search = make_search(context)
    scores = search.scores([best, first, *(candidate for candidate, _ in others)]).score
    assert scores[1] == scores[0] == scores.max()


def test_threads_change_no_batch(context: Any) -> None:
    from wmhub.search.latent_config import LatentSearchConfig
    from wmhub.search.task_search import task_search
    from wmhub.tvm_compat import same_structure

    # Each call of it begins with other compute locations.
    spaces = context.generate_design_space()
    config = LatentSearchConfig(evolution=SMALL, later=SMALL)
    found = []
    for threads in (1, 4):
        search = task_search(context, Learner(FakeEvaluator()), config, spaces, 0)
        search._threads = threads
        batch = search.batch(24)
        found.append([(one, same_structure(schedule.mod)) for one, schedule in batch])
    assert found[0] == found[1]
    assert len(found[0]) == 24


def test_the_only_candidate_of_a_sketch_is_uncertain_too(context: Any) -> None:
    from wmhub.measure.space import Candidate

    search = make_search(context)
    spaces = [sketch.space for sketch in search._sketches]
    assert len(spaces) > 1
    random = np.random.default_rng(0)
    one_each = [Candidate(n, space.draw(random)) for n, space in enumerate(spaces)]
    scores = search.scores(one_each[::-1])
    assert (scores.uncertainty > 0).all()
    alone = [search.scores([candidate]).score[0] for candidate in one_each]
    assert scores.score.tolist() == alone[::-1]


def test_what_small_batches_owe_to_exploration_adds_up(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.search import task_search

    explored: list[int] = []

    def picked(mean: Any, covariance: Any, count: int, explore: int, *rest: Any) -> Any:
        explored.append(explore)
        return real(mean, covariance, count, explore, *rest)

    real = task_search.pick_batch
    monkeypatch.setattr(task_search, "pick_batch", picked)
    search = make_search(context)
    for _ in range(8):
        search.batch(2)
    # 0.15 of sixteen, and half a candidate to round by.
    assert sum(explored) == 2
    assert set(explored) == {0, 1}


def test_no_program_comes_twice(context: Any) -> None:
    from wmhub.tvm_compat import same_structure

    search = make_search(context)
    programs, candidates = [], []
    for _ in range(3):
        batch = search.batch(6)
        assert len(batch) == 6
        latency = np.asarray([innermost(search, c) for c, _ in batch])
        latency[0] = np.nan
        search.record([c for c, _ in batch], latency)
        candidates += [c for c, _ in batch]
        programs += [same_structure(schedule.mod) for _, schedule in batch]
    assert len(set(candidates)) == len(set(programs)) == 18


def test_what_was_measured_before_is_known_by_its_program(context: Any) -> None:
    from wmhub.tvm_compat import same_structure

    batch = make_search(context).batch(6)
    search = make_search(context)
    seconds = [1e-3, np.nan, *[2e-3] * 4]
    search.resume([(schedule.trace, s) for (_, schedule), s in zip(batch, seconds, strict=True)])
    programs = [same_structure(schedule.mod) for _, schedule in batch]
    # Of the one that failed, its trace alone.
    assert search._programs == {programs[0], *programs[2:]}


def test_measurements_turn_the_search_round(context: Any) -> None:
    search = make_search(context)
    firsts = [innermost(search, c) for c, _ in search.batch(12)]
    # The model is all wrong, and by a lot.
    for _ in range(8):
        batch = [c for c, _ in search.batch(12)]
        latency = [innermost(search, candidate) for candidate in batch]
        search.record(batch, np.asarray(latency))
    assert min(latency) < 0.7 * min(firsts)


def test_a_replayed_candidate_is_found_again(context: Any) -> None:
    search = make_search(context)
    for _, schedule in search.batch(4):
        again = search._candidate_of(schedule.trace)
        assert again is not None
        replayed = search._sketches[again.space].replay(again.genes)
        assert str(replayed.mod) == str(schedule.mod)


def test_what_is_measured_is_the_candidate_that_was_built() -> None:
    # A padded convolution, where TVM moves many a compute location.
    search = make_search(make_context(workload("C2D", 0)))
    measured = 0
    for _ in range(3):
        batch = search.batch(8)
        for candidate, schedule in batch:
            sketch = search._sketches[candidate.space]
            assert sketch.genes_of(schedule.trace) == candidate.genes
            assert candidate in search._tried
        search.record([one for one, _ in batch], np.full(len(batch), 1e-3))
        measured += len(batch)
    # Both what was chosen and what became of it.
    assert len(search._tried) > measured == 24


def test_the_best_is_so_as_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    search = make_search(make_context(workload("C2D", 0)))
    made = {one: taken for one in search._drawn(64) if (taken := search._made(one)) is not None}
    first, second, *_ = [one for one, (taken, _) in made.items() if taken != one]
    stays = next(one for one, (taken, _) in made.items() if taken == one)
    worth = {made[first][0]: 0.5, made[second][0]: 1.5, stays: 1.0}
    monkeypatch.setattr(search, "scores", lambda candidates: [worth[one] for one in candidates])
    monkeypatch.setattr(search, "_least", np.asarray)
    for thought, best in [
        ({first: 3.0, stays: 2.0}, stays),
        ({second: 3.0, first: 2.0, stays: 1.0}, made[second][0]),
        ({first: 3.0}, made[first][0]),
    ]:
        monkeypatch.setattr(search, "_evolved", lambda thought=thought: thought)
        assert search.best()[0] == best
    search._tried.add(made[first][0])
    with pytest.raises(MeasureError):
        search.best()


def test_the_most_reliable_of_the_best_comes_first(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = make_search(context)
    drawn = list(dict.fromkeys(search._drawn(40)))
    some = [one for one in drawn if (made := search._made(one)) and made[0] == one][:4]
    mean = dict(zip(some, [3.0, 2.9, 2.8, 0.0], strict=True))
    deviation = dict(zip(some, [0.5, 0.1, 0.4, 0.0], strict=True))

    def predict(scores: Any) -> Any:
        return np.asarray([mean[c] for c in scores]), np.asarray([deviation[c] for c in scores])

    monkeypatch.setattr(search, "_evolved", lambda: mean)
    monkeypatch.setattr(search, "scores", list)
    monkeypatch.setattr(search._learner, "predict", predict)
    monkeypatch.setattr(search._learner, "covariance", lambda scores: np.eye(len(scores)))
    assert search.best()[0] == some[1]
    assert [one for one, _ in search.batch(3)][:2] == [some[1], some[0]]


def test_a_trace_of_another_program_is_no_candidate(context: Any) -> None:
    search = make_search(context)
    other = make_context(workload("GMM", 0)).generate_design_space()[0]
    assert search._candidate_of(other.trace) is None


def test_a_design_space_that_is_used_up_is_told(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = make_search(context)
    (first, _), (second, _) = search.batch(2)
    monkeypatch.setattr(search, "_evolved", lambda: {first: 0.0, second: -1.0})
    search.record([first, second], np.asarray([np.nan, np.nan]))
    with pytest.raises(MeasureError, match=r"every valid .* was measured and failed$"):
        search.best()
    search.record([first], np.asarray([1e-3]))
    with pytest.raises(MeasureError, match=r"every valid .* was measured$"):
        search.best()
