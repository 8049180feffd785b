"""Ratios of one method over another, of paired runs of ``wmhub bench search``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmhub.bench.search_spec import METHODS, RunResult

#: Method, trials and seed of a final program.
FinalKey = tuple[str, int, int]
#: Which side of a pair had nothing that ran where the other had something.
OURS, OTHER = "ours", "other"


@dataclass(frozen=True)
class Ratio:
    """A ratio over workloads and seeds; above 1 is in our favour."""

    geomean: float | None
    """Geometric mean over workloads of that over seeds; ``None`` without a pair."""
    low: float | None
    """2.5 % quantile over resampled workloads and seeds."""
    high: float | None
    """97.5 % quantile."""
    worst: float | None
    """The lowest workload; 0 where ours alone failed on one."""
    pairs: int
    """Pairs of runs behind the mean."""
    failed: int
    """Pairs in which ours alone had no program that ran: left out of the mean, though lost."""
    other_failed: int
    """Pairs in which the other alone had none: left out of the mean, though won."""


@dataclass(frozen=True)
class WorkloadOutcome:
    """All runs of one workload."""

    name: str
    latency_s: dict[str, dict[int, float | None]]
    """``method@trials`` -> seed -> latency in seconds of the final measurement; ``None`` where no
    program ran."""
    wall_s: dict[str, dict[int, float]]
    """``method@trials`` -> seed -> wall time in seconds."""
    ratios: dict[str, dict[int, float]]
    """Name as in ``SearchBench.ratios`` -> seed -> ratio."""
    failures: dict[str, dict[int, str]]
    """The same -> seed -> ``ours`` or ``other``: which side of the pair had no program that ran."""


@dataclass(frozen=True)
class _Pairs:
    """Seed -> ratio where both sides have a number, and seed -> side where only one has none."""

    ratios: dict[int, float]
    failures: dict[int, str]


def compare(
    name: str,
    runs: Sequence[RunResult],
    finals: dict[FinalKey, float | None],
    trials: int,
    stock_trials: int,
) -> WorkloadOutcome:
    """Latencies, wall times and paired ratios of one workload."""
    latency: dict[str, dict[int, float | None]] = {}
    wall: dict[str, dict[int, float]] = {}
    for run in sorted(runs, key=lambda run: (run.spec.method, run.spec.seed)):
        method, seed = run.spec.method, run.spec.seed
        for mark, seconds in sorted(run.seconds_at.items()):
            # Of a run that found nothing there is no program to measure: it failed, too.
            latency.setdefault(f"{method}@{mark}", {})[seed] = finals.get((method, mark, seed))
            wall.setdefault(f"{method}@{mark}", {})[seed] = seconds
    ours, stock = f"wmhub@{trials}", f"stock@{trials}"
    against: dict[str, tuple[str, str]] = {
        f"latency_{trials}_vs_stock_{trials}": (stock, ours),
        f"latency_{trials}_vs_stock_{stock_trials}": (f"stock@{stock_trials}", ours),
        f"latency_0_vs_stock_{trials}": (stock, "zero@0"),
    }
    for method in METHODS:
        if method not in ("wmhub", "stock", "zero"):
            against[f"latency_{trials}_vs_{method}"] = (f"{method}@{trials}", ours)
    pairs = {key: _paired(latency, *sides) for key, sides in against.items()}
    pairs[f"wall_{trials}_vs_stock_{trials}"] = _paired(wall, stock, ours)
    pairs["curve_vs_stock"] = _worst_of_curves(runs)
    return WorkloadOutcome(
        name,
        latency,
        wall,
        {key: one.ratios for key, one in pairs.items() if one.ratios},
        {key: one.failures for key, one in pairs.items() if one.failures},
    )


def _paired(table: Mapping[str, Mapping[int, Any]], above: str, below: str) -> _Pairs:
    """``above``, the other's, over ``below``, which is ours, for the seeds that both have run."""
    others, ours = table.get(above, {}), table.get(below, {})
    pairs = _Pairs({}, {})
    for seed in sorted(others.keys() & ours.keys()):
        if others[seed] and ours[seed]:
            pairs.ratios[seed] = others[seed] / ours[seed]
        elif others[seed] or ours[seed]:
            pairs.failures[seed] = OTHER if ours[seed] else OURS
    return pairs


def _worst_of_curves(runs: Sequence[RunResult]) -> _Pairs:
    """Lowest ratio of stock's best latency to ours at any time that stock has one."""
    curves = {
        (run.spec.method, run.spec.seed): [(at, latency) for _, at, latency in run.curve]
        for run in runs
    }
    pairs = _Pairs({}, {})
    for method, seed in curves:
        if method != "stock" or ("wmhub", seed) not in curves:
            continue
        mine, theirs = curves["wmhub", seed], curves[method, seed]
        if mine and theirs:
            times = sorted({at for at, _ in (*mine, *theirs) if at >= theirs[0][0]})
            pairs.ratios[seed] = min(_at(theirs, at) / _at(mine, at) for at in times)
        elif mine or theirs:
            # Where TVM's builds all took too long there is no curve.
            pairs.failures[seed] = OTHER if mine else OURS
    return pairs


def _at(curve: Sequence[tuple[float, float]], time: float) -> float:
    """Best latency of ``curve`` at ``time``; infinite before its first."""
    return min((latency for at, latency in curve if at <= time), default=float("inf"))


def summarize(outcomes: Sequence[WorkloadOutcome]) -> dict[str, Ratio]:
    """Each ratio over all workloads, with the spread of resampled workloads and seeds."""
    names = dict.fromkeys(
        name for outcome in outcomes for name in (*outcome.ratios, *outcome.failures)
    )
    return {name: _ratio(name, outcomes) for name in names}


def _ratio(name: str, outcomes: Sequence[WorkloadOutcome]) -> Ratio:
    logs = [
        np.log(np.maximum(list(outcome.ratios[name].values()), 1e-9))
        for outcome in outcomes
        if name in outcome.ratios
    ]
    failures = [side for one in outcomes for side in one.failures.get(name, {}).values()]
    means = [float(values.mean()) for values in logs]
    low, high = _spread(logs) if logs else (None, None)
    return Ratio(
        geomean=float(np.exp(np.mean(means))) if means else None,
        low=low,
        high=high,
        worst=0.0 if OURS in failures else float(np.exp(min(means))) if means else None,
        pairs=sum(len(values) for values in logs),
        failed=failures.count(OURS),
        other_failed=failures.count(OTHER),
    )


def _spread(logs: Sequence[np.ndarray]) -> tuple[float, float]:
    """2.5 % and 97.5 % quantile of the geometric mean over resampled workloads and seeds."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        picked = random.integers(len(logs), size=len(logs))
        drawn.append(np.mean([random.choice(logs[i], size=len(logs[i])).mean() for i in picked]))
    low, high = np.exp(np.quantile(drawn, (0.025, 0.975))).tolist()
    return low, high
