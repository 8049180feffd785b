"""What ``tune`` and ``demo`` show while they work and when they are done; all on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wmhub.cli._show import plain, show_json
from wmhub.units import show_seconds

if TYPE_CHECKING:
    from wmhub.search.history import OnProgress, TuneProgress
    from wmhub.search.result import NetworkResult, TuneResult


def _shown(seconds: float | None) -> str:
    """A latency for people, or ``-``."""
    return "-" if seconds is None else show_seconds(seconds, 4)


@contextmanager
def live_table(console: Console, trials: int) -> Iterator[OnProgress]:
    """A table that is redrawn after each batch; gives what ``tune`` takes as ``on_progress``."""
    with Live(
        Text("starting workers and drawing the first candidates ..."),
        console=console,
        refresh_per_second=4,
        transient=not console.is_terminal,
    ) as live:

        def show(progress: TuneProgress) -> None:
            live.update(_progress_table(progress, trials))
            if not console.is_terminal:
                best = _bests(progress)[progress.task]
                line = (
                    f"{len(progress.history)}/{trials} trials, {progress.elapsed_s:.0f} s: "
                    f"{progress.task}: best {_shown(best)}"
                )
                console.print(plain(line), soft_wrap=True)

        yield show


def _bests(progress: TuneProgress) -> dict[str, float | None]:
    best: dict[str, float | None] = {}
    for trial in progress.history:
        known = best.get(trial.task)
        if trial.latency_s is not None and (known is None or trial.latency_s < known):
            best[trial.task] = trial.latency_s
        else:
            best.setdefault(trial.task, None)
    return best


def _progress_table(progress: TuneProgress, trials: int) -> Group:
    table = Table(box=None, pad_edge=False)
    table.add_column("task", overflow="fold")
    for column in ("trials", "failed", "best"):
        table.add_column(column, justify="right")
    for task, best in _bests(progress).items():
        own = [trial for trial in progress.history if trial.task == task]
        failed = sum(trial.latency_s is None for trial in own)
        table.add_row(plain(task), str(len(own)), str(failed), _shown(best))
    total = Text(f"{len(progress.history)} of {trials} trials, {progress.elapsed_s:.0f} s")
    return Group(table, total)


def print_result(screen: Console, result: TuneResult, *places: str) -> None:
    """The outcome of each task, what it is compared with, and where everything lies; ``places``
    are lines of the verb's own."""
    screen.print(_result_table(result))
    with_what = f"{result.hardware} with {result.model}"
    interrupted = " (interrupted)" if result.interrupted else ""
    done = f"{result.trials} trials in {result.seconds:.1f} s on {with_what}{interrupted}"
    schedules = [task.schedule for task in result.tasks if task.schedule is not None]
    found = [_network_line(one) for one in result.networks]
    # Of a network it is the whole that counts.
    if not found or any(network.library is None for network in result.networks):
        found += [f"schedule: {path}" for path in schedules]
    lines = [
        plain(done),
        *(plain(f"note: {note}", "yellow") for note in result.notes),
        *map(plain, (*found, *places, f"everything else: {result.output}/")),
    ]
    for line in lines:
        # A path that is broken in two is none that can be copied.
        screen.print(line, soft_wrap=True)


def _network_line(network: NetworkResult) -> str:
    """The library of a whole network, and how long that takes."""
    seconds = "" if network.latency_s is None else f", {_shown(network.latency_s)} in all"
    what = "no library" if network.library is None else f"{network.library}{seconds}"
    return f"network {network.name}: {what}"


def finish(result: TuneResult, as_json: bool) -> None:
    """Ends the verb: one JSON object if asked for, and exit code 1 where no task has a schedule, or
    a whole network no library."""
    if as_json:
        show_json(result.to_json())
    lacks_library = any(network.library is None for network in result.networks)
    if lacks_library or all(task.schedule is None for task in result.tasks):
        click.get_current_context().exit(1)


def _result_table(result: TuneResult) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("task", overflow="fold")
    for column in ("best", "unscheduled", "first random", "trials", "failed"):
        table.add_column(column, justify="right")
    for task in result.tasks:
        table.add_row(
            plain(task.name),
            _shown(task.best_latency_s)
            if task.predicted_speedup is None
            else f"not measured; expected {task.predicted_speedup:.1f}x a random one",
            _against(task.unscheduled_latency_s, task.best_latency_s),
            _against(task.first_random_latency_s, task.best_latency_s),
            str(task.trials),
            str(task.failed),
        )
    return table


def _against(other: float | None, best: float | None) -> str:
    if other is None or best is None:
        return "-"
    return f"{_shown(other)} ({other / best:.1f}x)"
