"""``wmhub tune``: search for the fastest schedule of a workload."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from wmhub.cli._options import (
    JsonTarget,
    locked_option,
    rpc_option,
    seed_option,
    timeout_options,
)

_RUN_TIMEOUT, _BUILD_TIMEOUT = timeout_options()


@click.command()
@click.argument("workload")
@click.option("--model", metavar="NAME", help="Checkpoint; by default the one for the hardware.")
@click.option("--hardware", metavar="KEY", help="What to tune for; by default this machine's CPU.")
@click.option(
    "--trials",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    metavar="N",
    help="Most candidates to measure; 0 takes the model's word.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Begin no batch after this many seconds.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for database, schedules, libraries, report and plot.",
)
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with a database to go on from; may be the output.",
)
@click.option(
    "--search",
    type=click.Choice(["latent", "evolutionary"]),
    default="latent",
    show_default=True,
    help="Our search strategy, or TVM's with our cost model.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    metavar="N",
    help="Candidates that are measured together.",
)
@click.option(
    "--exploration",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of each batch that is chosen by uncertainty; 0.15 by default. Of our own search.",
)
@click.option("--no-adapt", is_flag=True, help="Do not learn from the measurements of this run.")
@click.option(
    "--baselines", is_flag=True, help="Also measure the program as it is and one random schedule."
)
@seed_option
@click.option("--target", type=JsonTarget(), help="TVM target, where the hardware needs more.")
@click.option(
    "--builder",
    type=click.Choice(["engine", "local"]),
    help="Our builder and runner, or TVM's. By default ours, also with --rpc.",
)
@rpc_option()
@_RUN_TIMEOUT
@_BUILD_TIMEOUT
@locked_option
@click.option("--allow-other-hardware", is_flag=True, help="Use a checkpoint of other hardware.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    workload: str,
    as_json: bool,
    no_adapt: bool,
    exploration: float | None,
    build_timeout: float,
    run_timeout: float,
    **options: Any,
) -> None:
    """Search for the fastest schedule of WORKLOAD.

    WORKLOAD is a name of the zoo (dense-m128-n3072-k768-bias-gelu; other sizes do as well), a
    network of it (resnet18) or a glob ('conv2d-*'), a .json IRModule, or a .py file, which is
    executed. Of a network in it, such as a program of torch.export, each operator is tuned, and one
    library runs all of it. Candidates are ranked by a pretrained checkpoint, and the best are built
    and measured.
    Ctrl-C ends the search after the batch at work and keeps what was measured.
    """
    from wmhub.cli._show import console
    from wmhub.cli.progress import finish, live_table, print_result
    from wmhub.garbage import uncollected
    from wmhub.measure.crew import workers_ahead

    if exploration is not None and options["search"] != "latent":
        raise click.UsageError("--exploration is of --search latent; TVM's has none")
    screen = console()
    builds = options["trials"] and options["builder"] != "local"
    with (
        workers_ahead() if builds else nullcontext(),
        live_table(screen, options["trials"]) as on_progress,
    ):
        with uncollected():
            from wmhub.search.latent_config import LatentSearchConfig
            from wmhub.search.tune import tune

        config = LatentSearchConfig()
        if exploration is not None:
            config = dataclasses.replace(config, exploration=exploration)
        result = tune(
            workload,
            build_timeout_seconds=build_timeout,
            run_timeout_seconds=run_timeout,
            adapt=not no_adapt,
            config=config,
            on_progress=on_progress,
            **options,
        )
    print_result(screen, result)
    finish(result, as_json)
