"""``wmhub bench ingest``: speed and memory from a log to a finished dataset."""

from __future__ import annotations

import dataclasses

import click


@click.command()
@click.argument("logs", nargs=-1, metavar="[LOG]...")
@click.option(
    "--records",
    type=click.IntRange(1),
    metavar="N",
    help="Made up where no LOG is given; 250,000 by default.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Read the logs so many times over.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes that parse; by default all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    logs: tuple[str, ...], records: int | None, repeat: int, workers: int | None, as_json: bool
) -> None:
    """Collect LOGs, or a made-up Ansor log, and report records per second and peak memory."""
    from wmhub.bench.ingest import RECORDS, ingest
    from wmhub.cli._show import reading_progress, show_facts, show_json
    from wmhub.units import show_bytes

    if "-" in logs:
        raise click.UsageError("standard input cannot be read more than once; name files")
    if logs and records is not None:
        raise click.UsageError("--records are made up where no LOG is given")
    with reading_progress() as progress:
        result = ingest(
            logs, records=records or RECORDS, repeat=repeat, workers=workers, progress=progress
        )
    if as_json:
        show_json(dataclasses.asdict(result))
        return
    show_facts(
        "ingest",
        [
            ("lines", f"{result.lines:,}"),
            ("text", show_bytes(result.text_bytes)),
            ("time", f"{result.seconds:.1f} s with {result.workers} workers"),
            ("speed", f"{result.records_per_second:,.0f} records/s"),
            ("peak memory", f"{show_bytes(result.peak_rss_bytes)} in all processes together"),
        ],
    )
