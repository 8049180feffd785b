"""``wmhub doctor``: is this installation and this machine fit for the work?"""

from __future__ import annotations

import click

from wmhub.cli._show import printable, show_json

_COLOUR = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Check the installation and this machine; each finding comes with its remedy.

    Exit code 0 where the main job can work, 2 where something must be mended first.
    """
    from wmhub.doctor.examine import examine
    from wmhub.doctor.finding import Severity

    findings = examine()
    problems = sum(finding.severity is Severity.PROBLEM for finding in findings)
    for finding in findings:
        mark = click.style(f"{finding.severity.value:>7}", fg=_COLOUR[finding.severity.value])
        click.echo(f"{mark}  {printable(f'{finding.subject}: {finding.said}')}", err=True)
        if finding.remedy:
            click.echo(f"{'':>9}-> {printable(finding.remedy)}", err=True)
    if as_json:
        show_json(
            {
                "problems": problems,
                "findings": [
                    {
                        "subject": finding.subject,
                        "severity": finding.severity.value,
                        "said": finding.said,
                        "remedy": finding.remedy,
                    }
                    for finding in findings
                ],
            }
        )
    if problems:
        raise click.exceptions.Exit(2)
