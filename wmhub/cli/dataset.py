"""``wmhub dataset``: look into datasets, compare, join, credit, check and export them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from wmhub.cli._manifest import manifest_json, show_manifest, show_written
from wmhub.cli.remeasure import remeasure
from wmhub.dataset.splits import SPLITS

_FOLDER = click.Path(path_type=Path)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
_output = click.option("--output", required=True, type=_FOLDER, metavar="DIR", help="New folder.")
_test_workloads = click.option(
    "--test-workloads",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Ids or keys of the test workloads, one a line; without it, a hash decides.",
)


@click.group()
def command() -> None:
    """Look into datasets, compare, join, credit, check, measure again and export them."""


command.add_command(remeasure)


@command.command()
@click.argument("dataset", type=_FOLDER)
@_as_json
def info(dataset: Path, as_json: bool) -> None:
    """Show what a dataset holds."""
    from wmhub.cli._show import show_json, show_table
    from wmhub.dataset.reader import open_dataset
    from wmhub.dataset.statistics import statistics
    from wmhub.units import show_seconds

    opened = open_dataset(dataset)
    numbers = statistics(opened)
    if as_json:
        operators = [dataclasses.asdict(operator) for operator in numbers.operators]
        show_json({**manifest_json(opened.manifest), "operators": operators})
        return
    show_manifest(
        opened.manifest,
        dataset,
        ("latencies", f"{_range(numbers.fastest_seconds, numbers.slowest_seconds, show_seconds)}"),
        ("records per workload", f"{numbers.fewest_records:,} to {numbers.most_records:,}"),
    )
    rows = [
        (o.kind, f"{o.workloads:,}", f"{o.records:,}", f"{o.failed:,}") for o in numbers.operators
    ]
    show_table("", ("operator", "workloads", "records", "failed"), rows)


@command.command()
@click.argument("before", type=_FOLDER)
@click.argument("after", type=_FOLDER)
@_as_json
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Say what became of the rows from BEFORE to AFTER, and which version that asks for."""
    from wmhub.cli._show import show_facts, show_json
    from wmhub.dataset.diff import diff as compare

    found = compare(before, after)
    change = found.change.name.lower()
    if as_json:
        show_json(
            {
                "change": change,
                "added": found.added,
                "removed": found.removed,
                "changed": found.changed,
                "same": found.same,
                "added_workloads": list(found.added_workloads),
                "removed_workloads": list(found.removed_workloads),
                "moved_workloads": list(found.moved_workloads),
                "before": str(found.before),
                "after": str(found.after),
                "least_version": str(found.least_version),
                "follows_rules": found.follows_rules,
            }
        )
        return
    rule = "as the rules ask" if found.follows_rules else f"must be {found.least_version} or later"
    show_facts(
        f"{before} to {after}: {change}",
        [
            ("rows added", f"{found.added:,}"),
            ("rows removed", f"{found.removed:,}"),
            ("rows changed", f"{found.changed:,}"),
            ("rows the same", f"{found.same:,}"),
            ("workloads added", f"{len(found.added_workloads):,}"),
            ("workloads removed", f"{len(found.removed_workloads):,}"),
            ("workloads in another split", f"{len(found.moved_workloads):,}"),
            ("version", f"{found.before} to {found.after}: {rule}"),
        ],
    )


@command.command()
@click.argument("datasets", type=_FOLDER, nargs=-1, required=True)
@_output
@click.option("--version", metavar="X.Y.Z", help="Content version; by default from the rules.")
@_as_json
def merge(datasets: tuple[Path, ...], output: Path, version: str | None, as_json: bool) -> None:
    """Join datasets of one hardware; each record is kept once."""
    from wmhub.dataset.rewrite import merge as join

    show_written(join(datasets, output, version=version), output, as_json)


@command.command()
@click.argument("dataset", type=_FOLDER)
@_output
@_test_workloads
@_as_json
def split(dataset: Path, output: Path, test_workloads: Path | None, as_json: bool) -> None:
    """Split a dataset anew into train, validation and test, by workload."""
    from wmhub.cli.collect import names_in
    from wmhub.dataset.rewrite import split as divide

    manifest = divide(dataset, output, test_workloads=names_in(test_workloads))
    show_written(manifest, output, as_json)


