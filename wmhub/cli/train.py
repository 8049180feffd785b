"""``wmhub train``: a dataset to a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wmhub.training.loop import Watcher
    from wmhub.training.metrics import Validation


@click.command()
@click.option(
    "--dataset",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset folder, as `wmhub collect` writes it.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Checkpoint folder to write.",
)
@click.option("--name", metavar="NAME", help="Name of the model; wm-<hardware> by default.")
@click.option("--version", default="1.0.0", show_default=True, metavar="X.Y.Z")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Optimiser steps.")
@click.option("--seed", type=int, metavar="N", help="Of initial weights and of sampling.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads; all cores.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in the output folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    dataset: Path,
    output: Path,
    name: str | None,
    version: str,
    steps: int | None,
    seed: int | None,
    threads: int | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Train an evaluator on a dataset.

    Weights are chosen on the validation workloads; the test workloads are looked at once, at the
    end, and what they say is written into the checkpoint beside a random order.
    """
    import torch

    from wmhub.cli._show import console, show_json
    from wmhub.cli.eval import metric_rows, show_metrics
    from wmhub.training.config import TrainConfig
    from wmhub.training.run import metrics_json, train

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = {"steps": steps, "seed": seed}
    given = {key: value for key, value in chosen.items() if value is not None}
    config = dataclasses.replace(TrainConfig(), **given)  # type: ignore[arg-type]
    with _progress() as watch:
        report = train(
            dataset,
            output,
            name=name,
            version=version,
            config=config,
            resume=resume,
            watch=watch,
        )
    show_metrics(
        f"{report.name}: {report.parameters:,} weights after {report.steps:,} steps",
        metric_rows(report.test, report.random),
    )
    console().print(f"checkpoint: {report.checkpoint}")
    if as_json:
        show_json(
            {
                "checkpoint": str(report.checkpoint),
                "name": report.name,
                "hardware": str(report.hardware),
                "parameters": report.parameters,
                "steps": report.steps,
                **metrics_json(report.test, report.random, "test"),
                "validation": dataclasses.asdict(report.validation),
            }
        )


@contextmanager
def _progress() -> Iterator[Watcher]:
    """A bar of steps with the last validation; lines instead without a terminal."""
    from rich import progress as bars

    from wmhub.cli._show import console

    screen = console()
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[seen]}"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("reading", total=None, seen="")

        def watch(step: int, steps: int, loss: float, looked: Validation | None) -> None:
            bar.update(task, description="training", completed=step, total=steps)
            if looked is None:
                return
            seen = (
                f"validation top-1 {looked.metrics.top1:.3f} top-5 {looked.metrics.top5:.3f} "
                f"pairwise {looked.metrics.pairwise_accuracy:.3f}"
            )
            bar.update(task, seen=seen)
            if not screen.is_terminal:
                screen.print(f"step {step}/{steps}: loss {looked.loss:.3f}, {seen}", soft_wrap=True)

        yield watch
