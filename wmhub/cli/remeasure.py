"""``wmhub dataset remeasure``: a dataset with rows measured again."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wmhub.cli._options import timeout_options

if TYPE_CHECKING:
    from wmhub.remeasure import RemeasureReport


_RUN_TIMEOUT, _BUILD_TIMEOUT = timeout_options()


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="New folder."
)
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Only rows measured before that day (YYYY-MM-DD, UTC), or at a time that is not known.",
)
@click.option(
    "--below",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Only rows of a lower latency, in seconds, such as 3e-4.",
)
@click.option(
    "--within",
    type=click.FloatRange(1),
    metavar="RATIO",
    help="Only rows at most so many times as slow as the best of their workload.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="No batch begins after that; the rest keeps its times.",
)
@click.option("--contributor", default="", metavar="NAME", help="Who measures now.")
@_RUN_TIMEOUT
@_BUILD_TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def remeasure(
    dataset: Path,
    output: Path,
    before: datetime.datetime | None,
    below: float | None,
    within: float | None,
    as_json: bool,
    run_timeout: float,
    build_timeout: float,
    **options: Any,
) -> None:
    """Measure rows of a dataset again on this machine, into a new one.

    All rows that ran, or those that every given choice allows; fast workloads come first. They keep
    their traces and take the new times, all else comes along as it is. What fails now keeps the
    times that it had. Ctrl-C finishes the batch and the dataset; a killed run goes on with the same
    command. Nothing else should run meanwhile.
    """
    from wmhub.cli._live import live_progress, noise_told
    from wmhub.cli._show import show_json
    from wmhub.dataset.row_choice import RowChoice
    from wmhub.remeasure import remeasure as measure_rows

    moment = None if before is None else before.replace(tzinfo=datetime.timezone.utc).timestamp()
    with live_progress() as progress, noise_told():
        report = measure_rows(
            dataset,
            output,
            choice=RowChoice(moment, below, within),
            run_timeout_seconds=run_timeout,
            build_timeout_seconds=build_timeout,
            progress=progress,
            **options,
        )
    if as_json:
        show_json(_as_json(report))
    else:
        _show(report)


def _as_json(report: RemeasureReport) -> dict[str, Any]:
    return {
        "output": str(report.output),
        "version": str(report.manifest.version),
        "chosen": report.chosen,
        "replaced": report.replaced,
        "failures": dict(report.progress.failures),
        "change": dataclasses.asdict(report.change),
        "rejected": len(report.rejections),
        "damaged_journal": None if report.journal is None else str(report.journal),
        "candidates_per_second": round(report.progress.rate, 3),
        "seconds": round(report.progress.elapsed_seconds, 3),
        "interrupted": report.interrupted,
    }


def _show(report: RemeasureReport) -> None:
    from wmhub.cli._live import failures_text, show_rejected
    from wmhub.cli._show import show_facts

    state, change = report.progress, report.change
    failures = failures_text(state)
    facts = [
        ("chosen", f"{report.chosen:,} rows"),
        ("new times", f"{report.replaced:,} rows"),
        ("took", f"{state.elapsed_seconds:.0f} s, {state.rate:.2f} candidates/s"),
        ("failed", f"{failures}; they keep their times" if failures else "none"),
        ("new / old", f"{change.median_ratio:.3f} in the median"),
        ("within 10 %", f"{change.within_10_percent:.1%}"),
        ("within 25 %", f"{change.within_25_percent:.1%}"),
    ]
    if report.interrupted:
        facts.append(("interrupted", "rows that were not reached keep their times"))
    show_facts(f"{report.manifest.name} {report.manifest.version.tag} in {report.output}", facts)
    show_rejected(report.rejections, report.journal)
