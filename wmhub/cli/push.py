"""``wmhub push``: publishes a model or a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from wmhub.cli._show import printable, show_json, show_note


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("name", metavar="NAME")
@click.option(
    "--dataset",
    metavar="NAME",
    help="Of a model: where the dataset lies that it pins, such as ./datasets/cuda-a100, or its "
    "name on the hub, which the card then shows.",
)
@click.option(
    "--card",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Of a model: write its card here as well, such as model_cards/NAME.md.",
)
@click.option("--message", metavar="TEXT", help="What the commit says.")
@click.option("--dry-run", is_flag=True, help="Check everything, show it, and send nothing.")
@click.option("--create-pr", is_flag=True, help="Propose it as a pull request, without a tag.")
@click.option("--hub", metavar="PLACE", help="hf-hub (the default) or folder:PATH; also WMHUB_HUB.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    path: Path,
    name: str,
    dataset: str | None,
    card: Path | None,
    message: str | None,
    dry_run: bool,
    create_pr: bool,
    hub: str | None,
    as_json: bool,
) -> None:
    """Check the model or dataset in DIR and publish it as NAME (or ORG/NAME).

    The version in its manifest becomes the tag vX.Y.Z, which never moves. Log in with
    `hf auth login` first.
    """
    from wmhub.hub import push
    from wmhub.units import show_bytes

    pushed = push(
        path,
        name,
        dataset=dataset,
        message=message,
        dry_run=dry_run,
        create_pr=create_pr,
        hub=hub,
        card=card,
    )
    if as_json:
        show_json({**vars(pushed), "repository": str(pushed.repository)})
        return
    done, undone = ("proposed", "would propose") if create_pr else ("published", "would publish")
    verb = undone if dry_run else done
    if pushed.change == "none":
        verb = "is there already:"
    is_new = pushed.previous and pushed.change != "none"
    since = f", {pushed.change} since {pushed.previous}" if is_new else ""
    number = f" as pull request {pushed.pull_request}" if pushed.pull_request is not None else ""
    what = f"{pushed.kind} {pushed.repository} {pushed.tag}{since}"
    click.echo(f"{verb} {what} on {pushed.location}{number}", err=True)
    for file, length in pushed.files.items():
        click.echo(f"  {show_bytes(length):>10}  {file}", err=True)
    for file in pushed.removed:
        click.echo(printable(f"  {'removes':>10}  {file}"), err=True)
    if pushed.is_new_hub:
        made = "would be made" if dry_run else "is made"
        show_note("note", f"{pushed.location} was no hub yet: it {made}")
    if pushed.url:
        click.echo(printable(pushed.url), err=True)
