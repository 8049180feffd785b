"""``wmhub eval``: a checkpoint on held-out workloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wmhub.cli._listing import locked_option

if TYPE_CHECKING:
    from wmhub.training.metrics import Metrics

_COLUMNS = {
    "top1": "top-1",
    "top5": "top-5",
    "pairwise_accuracy": "pairwise",
    "spearman": "Spearman",
    "workloads": "workloads",
}


def metric_rows(model: Metrics, random: Metrics) -> list[tuple[str, Metrics]]:
    """The two rows of a table of metrics."""
    return [("model", model), ("random order", random)]


def show_metrics(title: str, rows: Sequence[tuple[str, Metrics]]) -> None:
    """Prints a table with one row for each scorer."""
    from wmhub.cli._show import show_table

    def cell(metrics: Metrics, column: str) -> str:
        value = getattr(metrics, column)
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    table = [[name, *(cell(metrics, column) for column in _COLUMNS)] for name, metrics in rows]
    show_table(title, ["", *_COLUMNS.values()], table)


@click.command()
@click.option("--model", required=True, metavar="NAME", help="Name, or local-dir:PATH.")
@click.option(
    "--dataset",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset folder; it may be of other hardware.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
)
@locked_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(model: str, dataset: Path, split: str, locked: str | None, as_json: bool) -> None:
    """Measure how well a model orders the candidates of held-out workloads.

    top-k is the mean over workloads of best latency / best latency among the k candidates that the
    model ranks first; 1 is perfect. Only candidates that ran are ranked.
    """
    from wmhub.cli._show import show_json
    from wmhub.training.evaluation import evaluate

    report = evaluate(model, dataset, split=split, locked=locked)
    show_metrics(
        f"{report.model} on the {report.split} workloads of {report.dataset}",
        metric_rows(report.metrics, report.random),
    )
    show_metrics("by kind of operator", [(kind, ours) for kind, (ours, _) in report.kinds.items()])
    if as_json:
        show_json(report.to_json())
