"""``wmhub bench choice``: the programs that models choose for themselves."""

from __future__ import annotations

import dataclasses

import click


@click.command()
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME",
    help="Checkpoint that chooses. May be repeated.",
)  # fmt: skip
@click.option(
    "--workload", "workloads", multiple=True, metavar="NAME",
    help="Only these: zoo names, or te:GMM:2 of TVM's te_workload. May be repeated.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), default=12, show_default=True, metavar="N")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--hardware", metavar="KEY", help="A GPU of this machine; by default its CPU.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    models: tuple[str, ...], workloads: tuple[str, ...], count: int, seeds: int,
    hardware: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure what each model thinks best, beside the fastest that any of them has found.

    Numbers are ratios of latencies, 1 at best: of what a model would give without a trial, of a
    typical one of its N best, and of the fastest of these. Nothing else should run meanwhile.
    """
    from rich.table import Table

    from wmhub.bench.choice import WORKLOADS, Choice, choice
    from wmhub.cli._show import console, plain, show_json

    screen = console()

    def tell(one: Choice) -> None:
        numbers = f"{one.first:.2f} {one.typical:.2f} {one.best:.2f}"
        failed = f", {one.failed} failed" if one.failed else ""
        screen.print(plain(f"  {one.workload}, seed {one.seed}, {one.model}: {numbers}{failed}"))

    found = choice(
        models, workloads or WORKLOADS, count=count, seeds=seeds, hardware=hardware, told=tell
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for column in ("first", "worst first", "typical", f"best of {count}"):
        table.add_column(column, justify="right")
    for one in found:
        numbers = (one.first, one.worst_first, one.typical, one.best)
        table.add_row(plain(one.model), *(f"{number:.3f}" for number in numbers))
    screen.print(table)
    if as_json:
        show_json({"models": [dataclasses.asdict(one) for one in found]})
