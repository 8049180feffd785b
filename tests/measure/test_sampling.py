from __future__ import annotations

import itertools
import json
from functools import partial

import pytest

from wmhub.errors import MeasureError
from wmhub.measure import zoo
from wmhub.measure.sampling import Sampled, Sampler, mixed

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

TARGET = {"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2}
CUDA = {
    "kind": "cuda",
    "arch": "sm_80",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 48 << 10,
    "registers_per_block": 64 << 10,
    "thread_warp_size": 32,
}


def sampler(name: str = "matmul-m64-n64-k64", seed: int = 1) -> Sampler:
    return Sampler(zoo.build(name), TARGET, seed)


def decisions(candidate: Sampled) -> list[list[object]]:
    found: list[list[object]] = json.loads(candidate.trace)[1]
    return found


def test_candidates_are_distinct_valid_and_repeat_with_the_seed() -> None:
    first = sampler().random(8)
    assert len({candidate.trace for candidate in first}) == 8
    assert [c.trace for c in sampler().random(8)] == [c.trace for c in first]
    assert [c.trace for c in sampler(seed=2).random(8)] != [c.trace for c in first]


def test_a_trace_has_the_form_of_a_database() -> None:
    (candidate,) = sampler().random(1)
    instructions, decided = json.loads(candidate.trace)
    names = [name for name, _, _, _ in instructions]
    assert "EnterPostproc" in names
    assert "SamplePerfectTile" in names
    assert all(isinstance(index, int) for index, _ in decided)


def test_guided_candidates_are_near_to_the_best() -> None:
    drawn = sampler()
    parents = drawn.random(6)
    for rank, candidate in enumerate(parents):
        drawn.learn(candidate.trace, 1.0 + rank)
    children = drawn.guided(8)
    assert len(children) == 8

    def distance(child: Sampled) -> int:
        ours = decisions(child)
        return min(
            sum(a != b for a, b in zip(ours, decisions(parent), strict=True))
            for parent in parents
            if [i for i, _ in decisions(parent)] == [i for i, _ in ours]
        )

    assert max(map(distance, children)) <= 3


def test_without_anything_learned_guided_is_random() -> None:
    assert len(sampler().guided(3)) == 3


def test_a_failure_is_no_parent() -> None:
    drawn = sampler()
    for candidate in drawn.random(3):
        drawn.learn(candidate.trace, None)
    assert drawn._best == []


def test_traces_of_an_earlier_run_are_not_drawn_again_and_become_parents() -> None:
    before = sampler().random(10)
    resumed = sampler()
    for candidate in before:
        resumed.learn(candidate.trace, 1.0)
    assert len(resumed._best) == 10
    again = resumed.random(10)
    assert not {c.trace for c in again} & {c.trace for c in before}


def test_a_trace_that_does_not_fit_the_workload_is_left_alone() -> None:
    drawn = sampler()
    drawn.learn('[[["GetSBlock",[],["nothing","main"],["b0"]]],[]]', 1.0)
    assert drawn._best == []


def test_a_program_that_tvms_rules_fail_on_is_refused_with_their_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wmhub.tvm_compat import meta_schedule as ms

    def fail(context: object) -> None:
        raise IndexError("a trace of many lines\nIndex 6 out of bounds 6")

    monkeypatch.setattr(ms.TuneContext, "generate_design_space", fail)
    with pytest.raises(MeasureError, match="design space for llvm: Index 6 out of bounds 6"):
        sampler()


def test_an_interruption_is_no_reason_to_leave_a_program_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wmhub.measure.rules.Product.of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sampler()


def test_a_small_space_gives_what_it_has() -> None:
    found = sampler("transpose-m64-n64").random(16)
    assert 1 <= len(found) < 16


def test_the_mix_is_random_first_and_then_as_stated() -> None:
    drawn = sampler()
    first = mixed(drawn, 8, 0.25, measured=0, warm_up=8)
    for candidate in first:
        drawn.learn(candidate.trace, 1.0)
    calls: list[tuple[str, int]] = []
    random_, guided = drawn.random, drawn.guided
    drawn.random = lambda n: calls.append(("random", n)) or random_(n)  # type: ignore[method-assign,func-returns-value]
    drawn.guided = lambda n: calls.append(("guided", n)) or guided(n)  # type: ignore[method-assign,func-returns-value]
    assert len(mixed(drawn, 8, 0.25, measured=8, warm_up=8)) == 8
    assert calls == [("random", 2), ("guided", 6)]


def test_a_gpus_collection_that_grows_draws_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.measure import sampling

    # TVM parses the intrinsics of CUDA for eleven seconds, and none is used here.
    without = partial(sampling.use_target, intrinsics=False)
    monkeypatch.setattr(sampling, "use_target", without)
    drawn: list[set[str]] = []
    known: list[Sampled] = []
    for _ in range(2):
        grown = Sampler(zoo.build("matmul-m256-n256-k256"), CUDA, 1)
        for candidate in known:
            grown.learn(candidate.trace, 1.0)
        traces = itertools.islice(grown._drawn(), 8)
        drawn.append({str(trace) for trace in traces})
        known = known or grown.random(3)
    assert len(drawn[0]) == len(drawn[1]) == 8
    assert not drawn[0] & drawn[1]


@pytest.mark.slow  # TVM parses the intrinsics of CUDA for eleven seconds.
def test_candidates_for_a_gpu_are_drawn_without_one() -> None:
    drawn = Sampler(zoo.build("matmul-m256-n256-k256"), CUDA, 1)
    (candidate,) = drawn.random(1)
    names = [instruction[0] for instruction in json.loads(candidate.trace)[0]]
    assert "Bind" in names
