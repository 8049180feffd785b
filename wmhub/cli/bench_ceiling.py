"""``wmhub bench ceiling``: the most that a model could reach on a dataset."""

from __future__ import annotations

import dataclasses

import click

from wmhub.cli._options import seed_option
from wmhub.dataset.splits import SPLITS


@click.command()
@click.option("--dataset", required=True, metavar="DIR", help="Dataset of this machine's hardware.")
@click.option(
    "--count",
    "workloads",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    metavar="N",
    help="Workloads that are measured again as a whole.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="validation",
    show_default=True,
)
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(dataset: str, workloads: int, split: str, seed: int, as_json: bool) -> None:
    """Measure whole workloads again, and score the new latencies as a model's predictions.

    Who knew the latencies without noise would score at least as much. Nothing else should run on
    the machine meanwhile.
    """
    from wmhub.bench.ceiling import ceiling
    from wmhub.cli._show import show_json, show_note
    from wmhub.cli.eval import show_metrics

    found = ceiling(
        dataset,
        workloads=workloads,
        split=split,
        seed=seed,
        progress=lambda done, total: show_note("bench", f"{done} of {total} records"),
    )
    if as_json:
        show_json(dataclasses.asdict(found))
        return
    show_metrics(
        f"ceiling: {found.records} records measured again, {found.failed} did not run",
        [("measured again", found.again), ("random order", found.random)],
    )
