"""``wmhub bench repeat``: records of a dataset measured again."""

from __future__ import annotations

import dataclasses

import click

from wmhub.cli._options import seed_option


@click.command()
@click.option("--dataset", required=True, metavar="DIR", help="Dataset of this machine's hardware.")
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, metavar="N")
@seed_option
@click.option("--write", is_flag=True, help="Note the result in the dataset's manifest and card.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(dataset: str, count: int, seed: int, write: bool, as_json: bool) -> None:
    """Measure records of a dataset again, and say how well their latencies repeat.

    Nothing else should run on the machine meanwhile.
    """
    from wmhub.bench.repeat import repeat
    from wmhub.cli._show import show_facts, show_json, show_note
    from wmhub.dataset.rewrite import render_again

    found = repeat(
        dataset,
        count=count,
        seed=seed,
        progress=lambda done, total: show_note("bench", f"{done} of {total} records"),
    )
    if write:
        render_again(dataset, found)
    if as_json:
        show_json(dataclasses.asdict(found))
        return
    show_facts(
        f"repeat: {found.records} records",
        [
            ("within 5 %", f"{found.within_5_percent:.1%}"),
            ("within 10 %", f"{found.within_10_percent:.1%}"),
            ("within 25 %", f"{found.within_25_percent:.1%}"),
            ("within 10 % of the median ratio", f"{found.scaled_within_10_percent:.1%}"),
            ("within 25 % of the median ratio", f"{found.scaled_within_25_percent:.1%}"),
            ("median ratio", f"{found.median_ratio:.3f} (new / recorded)"),
            ("did not run again", f"{found.failed}"),
        ],
    )
