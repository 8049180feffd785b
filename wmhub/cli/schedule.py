"""``wmhub schedule``: the best schedule without a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wmhub.cli._options import JsonTarget, locked_option, seed_option


@click.command()
@click.argument("workload")
@click.option("--model", metavar="NAME", help="Checkpoint; by default the one for the hardware.")
@click.option(
    "--hardware", metavar="KEY", help="What to schedule for; by default this machine's CPU."
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Folder for the schedule, its library and a report.",
)  # fmt: skip
@seed_option
@click.option("--target", type=JsonTarget(), help="TVM target, where the hardware needs more.")
@locked_option
@click.option("--allow-other-hardware", is_flag=True, help="Use a checkpoint of other hardware.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(workload: str, as_json: bool, **options: Any) -> None:
    """Write the schedule of WORKLOAD that the model thinks best, in seconds.

    Nothing is measured, so the hardware need not be here. WORKLOAD is as for `wmhub tune`.
    """
    from wmhub.cli._show import console
    from wmhub.cli.progress import finish, print_result
    from wmhub.garbage import uncollected

    with uncollected():
        from wmhub.search.tune import schedule
    result = schedule(workload, **options)
    print_result(console(), result)
    finish(result, as_json)
