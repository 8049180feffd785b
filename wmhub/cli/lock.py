"""``wmhub lock``: pins names to commits and digests."""

from __future__ import annotations

from pathlib import Path

import click

from wmhub.cli._options import hub_options
from wmhub.cli._show import printable, show_json


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME", help="A dataset to pin; repeatable."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="wmhub.lock",
    show_default=True,
    metavar="FILE",
    help="The lock; entries for other names stay in it.",
)
@hub_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    output: Path,
    offline: bool,
    hub: str | None,
    as_json: bool,
) -> None:
    """Pin names to commits and digests, for --locked.

    Without a name, everything that the lock pins is fetched and verified, and nothing is written.
    """
    from wmhub.hub import lock

    locked = lock(models, datasets=datasets, output=output, offline=offline or None, hub=hub)
    entries = [
        (kind, name, entry)
        for kind, table in (("model", locked.models), ("dataset", locked.datasets))
        for name, entry in sorted(table.items())
    ]
    if as_json:
        result = {
            "lock": str(output),
            "models": {n: e.digest for k, n, e in entries if k == "model"},
            "datasets": {n: e.digest for k, n, e in entries if k == "dataset"},
        }
        show_json(result)
        return
    for kind, name, entry in entries:
        line = f"{kind} {name}: {entry.revision}, digest {entry.digest[:12]}"
        click.echo(printable(line), err=True)
    done = "wrote" if models or datasets else "verified"
    click.echo(f"{done} {output}", err=True)
