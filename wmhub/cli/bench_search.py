"""``wmhub bench search``: our search against TVM's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wmhub.cli._options import runs_option

if TYPE_CHECKING:
    from wmhub.bench.ratios import Ratio


@click.command()
@click.option("--model", required=True, metavar="NAME", help="Checkpoint to search with.")
@runs_option("bench-search", "what is there already is not run again")
@click.option(
    "--workload",
    "workloads",
    multiple=True,
    metavar="NAME",
    help="Only these: zoo names, or te:GMM:2 of TVM's te_workload. May be repeated.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Only these: wmhub; zero (nothing measured); stock (TVM's own); wmhub with a part left "
    "out (no-packing, no-adapt, no-explore) or another in the checkpoint's place (xgb, random).",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, metavar="N")
@click.option("--trials", type=click.IntRange(1), default=64, show_default=True, metavar="N")
@click.option(
    "--stock-trials",
    type=click.IntRange(1),
    default=640,
    show_default=True,
    metavar="N",
    help="How far TVM's own search goes.",
)
@click.option("--hardware", metavar="KEY", help="A GPU of this machine; by default its CPU.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str, output: Path, workloads: tuple[str, ...], methods: tuple[str, ...], seeds: int,
    trials: int, stock_trials: int, hardware: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare final latency and wall time of all methods, with paired seeds.

    With everything at its default this takes many hours: the stock search alone needs half an hour
    for one workload and seed. Ratios above 1 are in our favour.
    """
    from rich.table import Table

    from wmhub.bench.search import WORKLOADS, search
    from wmhub.bench.search_spec import METHODS
    from wmhub.cli._show import console, plain, show_json

    screen = console()
    result = search(
        output,
        model=model,
        workloads=workloads or WORKLOADS,
        methods=methods or tuple(METHODS),
        seeds=seeds,
        trials=trials,
        stock_trials=stock_trials,
        hardware=hardware,
        on_run=lambda what: screen.print(plain(f"  {what}")),
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("ratio")
    for column in ("geomean", "95 % interval", "worst", "pairs", "lost", "won"):
        table.add_column(column, justify="right")
    for name, ratio in result.ratios.items():
        table.add_row(plain(name), *_row(ratio))
    screen.print(table)
    left_out = sum(ratio.failed + ratio.other_failed for ratio in result.ratios.values())
    if left_out:
        screen.print(
            f"left out of the means: {left_out} pairs in which one side alone had a program that "
            "ran, so that ours lost or won"
        )
    if as_json:
        show_json(result.to_json())


def _row(ratio: Ratio) -> tuple[str, ...]:
    """Its cells, after the name."""
    left_out = (str(ratio.failed or "-"), str(ratio.other_failed or "-"))
    if ratio.geomean is None:
        worst = "-" if ratio.worst is None else f"{ratio.worst:.3f}"
        return "-", "-", worst, "0", *left_out
    interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return f"{ratio.geomean:.3f}", interval, f"{ratio.worst:.3f}", str(ratio.pairs), *left_out
