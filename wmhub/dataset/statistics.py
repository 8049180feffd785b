"""Numbers of a dataset that its card and ``info`` show, in one pass and flat memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from wmhub.dataset.operators import UNNAMED, operator_kind
from wmhub.dataset.reader import Dataset

#: Borders of the histogram of latencies, in decades of seconds, and of best/latency.
LATENCY_BORDERS = np.linspace(-7, 2, 91)
RATIO_BORDERS = np.linspace(0, 1, 51)


@dataclass(frozen=True)
class OperatorCounts:
    """One kind of operator."""

    kind: str
    workloads: int
    records: int
    failed: int
    """Records of candidates that failed."""


@dataclass(frozen=True)
class SourceCounts:
    """What one contributor gave under one licence."""

    contributor: str
    licence: str
    files: int
    """Files that the records came from."""
    records: int


@dataclass(frozen=True)
class Statistics:
    """What the records of a dataset look like."""

    sources: tuple[SourceCounts, ...]
    """By contributor and licence, most records first."""

    operators: tuple[OperatorCounts, ...]
    """By kind, most records first."""
    latency_histogram: np.ndarray
    """int64 [90]: measured records by the decimal logarithm of latency; ``LATENCY_BORDERS``."""
    ratio_histogram: np.ndarray
    """int64 [50]: measured records by best latency of the workload / latency; ``RATIO_BORDERS``."""
    fastest_seconds: float
    """Smallest latency; ``inf`` without measured records."""
    slowest_seconds: float
    """Largest latency of a measured record; 0 without one."""
    median_ratio: float
    """Median over workloads of the median best/latency."""
    failed: int
    """Records of candidates that failed."""
    unnamed: int
    """Workloads that are known by a hash alone."""
    fewest_records: int
    """Records of the workload with the fewest."""
    most_records: int


def statistics(dataset: Dataset) -> Statistics:
    """Reads the latencies and the provenance of ``dataset``."""
    kinds: dict[str, list[int]] = {}
    latency_histogram = np.zeros(len(LATENCY_BORDERS) - 1, dtype=np.int64)
    ratio_histogram = np.zeros(len(RATIO_BORDERS) - 1, dtype=np.int64)
    fastest, slowest = np.inf, 0.0
    medians: list[float] = []
    sizes: list[int] = []
    columns = ("run_seconds", "failure")
    for workload, rows in dataset.iter_workload_records(columns=columns):
        latency = rows.latency_seconds
        ran = latency[np.isfinite(latency)]
        count = kinds.setdefault(operator_kind(workload), [0, 0, 0])
        count[0] += 1
        count[1] += len(rows)
        count[2] += len(rows) - len(ran)
        sizes.append(len(rows))
        if not len(ran):
            continue
        ratio = ran.min() / ran
        fastest, slowest = min(fastest, ran.min()), max(slowest, ran.max())
        medians.append(float(np.median(ratio)))
        clipped = np.clip(np.log10(ran), LATENCY_BORDERS[0], LATENCY_BORDERS[-1])
        latency_histogram += np.histogram(clipped, LATENCY_BORDERS)[0]
        ratio_histogram += np.histogram(ratio, RATIO_BORDERS)[0]
    operators = (OperatorCounts(kind, *count) for kind, count in kinds.items())
    return Statistics(
        sources=_sources(dataset),
        operators=tuple(sorted(operators, key=lambda item: (-item.records, item.kind))),
        latency_histogram=latency_histogram,
        ratio_histogram=ratio_histogram,
        fastest_seconds=float(fastest),
        slowest_seconds=float(slowest),
        median_ratio=float(np.median(medians)) if medians else 0.0,
        failed=sum(failed for _, _, failed in kinds.values()),
        unnamed=kinds.get(UNNAMED, [0])[0],
        fewest_records=min(sizes, default=0),
        most_records=max(sizes, default=0),
    )


def _sources(dataset: Dataset) -> tuple[SourceCounts, ...]:
    names = ["contributor", "licence", "source"]
    records: Counter[tuple[str, ...]] = Counter()
    for table in dataset.iter_tables(columns=names):
        for row in table.group_by(names).aggregate([([], "count_all")]).to_pylist():
            records[tuple(row[name] for name in names)] += row["count_all"]
    files = Counter(key[:2] for key in records)
    totals: Counter[tuple[str, ...]] = Counter()
    for key, count in records.items():
        totals[key[:2]] += count
    return tuple(
        SourceCounts(contributor, licence, files[contributor, licence], count)
        for (contributor, licence), count in totals.most_common()
    )
