"""``wmhub contribute``: a dataset to the community's repository."""

from __future__ import annotations

from pathlib import Path

import click

from wmhub.cli._show import printable, show_json, show_note


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="[DIR]", required=False)
@click.option(
    "--to", default="community", show_default=True, metavar="NAME", help="Whose collection."
)
@click.option("--message", metavar="TEXT", help="What the pull request for DIR says.")
@click.option("--dry-run", is_flag=True, help="Check DIR, show it, and send nothing.")
@click.option("--review", type=int, metavar="N", help="For maintainers: check number N.")
@click.option("--merge", type=int, metavar="N", help="For maintainers: verify and merge number N.")
@click.option(
    "--create", is_flag=True, help="For maintainers: make a collection, or its card anew."
)
@click.option("--hub", metavar="PLACE", help="hf-hub (the default) or folder:PATH; also WMHUB_HUB.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    path: Path | None,
    to: str,
    message: str | None,
    dry_run: bool,
    review: int | None,
    merge: int | None,
    create: bool,
    hub: str | None,
    as_json: bool,
) -> None:
    """Check the dataset in DIR and propose it as a pull request.

    The pull request adds one new folder to the community's repository and touches nothing else.
    --review prints a report to paste into it, and exits with 2 if it must not be merged.
    """
    from wmhub.hub import contribute, create_community, merge_contribution, review_contribution
    from wmhub.units import show_bytes

    if sum((path is not None, review is not None, merge is not None, create)) != 1:
        raise click.UsageError("give either DIR, or --review N, or --merge N, or --create")
    if path is None and (dry_run or message is not None):
        option = "--dry-run" if dry_run else "--message"
        raise click.UsageError(f"{option} goes with DIR, not with --review, --merge or --create")
    if review is not None:
        found, report = review_contribution(review, to=to, hub=hub)
        if as_json:
            folder = found.member.folder
            findings = [{**vars(f), "severity": str(f.severity)} for f in report.findings]
            result = {"folder": folder, "passed": report.passed, "findings": findings}
            show_json(result)
        else:
            click.echo(printable(report.to_markdown()))
        raise click.exceptions.Exit(0 if report.passed else 2)
    if path is None:
        merged = create_community(to=to, hub=hub) if create else None
        merged = merged or merge_contribution(int(merge or 0), to=to, hub=hub)
        if as_json:
            show_json({**vars(merged), "repository": str(merged.repository)})
        else:
            _show_warnings(merged.warnings)
            click.echo(f"{merged.repository} is at {merged.tag}: {merged.folder}", err=True)
        return
    proposed = contribute(path, to=to, message=message, dry_run=dry_run, hub=hub)
    if as_json:
        show_json({**vars(proposed), "repository": str(proposed.repository)})
        return
    _show_warnings(proposed.warnings)
    verb = "would propose" if dry_run else "proposed"
    click.echo(f"{verb} {proposed.folder} for {proposed.repository}", err=True)
    for file, length in proposed.files.items():
        click.echo(f"  {show_bytes(length):>10}  {file}", err=True)
    if proposed.url:
        click.echo(printable(proposed.url), err=True)


def _show_warnings(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        show_note("warning", warning)
