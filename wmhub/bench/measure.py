"""Candidates per second of our engine against TVM's builder and runner, and if they agree."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.bench.search_spec import STOCK_BUILD_SECONDS
from wmhub.children import safely_started
from wmhub.errors import InvalidInputError, MeasureError
from wmhub.hardware.probe import measured_here
from wmhub.measure import zoo
from wmhub.measure.candidate import Program
from wmhub.measure.engine import Engine
from wmhub.measure.programs import device_name, entry_arguments, load_program
from wmhub.measure.sampling import Sampler, mixed
from wmhub.measure.targets import cores_for, target_of
from wmhub.names import HardwareKey
from wmhub.training.metrics import spearman
from wmhub.tvm_compat import llvm_target, use_target, use_threads
from wmhub.tvm_compat import meta_schedule as ms

DEFAULT_WORKLOADS = (
    "matmul-m512-n512-k512",
    "conv2d-n1-h14-w14-ci256-co256-k3-s1-p1-bn-relu",
    "dense-m128-n768-k768-bias-add",
)
#: Only candidates this near to the best of their workload are compared: slower ones are timed once.
_NEAR = 3.0
#: Candidates that TVM's tuning hands to builder and runner at once, by default.
_TVM_BATCH = 64
#: How often TVM runs each candidate; only the first pass is what its tuning would take.
_TVM_PASSES = 3


@dataclass(frozen=True)
class MeasureResult:
    """What one run of the benchmark measured."""

    candidates: int
    """Candidates that both were given, those that failed included."""
    our_rate: float
    """Candidates per second of the engine, start-up of its workers included."""
    tvm_rate: float
    """Candidates per second of ``LocalBuilder`` and ``LocalRunner`` at their defaults."""
    speedup: float
    """``our_rate / tvm_rate``."""
    compared: int
    """Candidates below 3x the best of their workload; the next four numbers are theirs."""
    rank_correlation: float
    """Spearman's, between our latency and the median of TVM's passes within a workload; mean over
    workloads."""
    median_ratio: float
    """Median of our latency over that of TVM's passes."""
    tvm_rank_correlation: float
    """The same as ``rank_correlation`` between TVM's first pass and its others: what agreement the
    machine allows."""
    tvm_median_ratio: float
    """Median of TVM's first pass over its others."""
    failures: int
    """Candidates that at least one of the two could not measure."""


@dataclass(frozen=True)
class _Pair:
    workload: str
    ours: float | None
    theirs: tuple[float, ...]
    """Latency in each of TVM's passes; empty where one failed."""


