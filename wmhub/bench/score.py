"""Candidates scored per second on one core, against TVM's features and XGBoost on the same ones."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.evaluator import Evaluator, WorkloadScorer
from wmhub.measure import zoo
from wmhub.measure.programs import measure_candidate, save_program
from wmhub.measure.sketch import Sketch
from wmhub.training.boosting import require_xgboost
from wmhub.tvm_compat import llvm_target, use_target
from wmhub.tvm_compat import meta_schedule as ms

DEFAULT_WORKLOADS = (
    "matmul-m512-n512-k512",
    "dense-m128-n3072-k768-bias-gelu",
    "bmm-b12-m128-n128-k64",
    "conv2d-n1-h14-w14-ci256-co256-k3-s1-p1-bn-relu",
)
#: Candidates whose mutations are scored, in each design space: what a search keeps as its parents.
_PARENTS = 64
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class WorkloadSpeed:
    """One workload; rates are in candidates per second of one core's CPU time."""

    name: str
    candidates: int
    """Distinct mutated candidates that were scored, over all design spaces."""
    traces_rate: float
    """From parsed traces, each with instructions of its own."""
    decisions_rate: float
    """From lists of decisions for one trace, as a search holds its candidates."""
    unshared_rate: float
    """``decisions_rate`` where each candidate's actions are rolled out on their own."""
    tvm_candidates: int
    """Those of the candidates that TVM looked at."""
    tvm_rate: float
    """TVM's feature extraction and XGBoost prediction, from replayed schedules."""
    tvm_replay_rate: float
    """The same from decisions: with the replay of each schedule and its post-processing."""


@dataclass(frozen=True)
class ScoreResult:
    """What one run of the benchmark measured; rates as in ``WorkloadSpeed``, over all workloads."""

    model: str
    candidates: int
    candidates_per_second: float
    """From parsed traces."""
    decisions_per_second: float
    """From lists of decisions."""
    tvm_per_second: float
    """Features and prediction of TVM's ``XGBModel``."""
    tvm_with_replay_per_second: float
    """The same with the replay that it needs before."""
    speedup: float
    """``candidates_per_second / tvm_per_second``: the replay is not counted, though only TVM needs
    it."""
    speedup_with_replay: float
    """``candidates_per_second / tvm_with_replay_per_second``."""
    sharing_gain: float
    """Speed with over speed without the sharing of prefixes between candidates."""
    memory_rounds: int
    """Calls over all candidates between the two looks at the memory."""
    memory_growth_bytes: int
    """By how much the resident set grew over ``memory_rounds``."""
    workloads: tuple[WorkloadSpeed, ...]


@dataclass(frozen=True)
class _Drawn:
    """Candidates of one design space."""

    sketch: Sketch
    genes: list[tuple[int, ...]]
    decisions: list[list[list[Any]]]
    traces: list[Any]


