"""``wmhub models``: what pretrained models there are, and which fits this machine."""

from __future__ import annotations

import click

from wmhub.cli._listing import listing_options, print_listing


@click.command()
@listing_options
def command(hardware: str | None, offline: bool, hub: str | None, as_json: bool) -> None:
    """List the pretrained models: in the package, in the cache, on the hub."""
    from wmhub.hub import models

    print_listing("models", models(hardware=hardware, offline=offline or None, hub=hub), as_json)
