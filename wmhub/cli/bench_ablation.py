"""``wmhub bench ablation``: what each part of the world model is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wmhub.cli._options import runs_option, threads_option, use_threads

if TYPE_CHECKING:
    from wmhub.bench.ablation import Ablation


@click.command()
@click.option(
    "--dataset",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset folder to train and compare on.",
)
@runs_option("bench-ablation", "what is there already is not trained again")
@click.option(
    "--config",
    "variants",
    multiple=True,
    metavar="NAME",
    help="Only this one, such as full, no-dynamics or tlp. May be repeated.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, metavar="N")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Optimiser steps of each run.")
@click.option(
    "--split",
    type=click.Choice(["validation", "test", "folds"]),
    default="validation",
    show_default=True,
    help="Workloads to compare on: no choice may follow from test, and folds are all others, each "
    "held out once.",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    metavar="N",
    help="How many folds; 3 unless told.",
)
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    dataset: Path, output: Path, variants: tuple[str, ...], seeds: int, steps: int | None,
    split: str, folds: int | None, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Train the model with one part left out or changed, and compare with paired seeds.

    All runs take the same steps and keep their last weights. With everything at its default this
    takes hours; it may be interrupted, and goes on where it was.
    """
    from wmhub.bench.ablation import VARIANTS, ablation
    from wmhub.bench.folds import FOLDS
    from wmhub.cli._show import console, plain, show_json, training_progress
    from wmhub.training.config import TrainConfig

    if folds is not None and split != FOLDS:
        raise click.UsageError("--folds goes with --split folds")
    use_threads(threads)
    config = TrainConfig() if steps is None else TrainConfig(steps=steps)
    screen = console()
    with training_progress() as progress:
        result = ablation(
            dataset,
            output,
            variants=variants or VARIANTS,
            seeds=seeds,
            config=config,
            split=split,
            folds=folds or 3,
            on_run=lambda line: screen.print(plain(line), soft_wrap=True),
            watch=progress,
        )
    show_ablation(result)
    if as_json:
        show_json(result.to_json())


def show_ablation(result: Ablation) -> None:
    """Prints the table of an ablation."""
    from wmhub.bench.ablation import VARIANTS
    from wmhub.bench.runs import METRICS
    from wmhub.cli._show import show_table

    def cell(variant: str, metric: str) -> str:
        mean, spread = result.spread(variant, metric)
        return f"{mean:.3f} ± {spread:.3f}"

    rows = [
        [
            variant,
            *[cell(variant, metric) for metric in METRICS],
            f"{weights:,}" if (weights := result.of(variant)[0].parameters) else "",
            VARIANTS[variant].about,
        ]
        for variant in result.variants
    ]
    compared = f"workloads in {result.folds} folds" if result.folds else f"{result.split} workloads"
    expected = [f"{getattr(result.random, metric):.3f}" for metric in METRICS]
    show_table(
        f"{result.dataset}, {result.random.workloads} {compared}, {result.steps:,} steps, "
        f"{len(result.seeds)} seeds",
        ["", "top-1", "top-5", "pairwise", "weights", "what differs"],
        [*rows, ["random order", *expected, "", ""]],
    )
