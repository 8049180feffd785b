"""``wmhub train``: datasets to a checkpoint."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wmhub.cli._options import threads_option, use_threads

if TYPE_CHECKING:
    from wmhub.training.baselines import Preparing
    from wmhub.training.config import TrainConfig
    from wmhub.training.loop import Watcher
    from wmhub.training.metrics import Validation
    from wmhub.training.run import TrainReport


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """The options that end in the training configuration."""
    for option in (
        click.option("--steps", type=click.IntRange(1), metavar="N", help="Optimiser steps."),
        click.option(
            "--samples",
            type=click.IntRange(2),
            metavar="N",
            help="Few-shot: use N records of the train split, spread over its workloads.",
        ),
        click.option(
            "--learning-rate",
            type=float,
            metavar="X",
            help="Peak of the one-cycle schedule; with --from, a quarter of it (base_rate).",
        ),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16"]),
            help="bf16 multiplies in bfloat16; pays on GPUs.",
        ),
        click.option("--seed", type=int, metavar="N", help="Of initial weights and of sampling."),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any setting, such as temperature=4 or model.latent=96; repeatable.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="TOML file of settings; options on the command line come before it.",
        ),
    ):
        command = option(command)
    return command


def _machine(command: Callable[..., None]) -> Callable[..., None]:
    """The options that change where and how fast, but not what is trained."""
    for option in (
        threads_option,
        click.option(
            "--workers",
            type=click.IntRange(1),
            metavar="N",
            help="Processes that encode; by default all cores.",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where to train; auto takes a GPU where there is one.",
        ),
        click.option(
            "--cache",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder of encoded datasets; ~/.cache/wmhub/encoded by default.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.option(
    "--dataset",
    "datasets",
    required=True,
    multiple=True,
    metavar="DIR|NAME",
    help="Dataset folder, as `wmhub collect` writes it, or where there is none of that name a "
    "published dataset; repeat to train on several at once.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Checkpoint folder to write.",
)
@click.option(
    "--hardware",
    metavar="KEY",
    help="What the checkpoint is for, one of the datasets' hardware; the first one's by default.",
)
@click.option(
    "--from",
    "start_from",
    metavar="NAME",
    help="Checkpoint to start from: its name, or a path such as ./folder.",
)
@click.option("--name", metavar="NAME", help="Name of the model; wm-<hardware> by default.")
@click.option("--version", default="1.0.0", show_default=True, metavar="X.Y.Z")
@_settings
@_machine
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in the output folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    datasets: Sequence[str],
    output: Path,
    hardware: str | None,
    start_from: str | None,
    name: str | None,
    version: str,
    threads: int | None,
    workers: int | None,
    device: str,
    cache: Path | None,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train an evaluator on one dataset or several.

    Weights are chosen on the validation workloads; the test workloads are looked at once, at the
    end, and what they say is written into the checkpoint beside a random order.

    Several processes train together when torch's launcher starts them: torchrun --nproc-per-node 2
    -m wmhub train ...
    """
    from wmhub.errors import UserError
    from wmhub.training.run import train

    use_threads(threads)
    try:
        with _progress() as (watch, preparing):
            report = train(
                datasets,
                output,
                hardware=hardware,
                start_from=start_from,
                name=name,
                version=version,
                config=_config(**settings),
                resume=resume,
                device=device,
                cache=cache,
                workers=workers,
                watch=watch,
                preparing=preparing,
            )
    except UserError as error:
        if _is_main():
            raise
        raise click.exceptions.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        if _is_main():
            from wmhub.cli._show import show_note

            show_note("note", "the same command goes on with --resume")
        raise
    if _is_main():
        _show(report, as_json)


def _config(config: Path | None, settings: Sequence[str], **chosen: Any) -> TrainConfig:
    from wmhub.training.config import TrainConfig, changed, read_config, with_settings

    base = read_config(config) if config is not None else TrainConfig()
    given = {key: value for key, value in chosen.items() if value is not None}
    return changed(with_settings(base, settings), given)


def _is_main() -> bool:
    """Whether this process prints: of those that torch's launcher started, the first."""
    # Some launchers export a rank without a number of processes: then there is one.
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def _show(report: TrainReport, as_json: bool) -> None:
    from wmhub.cli._show import show_json, show_line
    from wmhub.cli.eval import metric_rows, show_metrics
    from wmhub.training.run import metrics_json

    show_metrics(
        f"{report.name}: {report.parameters:,} weights after {report.steps:,} steps on "
        f"{report.records:,} records",
        metric_rows(report.test, report.random),
    )
    if report.base_share:
        show_line(
            "what the training started from ranks the validation workloads best, and is written as "
            "it was but for its uncertainty"
            if report.base_share == 1
            else "weights halfway between what the training started from and what came of it rank "
            "the validation workloads best, and are written"
        )
    if report.left_out:
        show_line(
            f"{report.left_out:,} held-out workloads are left out of validation and test: the "
            "checkpoint that training started from has seen them"
        )
    show_line(f"checkpoint: {report.checkpoint}")
    if as_json:
        show_json(
            {
                "checkpoint": str(report.checkpoint),
                "name": report.name,
                "hardware": str(report.hardware),
                "parameters": report.parameters,
                "steps": report.steps,
                "records": report.records,
                **metrics_json(report.test, report.random, "test"),
                "validation": dataclasses.asdict(report.validation),
                "base_share": report.base_share,
                "left_out": report.left_out,
            }
        )


@contextmanager
def _progress() -> Iterator[tuple[Watcher | None, Preparing]]:
    """A bar of what is prepared, then of steps with the last validation; lines without a
    terminal."""
    from rich import progress as bars

    from wmhub.cli._show import console

    if not _is_main():
        yield None, lambda _what, _done, _total: None
        return
    screen = console()
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[seen]}"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("reading", total=None, seen="")

        def preparing(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

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

        yield watch, preparing
