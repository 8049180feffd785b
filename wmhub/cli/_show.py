"""What people see: tables and progress on stderr, so that stdout has nothing but ``--json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from wmhub.dataset.ingest import ReadProgress


#: Columns of what is no terminal.
_WIDE = 160


def printable(text: str) -> str:
    """``text`` with control characters written out: what a server says must not move the cursor."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def plain(text: str, style: str = "") -> Text:
    """``text`` as rich prints it: names and reasons of others are neither markup nor escapes."""
    from rich.text import Text

    return Text(printable(text), style)


def console() -> Console:
    """The terminal that people look at; a file or a pipe is wide enough for every table."""
    from rich.console import Console

    screen = Console(stderr=True, highlight=False)
    return screen if screen.is_terminal else Console(stderr=True, highlight=False, width=_WIDE)


def show_json(value: Mapping[str, Any]) -> None:
    """Prints the one JSON object of ``--json``."""
    # Plain ASCII: a path that is no UTF-8 is no reason to lose the result.
    click.echo(json.dumps(value, allow_nan=False))


def show_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Prints names and values below ``title``."""
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in facts:
        table.add_row(plain(name), plain(value))
    screen = console()
    if title:
        screen.print(plain(title, "bold"), soft_wrap=True)
    screen.print(table)


def show_note(kind: str, text: str) -> None:
    """Prints a line that wants attention."""
    from rich.text import Text

    line = Text.assemble((printable(kind), "yellow"), " ", printable(text))
    console().print(line, soft_wrap=True)


def show_line(text: str) -> None:
    """Prints a line that says what was done."""
    console().print(plain(text))


def show_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table; columns after the first are numbers and stand at the right."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2))
    for number, head in enumerate(heads):
        # Where the terminal is narrow, the numbers are broken, not the names.
        table.add_column(plain(head), justify="right" if number else "left", no_wrap=number == 0)
    for row in rows:
        table.add_row(*map(plain, row))
    screen = console()
    if title:
        screen.print(plain(title, "bold"), soft_wrap=True)
    screen.print(table)


@contextmanager
def reading_progress() -> Iterator[Callable[[ReadProgress], None]]:
    """A bar of bytes with lines per second and the remaining time; nothing without a terminal."""
    from rich import progress as bars

    columns = (
        bars.TextColumn("reading"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[lines]:,} lines"),
        bars.TextColumn("{task.fields[rate]:,.0f}/s"),
        bars.TimeRemainingColumn(),
    )
    screen = console()
    with bars.Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=None, lines=0, rate=0.0)

        def update(seen: ReadProgress) -> None:
            elapsed = bar.tasks[task].elapsed or 0.0
            rate = seen.lines / elapsed if elapsed else 0.0
            bar.update(
                task, completed=seen.bytes_read, total=seen.bytes_total, lines=seen.lines, rate=rate
            )

        yield update


@contextmanager
def training_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is trained: its name, done, total; nothing without a terminal."""
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    screen = console()
    with bars.Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:
        tasks: dict[str, bars.TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what.replace("_", " "), total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield update
