"""``wmhub collect``: measurement logs to a dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click


@click.command()
@click.argument("logs", nargs=-1, required=True, metavar="LOG...")
@click.option(
    "--hardware",
    metavar="KEY",
    help="What the logs were measured on, such as cuda-v100; without it, this machine.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset folder to write.",
)
@click.option(
    "--contributor", default="", metavar="NAME", help="Who measured; stored with each record."
)
@click.option("--licence", default="", metavar="SPDX", help="Licence of the records, such as MIT.")
@click.option(
    "--version",
    default="1.0.0",
    show_default=True,
    metavar="X.Y.Z",
    help="Content version of the dataset.",
)
@click.option(
    "--test-workloads",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Ids or keys of the test workloads, one a line; without it, a hash decides.",
)
@click.option("--strict", is_flag=True, help="Stop at the first line that holds no record.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Processes that parse; all cores by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    logs: tuple[str, ...],
    hardware: str | None,
    output: Path,
    contributor: str,
    licence: str,
    version: str,
    test_workloads: Path | None,
    strict: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Read measurement logs into a dataset.

    LOG is an Ansor log, a MetaSchedule database (either of its files), a folder of them, a glob, or
    - for standard input; plain or compressed with gzip, xz or zstd. The format is recognised.
    """
    from wmhub.collect import collect

    chosen = test_workloads.read_text().split("\n") if test_workloads else []
    report = collect(
        logs,
        output,
        hardware=hardware,
        contributor=contributor,
        licence=licence,
        version=version,
        test_workloads=[name.strip() for name in chosen if name.strip()],
        strict=strict,
        workers=workers or len(os.sched_getaffinity(0)),
    )
    counts = report.manifest.counts
    if as_json:
        click.echo(
            json.dumps(
                {
                    "output": str(report.output),
                    "hardware": str(report.manifest.hardware),
                    "lines": counts.lines,
                    "measured": counts.measured,
                    "failed": counts.failed,
                    "rejected": counts.rejected,
                    "workloads": counts.workloads,
                }
            )
        )