@command.command()
@click.argument("dataset", type=_FOLDER)
@_output
@click.option(
    "--format",
    type=click.Choice(["auto_scheduler", "meta_schedule"]),
    help="Whose log to write; needed where the dataset has records of both.",
)
@click.option("--best", is_flag=True, help="Only the fastest record of each workload.")
@click.option("--split", type=click.Choice(SPLITS), help="Only this split.")
@_as_json
def export(dataset: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Write a dataset as tuning logs that TVM reads."""
    from wmhub.cli._show import show_facts, show_json
    from wmhub.dataset.export import export as write

    report = write(dataset, output, **options)
    if as_json:
        value = dataclasses.asdict(report)
        show_json({**value, "files": [str(path) for path in report.files]})
        return
    facts = [("workloads", f"{report.workloads:,}"), ("records", f"{report.records:,}")]
    if report.left_out:
        facts.append(("left out", f"{report.left_out:,} records whose program is missing"))
    facts += [("file", str(path)) for path in report.files]
    show_facts(f"{dataset} exported", facts)


@command.command()
@click.argument("dataset", type=_FOLDER)
@_as_json
def verify(dataset: Path, as_json: bool) -> None:
    """Check every byte of a dataset against its manifest."""
    from wmhub.cli._show import show_json, show_line, show_note
    from wmhub.dataset.verify import verify as examine

    manifest, faults = examine(dataset)
    if as_json:
        show_json(
            {
                "verified": not faults,
                "files": len(manifest.files),
                "faults": [dataclasses.asdict(fault) for fault in faults],
            }
        )
    else:
        for fault in faults:
            show_note("fault", f"{fault.file}: {fault.reason}")
        if not faults:
            show_line(f"{dataset}: {len(manifest.files)} files as the manifest says")
    _exit_unless(not faults)


@command.command()
@click.argument("dataset", metavar="DIR")
@click.option(
    "--revision",
    metavar="refs/pr/N",
    help="Check this pull request; DIR is then the repository, such as wmhub/community.",
)
@click.option(
    "--published",
    type=_FOLDER,
    multiple=True,
    metavar="DIR",
    help="A dataset that is published already, to find repeats; may be given again.",
)
@click.option("--markdown", is_flag=True, help="Print the report for a pull request on stdout.")
@_as_json
def check(
    dataset: str,
    revision: str | None,
    published: tuple[Path, ...],
    markdown: bool,
    as_json: bool,
) -> None:
    """Check whether a dataset may be published; exits with 2 if it may not."""
    from wmhub.cli._show import printable, show_json, show_line, show_note
    from wmhub.dataset.check import check as examine

    if revision is None:
        report = examine(Path(dataset), published=published)
    elif published:
        raise click.UsageError("--revision compares with what is published; leave out --published")
    else:
        from wmhub.hub.contributing import review_contribution

        _, report = review_contribution(_pull_request(revision), to=dataset)
    if as_json:
        show_json(
            {
                "passed": report.passed,
                "totals": report.totals,
                "findings": [
                    {**dataclasses.asdict(finding), "severity": str(finding.severity)}
                    for finding in report.findings
                ],
            }
        )
    elif markdown:
        click.echo(printable(report.to_markdown()), nl=False)
    else:
        for finding in report.findings:
            show_note(str(finding.severity), f"{finding.kind}: {finding.where}: {finding.reason}")
        total = sum(report.totals.values())
        verdict = "may be published" if report.passed else "must not be published like this"
        show_line(f"{dataset}: {verdict} ({total:,} findings)")
    _exit_unless(report.passed)


@command.command()
@click.argument("dataset", type=_FOLDER)
@click.option("--contributor", default="", metavar="NAME", help="Who measured.")
@click.option("--licence", default="", metavar="SPDX", help="Licence of the records, such as MIT.")
@click.option("--instead-of", default="", metavar="OLD", help="Also where this licence stands.")
@_as_json
def credit(dataset: Path, contributor: str, licence: str, instead_of: str, as_json: bool) -> None:
    """Name contributor and licence in the records that name none, as a new major version."""
    from wmhub.dataset.rewrite import credit as fill_in

    manifest = fill_in(dataset, contributor=contributor, licence=licence, instead_of=instead_of)
    show_written(manifest, dataset, as_json)


@command.command()
@click.argument("dataset", type=_FOLDER)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="SENTENCE",
    help="What is known to be wrong with the rows, to be told from now on; may be repeated.",
)
def card(dataset: Path, limits: tuple[str, ...]) -> None:
    """Render the card of a dataset again, as a new patch version."""
    from wmhub.cli._show import show_line
    from wmhub.dataset.rewrite import render_again

    manifest = render_again(dataset, limits=limits)
    show_line(f"{dataset}: card of {manifest.version.tag} written")


def _pull_request(revision: str) -> int:
    """The number in ``refs/pr/N``."""
    number = revision.removeprefix("refs/pr/")
    if not number.isdecimal() or number == revision:
        raise click.BadParameter(f"{revision!r} is not refs/pr/N", param_hint="--revision")
    return int(number)


def _exit_unless(good: bool) -> None:
    if not good:
        raise SystemExit(2)


def _range(low: float, high: float, show: Any) -> str:
    return f"{show(low)} to {show(high)}" if high else "none"