def score(
    model: str | Evaluator = "wm-llvm-emeraldrapids-2c",
    *,
    workloads: Sequence[str] = DEFAULT_WORKLOADS,
    candidates: int = 2048,
    tvm_candidates: int = 32,
    rounds: int = 5,
    memory_rounds: int = 30,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> ScoreResult:
    """Scores ``candidates`` mutated candidates in each design space of each zoo workload.

    TVM's model looks at ``tvm_candidates`` of them for each design space, because it needs
    milliseconds for each. Everything runs in one thread on one core, in CPU time, so that other
    work on the machine does not count; our rates are medians of ``rounds``, TVM's of half as many,
    and the replay that it needs is timed once.

    Raises ``MissingDependencyError`` without TVM or XGBoost.
    """
    if not workloads or min(candidates, tvm_candidates, rounds, memory_rounds) < 1:
        raise InvalidInputError(
            "bench score needs a workload, and at least one candidate and round"
        )
    require_xgboost("bench score")
    from wmhub.hub import evaluator_of

    say = progress or (lambda _: None)
    evaluator = evaluator_of(model)
    with one_core():
        peer = ms.cost_model.XGBModel(num_warmup_samples=1, num_tuning_cores=1)
        found, scorers = [], []
        for name in workloads:
            context, drawn = _draw(name, candidates, seed)
            program = save_program(context.mod)
            scorer = evaluator.for_workload(program)
            plain = Evaluator(evaluator.checkpoint, share_prefixes=False).for_workload(program)
            found.append(
                WorkloadSpeed(
                    name,
                    sum(len(space.genes) for space in drawn),
                    *_our_rates(scorer, plain, drawn, rounds),
                    *_tvm_rates(peer, scorer, context, drawn, tvm_candidates, rounds),
                )
            )
            scorers.append((scorer, drawn))
            say(f"{name}: {found[-1].traces_rate:,.0f}/s, TVM {found[-1].tvm_rate:,.0f}/s")
        growth = _memory_growth(scorers, memory_rounds)
    return _result(evaluator.name, found, memory_rounds, growth)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Holds this thread, and those that it starts, to one core and torch to one thread."""
    import torch

    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


def _draw(name: str, count: int, seed: int) -> tuple[Any, list[_Drawn]]:
    """The tuning context of a workload, and distinct mutations in each of its design spaces."""
    context = ms.TuneContext(
        mod=zoo.build(name),
        target=use_target(llvm_target()),
        space_generator="post-order-apply",
        task_name="bench-score",
        rand_state=seed + 1,
        num_threads=1,
    )
    postprocs = list(context.space_generator.postprocs or ())
    rng = np.random.default_rng(seed)
    drawn = []
    for design in context.generate_design_space():
        sketch = Sketch(context.mod, design.trace, postprocs)
        sketch.learn_locations(seed)
        space = sketch.space
        parents = [space.draw(rng) for _ in range(_PARENTS)]
        # A dictionary keeps the order, and a small space simply gives fewer.
        genes: dict[tuple[int, ...], None] = {}
        for _ in range(4 * count):
            genes[space.mutate(parents[int(rng.integers(_PARENTS))], rng)] = None
            if len(genes) == count:
                break
        decisions = [space.decisions(one) for one in genes]
        # Parsed from text one by one, as from a log: no two traces share an object.
        traces = [json.loads(json.dumps([space.instructions, row])) for row in decisions]
        drawn.append(_Drawn(sketch, list(genes), decisions, traces))
    return context, drawn


def _our_rates(
    scorer: WorkloadScorer, plain: WorkloadScorer, drawn: Sequence[_Drawn], rounds: int
) -> tuple[float, float, float]:
    count = sum(len(space.genes) for space in drawn)

    def decisions(by: WorkloadScorer) -> None:
        for space in drawn:
            by.score_decisions(space.sketch.space.instructions, space.decisions)

    calls = [
        lambda: [scorer.score_traces(space.traces) for space in drawn],
        lambda: decisions(scorer),
        lambda: decisions(plain),
    ]
    seconds = [_seconds(call, rounds) for call in calls]
    return count / seconds[0], count / seconds[1], count / seconds[2]


def _tvm_rates(
    peer: Any,
    scorer: WorkloadScorer,
    context: Any,
    drawn: Sequence[_Drawn],
    count: int,
    rounds: int,
) -> tuple[int, float, float]:
    """TVM's model on evenly spaced candidates of each design space."""
    candidates, labels = [], []
    replay = 0.0
    for space in drawn:
        chosen = np.unique(np.linspace(0, len(space.genes) - 1, count).astype(int))
        began = time.process_time()
        schedules = [space.sketch.replay(space.genes[i]) for i in chosen]
        replay += time.process_time() - began
        scores = scorer.score_traces([space.traces[i] for i in chosen]).score
        for schedule, told in zip(schedules, scores, strict=True):
            if schedule is not None:
                candidates.append(measure_candidate(schedule))
                labels.append(ms.runner.RunnerResult([float(np.exp(-told))], None))
    if not candidates:
        raise MeasureError("none of the drawn candidates is a valid schedule")
    # Trees of a real size, from our own opinion in place of measurements.
    peer.update(context, candidates, labels)
    seconds = _seconds(lambda: peer.predict(context, candidates), max(1, rounds // 2))
    return len(candidates), len(candidates) / seconds, len(candidates) / (seconds + replay)


def _seconds(call: Callable[[], object], rounds: int) -> float:
    """Median CPU seconds of ``call``, after a first one that does not count."""
    call()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return statistics.median(found)


def _memory_growth(scorers: Sequence[tuple[WorkloadScorer, Sequence[_Drawn]]], rounds: int) -> int:
    """Bytes by which the resident set grows over ``rounds``, after as many to settle."""

    def run() -> None:
        for scorer, drawn in scorers:
            for space in drawn:
                scorer.score_traces(space.traces)

    for _ in range(rounds):
        run()
    before = _resident()
    for _ in range(rounds):
        run()
    return max(0, _resident() - before)


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (read often)
        return int(file.read().split()[1]) * _PAGE


def _result(
    model: str, found: Sequence[WorkloadSpeed], memory_rounds: int, growth: int
) -> ScoreResult:
    def rate(name: str, count: str = "candidates") -> float:
        """All candidates over all seconds."""
        total = sum(getattr(one, count) for one in found)
        return total / sum(getattr(one, count) / getattr(one, name) for one in found)

    ours = rate("traces_rate")
    theirs = rate("tvm_rate", "tvm_candidates")
    replayed = rate("tvm_replay_rate", "tvm_candidates")
    return ScoreResult(
        model=model,
        candidates=sum(one.candidates for one in found),
        candidates_per_second=ours,
        decisions_per_second=rate("decisions_rate"),
        tvm_per_second=theirs,
        tvm_with_replay_per_second=replayed,
        speedup=ours / theirs,
        speedup_with_replay=ours / replayed,
        sharing_gain=rate("decisions_rate") / rate("unshared_rate"),
        memory_rounds=memory_rounds,
        memory_growth_bytes=growth,
        workloads=tuple(found),
    )
