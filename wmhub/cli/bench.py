"""``wmhub bench``: every number that the documentation claims, by a command."""

from __future__ import annotations

import click

from wmhub.cli import LazyGroup

#: Benchmark -> (module that defines ``command``, one line of help); see ``wmhub.cli.VERBS``.
BENCHMARKS: dict[str, tuple[str, str]] = {
    "ablation": ("wmhub.cli.bench_ablation", "What each part of the world model is worth."),
    "ceiling": (
        "wmhub.cli.bench_ceiling",
        "The most that a model could reach: workloads measured again.",
    ),
    "choice": ("wmhub.cli.bench_choice", "The programs that models choose, measured."),
    "ingest": ("wmhub.cli.bench_ingest", "Speed and memory from a log to a finished dataset."),
    "measure": (
        "wmhub.cli.bench_measure",
        "Our builder and runner against TVM's: speed, agreement.",
    ),
    "network": (
        "wmhub.cli.bench_network",
        "Whole networks: PyTorch, TVM's own tuner, and ours.",
    ),
    "repeat": ("wmhub.cli.bench_repeat", "Records of a dataset measured again: how they repeat."),
    "score": ("wmhub.cli.bench_score", "Candidates scored per second against TVM's cost model."),
    "search": ("wmhub.cli.bench_search", "Our search against TVM's own: latency and wall time."),
    "transfer": (
        "wmhub.cli.bench_transfer",
        "Few records of a new hardware after another's model, against many.",
    ),
}


@click.group(cls=LazyGroup, verbs=BENCHMARKS)
def command() -> None:
    """Measure what the documentation claims."""
