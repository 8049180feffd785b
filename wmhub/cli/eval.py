"""``wmhub eval``: a checkpoint on held-out workloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from wmhub.cli._options import locked_option
from wmhub.dataset.splits import SPLITS

if TYPE_CHECKING:
    from wmhub.training.evaluation import EvaluationReport
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
    metavar="DIR|NAME",
    help="Dataset folder, or where there is none of that name, and with --locked, a published "
    "dataset; it may be of other hardware.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="test",
    show_default=True,
)
@click.option(
    "--baselines", "every", is_flag=True, help="Train every baseline and evaluate it too."
)
@click.option(
    "--baseline",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only this one: gradient_boosting, sequence_model or xgb_model. May be repeated.",
)
@click.option(
    "--baseline-steps",
    type=click.IntRange(1),
    metavar="N",
    help="Optimiser steps of baselines that are networks; by default those of the model.",
)
@click.option(
    "--k",
    "ks",
    type=click.IntRange(1),
    multiple=True,
    metavar="K",
    help="Report the top-K score too; 1, 5 and 10 by default. May be repeated.",
)
@locked_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    model: str, dataset: str, split: str, every: bool, names: tuple[str, ...],
    baseline_steps: int | None, ks: tuple[int, ...], locked: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure how well a model orders the candidates of held-out workloads.

    top-k is the mean over workloads of best latency / best latency among the k candidates that the
    model ranks first; 1 is perfect. Its ratio of sums is sum of best latencies / sum of the best
    among k, where long workloads weigh more. Only candidates that ran are ranked.

    Baselines are trained in the same run on the training workloads of the same dataset, and see no
    others: gradient boosting on structured features, a sequence model without dynamics, and for
    MetaSchedule data of a CPU TVM's own XGBModel on its per-store features.
    """
    if every and names:
        raise click.UsageError("--baselines are all of them: leave out --baseline, or --baselines.")
    if baseline_steps is not None and not (every or names):
        raise click.UsageError("--baseline-steps is for baselines: add --baselines or --baseline.")
    from wmhub.cli._show import show_json, show_note, training_progress
    from wmhub.training.baselines import BASELINES
    from wmhub.training.evaluation import DEFAULT_KS, evaluate

    with training_progress() as progress:
        report = evaluate(
            model,
            dataset,
            split=split,
            locked=locked,
            baselines=tuple(BASELINES) if every else names,
            ks=ks or DEFAULT_KS,
            steps=baseline_steps,
            progress=progress,
        )
    show_report(report)
    for note in report.notes:
        show_note("note", note)
    if as_json:
        show_json(report.to_json())


def show_report(report: EvaluationReport) -> None:
    """Prints the tables of an evaluation."""
    from wmhub.cli._show import show_table
    from wmhub.training.evaluation import MODEL

    scorers, words = report.scorers, [_words(name) for name in report.scorers]
    show_metrics(
        f"{report.model} on the {report.split} workloads of {report.dataset}",
        [(word, one.metrics) for word, one in zip(words, scorers.values(), strict=True)],
    )
    model = scorers[MODEL]
    show_table(
        "top-k score (and ratio of sums)",
        ["", *[f"k = {k}" for k in model.top_k]],
        [
            [word, *[f"{score:.3f} ({ratio:.3f})" for score, ratio in one.top_k.values()]]
            for word, one in zip(words, scorers.values(), strict=True)
        ],
    )
    looked = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= len(model.curve)]
    show_table(
        "best of all / best after n trials",
        ["", *[f"n = {n}" for n in looked]],
        [
            [word, *[f"{one.curve[n - 1]:.3f}" for n in looked]]
            for word, one in zip(words, scorers.values(), strict=True)
        ],
    )
    show_table(
        "top-1 score by kind of operator",
        ["", "workloads", *words],
        [
            [
                kind,
                str(model.kinds[kind].workloads),
                *[f"{one.kinds[kind].top1:.3f}" for one in scorers.values()],
            ]
            for kind in model.kinds
        ],
    )
    show_table(
        "uncertainty by tenths of the candidates, in nats",
        ["", "stated", "error found"],
        [
            [str(number), f"{stated:.3f}", f"{error:.3f}"]
            for number, (stated, error) in enumerate(report.calibration, start=1)
        ],
    )


def _words(name: str) -> str:
    return "random order" if name == "random" else name.replace("_", " ")
