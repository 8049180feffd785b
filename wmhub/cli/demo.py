"""``wmhub demo``: the main job once, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wmhub.cli._options import seed_option


@click.command()
@click.option(
    "--output",
    default=Path("demo-output"),
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to write; an earlier demo there is replaced.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="N",
    help="Most candidates to measure.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=180.0,
    show_default=True,
    metavar="S",
    help="Begin no batch after this many seconds.",
)
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(output: Path, trials: int, as_json: bool, **options: Any) -> None:
    """Tune a fused dense + bias + GELU on this machine with an embedded checkpoint.

    Takes the checkpoint nearest to this CPU and says which. Shows the best latency as it falls, and
    then the speed-up over the program as it is and over a random schedule.
    """
    from wmhub.cli._show import console, show_line
    from wmhub.cli.progress import finish, live_table, print_result
    from wmhub.garbage import uncollected
    from wmhub.measure.crew import workers_ahead

    screen = console()
    with workers_ahead():
        with uncollected():
            from wmhub.search.demo import WORKLOAD, demo
            from wmhub.search.output import PLOT

        show_line(f"Tuning {WORKLOAD}: a layer of BERT-base, its bias and GELU, {trials} trials.")
        with live_table(screen, trials) as on_progress:
            result = demo(output, trials=trials, on_progress=on_progress, **options)
    plot = result.output / PLOT
    # Where nothing ran there is none.
    print_result(screen, result, *([f"plot: {plot}"] if plot.exists() else []))
    finish(result, as_json)
