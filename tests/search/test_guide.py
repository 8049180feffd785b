from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scorers import FakeEvaluator

from wmhub.measure import zoo
from wmhub.search.learner import Learner

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

TARGET = {"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2}
NAME = "matmul-m64-n64-k64"


def guided_sampler(learner: Learner, seed: int = 1) -> Any:
    from wmhub.measure.sampling import Sampler
    from wmhub.search.guide import ModelGuide

    def make(context: Any, spaces: Any, number: int) -> ModelGuide:
        return ModelGuide(learner, context, spaces, number)

    return Sampler(zoo.build(NAME), TARGET, seed, make)


def liked(sampler: Any, candidates: Any) -> float:
    """Mean score that the fake checkpoint gives candidates."""
    from wmhub.measure.programs import save_program

    scorer = FakeEvaluator().for_workload(save_program(zoo.build(NAME)))
    traces = [json.loads(candidate.trace) for candidate in candidates]
    return float(np.mean(scorer.score_traces(traces).score))


def test_a_guide_proposes_what_the_checkpoint_likes_and_nothing_twice() -> None:
    sampler = guided_sampler(Learner(FakeEvaluator()))
    drawn = sampler.random(8)
    for candidate in drawn:
        sampler.learn(candidate.trace, 1e-3)
    proposed = sampler.guided(8)
    assert len(proposed) == 8
    assert liked(sampler, proposed) > liked(sampler, drawn)
    again = sampler.guided(8)
    traces = [candidate.trace for candidate in (*drawn, *proposed, *again)]
    assert len(set(traces)) == len(traces)


def test_what_is_measured_corrects_the_guide() -> None:
    """A checkpoint that likes large inner tiles learns that they are slow here."""
    learner = Learner(FakeEvaluator())
    sampler = guided_sampler(learner)
    first = sampler.guided(6)
    candidates = [*sampler.random(10), *first]
    for candidate in candidates:
        sampler.learn(candidate.trace, 1e-3 * float(np.exp(2 * liked(sampler, [candidate]))))
    sampler.learn(sampler.random(1)[0].trace, None)
    assert liked(sampler, sampler.guided(6)) < liked(sampler, first)


def test_traces_of_an_earlier_run_are_not_proposed_again() -> None:
    earlier = guided_sampler(Learner(FakeEvaluator())).guided(6)
    sampler = guided_sampler(Learner(FakeEvaluator()))
    for candidate in earlier:
        sampler.learn(candidate.trace, 1e-3)
    known = {candidate.trace for candidate in earlier}
    assert not known & {candidate.trace for candidate in sampler.guided(6)}


def test_half_of_what_it_proposes_is_what_the_checkpoint_would_choose_unmeasured() -> None:
    """However slow its favourites turn out, it goes on to propose others that it likes as well."""
    sampler = guided_sampler(Learner(FakeEvaluator()))
    for candidate in [*sampler.random(16), *sampler.guided(8)]:
        sampler.learn(candidate.trace, 1e-3 * float(np.exp(2 * liked(sampler, [candidate]))))
    likings = sorted(liked(sampler, [candidate]) for candidate in sampler.guided(8))
    assert np.mean(likings[4:]) - np.mean(likings[:4]) > 0.5
