"""``wmhub datasets``: what datasets there are."""

from __future__ import annotations

import click

from wmhub.cli._listing import listing_options, print_listing


@click.command()
@listing_options
def command(hardware: str | None, offline: bool, hub: str | None, as_json: bool) -> None:
    """List the datasets: in the cache and on the hub."""
    from wmhub.hub import datasets

    found = datasets(hardware=hardware, offline=offline or None, hub=hub)
    print_listing("datasets", found, as_json)