def measure(
    workloads: Sequence[str] = DEFAULT_WORKLOADS,
    *,
    candidates: int = 64,
    cores: int | None = None,
    hardware: HardwareKey | str | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> MeasureResult:
    """Measures the same candidates of each zoo workload with both, on ``hardware``: this CPU, or a
    GPU of this machine.

    Half of the ``candidates`` of a workload are random, half near to the best of those, as in a
    collection. Both may use ``cores`` threads for a program on the CPU.
    """
    if candidates < 4 or not workloads:
        raise InvalidInputError("the comparison needs a workload and at least 4 candidates of it")
    if hardware is not None and cores is not None:
        raise InvalidInputError("cores are those of a program on the CPU: leave them out for a GPU")
    target = llvm_target(cores) if hardware is None else target_of(measured_here(hardware))
    # TVM's workers inherit it; by default they would use half of the cores.
    use_threads(cores_for(target))
    say = progress or (lambda _: None)
    pairs: list[_Pair] = []
    seconds = {"ours": 0.0, "theirs": 0.0}
    began = time.monotonic()
    with Engine(target) as engine:
        engine.wait_ready()
        seconds["ours"] += time.monotonic() - began
        for name in workloads:
            programs, ours = _measure_ours(engine, name, candidates, seed, seconds)
            say(f"{name}: {len(programs)} candidates measured by the engine")
            with safely_started():
                theirs = _measure_theirs(programs, target, seconds)
            say(f"{name}: and by TVM")
            pairs += [_Pair(name, a, b) for a, b in zip(ours, theirs, strict=True)]
    return _result(pairs, seconds["ours"], seconds["theirs"])


def _measure_ours(
    engine: Engine, name: str, count: int, seed: int, seconds: dict[str, float]
) -> tuple[list[Program], list[float | None]]:
    sampler = Sampler(zoo.build(name), engine.target, seed)
    programs: list[Program] = []
    latencies: list[float | None] = []
    half = count // 2
    for wanted in (half, count - half):
        drawn = mixed(sampler, wanted, 0.0, len(programs), half)
        fresh = [Program(candidate.module, name) for candidate in drawn]
        began = time.monotonic()
        results = engine.measure(fresh)
        seconds["ours"] += time.monotonic() - began
        for candidate, result in zip(drawn, results, strict=True):
            ran = statistics.median(result.run_seconds) if result.failure is None else None
            sampler.learn(candidate.trace, ran)
            latencies.append(ran)
        programs += fresh
    return programs, latencies


def _measure_theirs(
    programs: Sequence[Program], target: dict[str, Any], seconds: dict[str, float]
) -> list[tuple[float, ...]]:
    """Latencies by TVM's defaults (but for the time limit), in batches as its tuning makes them.

    Passes after the first are not in ``seconds``.
    """
    tvm_target = use_target(target)
    modules = [load_program(program.module) for program in programs]
    # Its worker imports every vendor's intrinsics before the first build; on a busy machine that
    # alone exceeds the default limit of 30 s, and no build ever succeeds.
    builder = ms.builder.LocalBuilder(timeout_sec=STOCK_BUILD_SECONDS)
    runner = ms.runner.LocalRunner()
    device = device_name(str(target["kind"]))
    latencies: list[tuple[float, ...]] = []
    for start in range(0, len(modules), _TVM_BATCH):
        batch = modules[start : start + _TVM_BATCH]
        began = time.monotonic()
        built = builder.build([ms.builder.BuilderInput(module, tvm_target) for module in batch])
        passes = []
        for number in range(_TVM_PASSES):
            passes.append(
                [
                    _run(runner, device, module, result.artifact_path)
                    for module, result in zip(batch, built, strict=True)
                ]
            )
            if number == 0:
                seconds["theirs"] += time.monotonic() - began
        for result, *times in zip(built, *passes, strict=True):
            ran = tuple(second for second in times if second is not None)
            latencies.append(ran if len(ran) == _TVM_PASSES else ())
            if result.artifact_path is not None:
                shutil.rmtree(Path(str(result.artifact_path)).parent, ignore_errors=True)
    return latencies


def _run(runner: Any, device: str, module: Any, artifact: Any) -> float | None:
    if artifact is None:
        return None
    (future,) = runner.run([ms.runner.RunnerInput(str(artifact), device, entry_arguments(module))])
    times = future.result().run_secs
    return statistics.median(map(float, times)) if times else None


def _result(pairs: Sequence[_Pair], ours: float, theirs: float) -> MeasureResult:
    ours_and_theirs, theirs_and_theirs = [], []
    for workload in dict.fromkeys(pair.workload for pair in pairs):
        ran = [
            (pair.ours, pair.theirs)
            for pair in pairs
            if pair.workload == workload and pair.ours is not None and pair.theirs
        ]
        rows = [(ours, statistics.median(theirs), theirs) for ours, theirs in ran]
        best = min((min(row[:2]) for row in rows), default=0.0)
        near = [row for row in rows if min(row[:2]) < _NEAR * best]
        ours_and_theirs.append([(ours, middle) for ours, middle, _ in near])
        theirs_and_theirs.append(
            [(first, statistics.fmean(later)) for _, _, (first, *later) in near]
        )
    if not any(len(rows) > 2 for rows in ours_and_theirs):
        raise MeasureError("too few candidates ran to compare latencies; ask for more of them")
    rank_correlation, median_ratio = _agreement(ours_and_theirs)
    tvm_rank_correlation, tvm_median_ratio = _agreement(theirs_and_theirs)
    return MeasureResult(
        candidates=len(pairs),
        our_rate=len(pairs) / ours,
        tvm_rate=len(pairs) / theirs,
        speedup=theirs / ours,
        compared=sum(map(len, ours_and_theirs)),
        rank_correlation=rank_correlation,
        median_ratio=median_ratio,
        tvm_rank_correlation=tvm_rank_correlation,
        tvm_median_ratio=tvm_median_ratio,
        failures=sum(pair.ours is None or not pair.theirs for pair in pairs),
    )


def _agreement(workloads: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """Mean rank correlation within workloads of more than two pairs, and median ratio over all."""
    tables = [np.array(pairs) for pairs in workloads if len(pairs) > 2]
    # The first of a pair is a latency too, and the higher the slower.
    correlations = [spearman(one, -other) for one, other in (table.T for table in tables)]
    ratios = [one / other for pairs in workloads for one, other in pairs]
    return statistics.fmean(correlations), statistics.median(ratios)
