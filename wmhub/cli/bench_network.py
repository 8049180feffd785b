"""``wmhub bench network``: whole networks of PyTorch, compiled by several."""

from __future__ import annotations

from pathlib import Path

import click

from wmhub.cli._options import runs_option


@click.command()
@click.option("--model", required=True, metavar="NAME", help="Checkpoint to search with.")
@click.option(
    "--network",
    type=click.Choice(["resnet18", "bert-mini"]),
    default="resnet18",
    show_default=True,
    help="Its shapes, with random weights.",
)
@runs_option("bench-network", "what is there already is not made again")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Only these: torch; inductor (torch.compile); tvm (its own tuner); zero (nothing "
    "measured); wmhub.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Measurements of all operators together, of TVM's tuner and of ours.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str, network: str, output: Path, methods: tuple[str, ...], trials: int, as_json: bool
) -> None:
    """Compare a whole network on this CPU: latency, and what tuning it takes.

    With everything at its default TVM's tuner alone takes about a quarter of an hour.
    """
    from rich.table import Table

    from wmhub.bench.network import METHODS, bench_network
    from wmhub.cli._show import console, plain, show_json
    from wmhub.units import show_seconds

    screen = console()
    result = bench_network(
        output,
        network,
        model=model,
        trials=trials,
        methods=methods or tuple(METHODS),
        on_run=lambda what: screen.print(plain(f"  {what}")),
    )
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{network}, {result.threads} threads")
    for column in ("latency", "of five rounds", "made in", "difference"):
        table.add_column(column, justify="right")
    for method, found in result.methods.items():
        table.add_row(
            METHODS[method],
            show_seconds(found.latency_s),
            f"{show_seconds(found.least_s)} to {show_seconds(found.most_s)}",
            "-" if found.wall_s is None else f"{found.wall_s:.0f} s",
            "-" if found.difference is None else f"{found.difference:.0e}",
        )
    screen.print(table)
    if as_json:
        show_json(result.to_json())
