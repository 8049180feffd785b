"""What ``wmhub models`` and ``wmhub datasets`` share: options, table, JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from wmhub.cli._options import hub_options

if TYPE_CHECKING:
    from wmhub.hub.listing import Listing

_F = TypeVar("_F", bound=Callable[..., object])


def listing_options(function: _F) -> _F:
    """The options of both verbs."""
    function = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(
        function
    )
    function = hub_options(function)
    return click.option(
        "--hardware",
        metavar="KEY",
        help="Hardware that they have to fit, such as cuda-a100; by default this machine.",
    )(function)


def print_listing(title: str, listing: Listing, as_json: bool) -> None:
    """A table on stderr, or one JSON object on stdout."""
    from wmhub.cli._show import console, plain, printable, show_json

    if as_json:
        show_json(_as_json(title, listing))
        return
    from rich.table import Table

    from wmhub.units import show_bytes

    screen = console()
    table = Table(
        title=f"{title} for {listing.hardware}", title_justify="left", box=None, pad_edge=False
    )
    for column in ("name", "hardware", "version", "size", "where", "measured"):
        table.add_column(column, overflow="fold", no_wrap=column in ("version", "size"))
    for row in listing.rows:
        table.add_row(
            plain(row.name),
            ", ".join(map(str, row.hardware)),
            str(row.version),
            show_bytes(row.bytes),
            ", ".join(row.places),
            plain(row.headline),
            style="bold" if row.is_nearest else None,
        )
    screen.print(table if listing.rows else f"No {title} found.")
    for row in listing.rows:
        style = "bold" if row.is_nearest else ""
        newer = f"; {row.newer} is newer: {row.name}@{row.newer.tag} loads it" if row.newer else ""
        screen.print(plain(f"{row.name}: {row.fit}{newer}", style), soft_wrap=True)
    for problem in listing.problems:
        click.echo(f"{click.style('warning:', fg='yellow')} {printable(problem)}", err=True)


def _as_json(title: str, listing: Listing) -> dict[str, object]:
    rows = [
        {
            "name": row.name,
            "version": str(row.version),
            "newer": None if row.newer is None else str(row.newer),
            "hardware": [str(key) for key in row.hardware],
            "bytes": row.bytes,
            "places": list(row.places),
            "headline": row.headline,
            "is_nearest": row.is_nearest,
            "fit": row.fit,
        }
        for row in listing.rows
    ]
    problems = list(listing.problems)
    return {"hardware": str(listing.hardware), title: rows, "problems": problems}
