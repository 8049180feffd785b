"""``wmhub bench transfer``: what another hardware's model is worth on a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wmhub.cli._options import runs_option, seed_option, threads_option, use_threads

if TYPE_CHECKING:
    from wmhub.bench.transfer import Transfer


@click.command()
@click.option(
    "--dataset",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset of the new hardware.",
)
@click.option(
    "--source",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset of the other hardware, of the same workloads.",
)
@runs_option("bench-transfer", "what is there already is not trained again")
@click.option(
    "--samples",
    type=click.IntRange(2),
    default=2000,
    show_default=True,
    metavar="N",
    help="The few records of the new hardware.",
)
@click.option(
    "--many",
    type=click.IntRange(2),
    default=20_000,
    show_default=True,
    metavar="N",
    help="The many that they are compared with.",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    default=3,
    show_default=True,
    metavar="N",
    help="Parts of the workloads, each held out once.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    metavar="N",
    help="Optimiser steps of a model; half of them with few records.",
)
@seed_option
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    dataset: Path, source: Path, output: Path, samples: int, many: int, folds: int, steps: int,
    seed: int, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare few records of a new hardware after another's model with many records and none.

    Each workload that both datasets hold, outside of their test splits, is ranked by models that
    saw it on neither hardware. It may be interrupted, and goes on where it was.
    """
    from wmhub.bench.transfer import transfer
    from wmhub.cli._show import console, plain, show_json, training_progress
    from wmhub.training.config import TrainConfig

    use_threads(threads)
    screen = console()
    with training_progress() as progress:
        result = transfer(
            dataset,
            source,
            output,
            samples=samples,
            many=many,
            folds=folds,
            config=TrainConfig(steps=steps, seed=seed),
            on_run=lambda line: screen.print(plain(line), soft_wrap=True),
            watch=progress,
        )
    show_transfer(result)
    if as_json:
        show_json(result.to_json())


def show_transfer(result: Transfer) -> None:
    """Prints the table of a transfer."""
    from wmhub.bench.runs import METRICS
    from wmhub.bench.transfer import VARIANTS
    from wmhub.cli._show import show_table

    records = {"fine-tuned": result.samples, "few": result.samples, "many": result.many}
    show_table(
        f"{result.dataset} after {result.source}, {result.workloads} workloads, each held out once",
        ["", "records", "top-1", "top-5", "pairwise", "what it is"],
        [
            [
                variant,
                f"{records.get(variant, 0):,}",
                *[f"{result.mean(variant, metric):.3f}" for metric in METRICS],
                about,
            ]
            for variant, about in VARIANTS.items()
        ],
    )
