"""``wmhub collect``: measurement logs to a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wmhub.cli._live import live_options, take_live
from wmhub.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wmhub.collection import CollectReport
    from wmhub.hardware.profile import HardwareProfile
    from wmhub.logs.discover import Unread
    from wmhub.names import HardwareKey

#: Rejected lines and files that could not be read that people see.
_SHOWN = 5


@click.command()
@click.argument("logs", nargs=-1, metavar="LOG...")
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
    "--profile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Numbers of a device that no table has: JSON as `profile` in a dataset's manifest.json.",
)
@click.option("--contributor", default="", metavar="NAME", help="Who measured.")
@click.option("--licence", default="", metavar="SPDX", help="Licence of the records, such as MIT.")
@click.option("--version", metavar="X.Y.Z", help="Content version; 1.0.0 for a new dataset.")
@click.option(
    "--test-workloads",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Ids or keys of the test workloads, one a line; without it, a hash decides.",
)
@click.option(
    "--recipe",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A sources.toml that names public logs; they are fetched from upstream.",
)
@click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Take the recipe's files from this folder instead, by their digests.",
)
@click.option("--update", is_flag=True, help="Add to the dataset that is in DIR already.")
@click.option("--strict", is_flag=True, help="Stop at the first line or file that cannot be read.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes that parse, or with --live build; by default all cores.",
)
@live_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    logs: tuple[str, ...],
    output: Path,
    test_workloads: Path | None,
    workers: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Read measurement logs into a dataset.

    LOG is an Ansor log, a MetaSchedule database (either of its two files), a folder of them, a
    glob, or - for standard input; plain or compressed with gzip, xz or zstd. The format is
    recognised. What of a folder cannot be read is named and does not stop the rest. Interrupted,
    the same command goes on where it was.

    With --live there is no LOG: candidates are built and timed on this machine, or on devices
    behind a TVM tracker, and added to the dataset in DIR, which may exist. Ctrl-C finishes the
    batch and the dataset.
    """
    options["profile"] = profile_in(options["profile"])
    if take_live(logs, output, test_workloads, workers, as_json, options):
        return
    _refuse_without_effect(options)
    from wmhub.cli._show import reading_progress, show_json
    from wmhub.collection import collect
    from wmhub.hardware.machine import read_cpu

    with reading_progress() as progress:
        report = collect(
            logs,
            output,
            test_workloads=names_in(test_workloads),
            workers=workers or read_cpu().usable_threads,
            progress=progress,
            **options,
        )
    if as_json:
        show_json(_as_json(report))
    else:
        _show(report)


def _refuse_without_effect(options: dict[str, Any]) -> None:
    if options["recipe"] is None:
        if options["mirror"]:
            raise click.UsageError("--mirror needs --recipe, whose files it holds")
        return
    for name in ("licence", "contributor"):
        if options[name]:
            raise click.UsageError(f"a recipe names each --{name} itself; leave it out")


def profile_in(file: Path | None) -> HardwareProfile | None:
    """The profile in ``file``; raises ``InvalidInputError`` naming it for what is none."""
    from wmhub.hardware.profile import HardwareProfile

    if file is None:
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8-sig"))
        if not isinstance(told, dict):
            raise InvalidInputError("it holds no object of numbers")
        return HardwareProfile.from_json(told)
    except (ValueError, RecursionError) as error:  # ours too, and what is no UTF-8
        raise InvalidInputError.at(str(file), f"no hardware profile: {error}") from None


def names_in(file: Path | None) -> list[str]:
    """The lines of ``file`` that are neither blank nor comments.

    Raises ``InvalidInputError`` where it is no UTF-8.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file else []
    except UnicodeDecodeError as error:
        raise InvalidInputError.at(str(file), f"no UTF-8: {error}") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _as_json(report: CollectReport) -> dict[str, Any]:
    counts, manifest = report.counts, report.manifest
    return {
        "output": str(report.output),
        "hardware": str(manifest.hardware),
        "version": str(manifest.version),
        "logs": report.logs,
        "lines": counts.lines,
        "measured": counts.measured,
        "failed": counts.failed,
        "rejected": counts.rejected,
        "comments_and_blank": counts.skipped,
        "duplicates": manifest.counts.duplicates,
        "records": manifest.counts.records,
        "added": report.added,
        "workloads": manifest.counts.workloads,
        "unresolved_workloads": manifest.counts.unresolved_workloads,
        "failures": dict(counts.failures),
        "unknown_actions": dict(counts.unknown_actions),
        "splits": {name: split.records for name, split in manifest.splits.items()},
        "missing": _named(report.missing),
        "ignored": _named(report.ignored),
        "other_files": report.others,
        "foreign_targets": list(report.foreign_targets),
        "rejections": [
            {"file": item.source, "line": item.line, "reason": item.reason}
            for item in report.rejections[:100]
        ],
        "seconds": round(report.seconds, 3),
    }


def _named(files: Sequence[Unread]) -> list[dict[str, str]]:
    return [{"file": item.path, "reason": item.reason} for item in files]


def _show(report: CollectReport) -> None:
    from wmhub.cli._show import show_facts, show_note

    counts, manifest = report.counts, report.manifest
    failures = ", ".join(f"{count:,} {kind}" for kind, count in counts.failures.most_common())
    facts = [
        ("lines", f"{counts.lines:,} in {report.logs:,} log{'s' * (report.logs != 1)}"),
        ("measured", f"{counts.measured:,}"),
        ("failed", f"{counts.failed:,}" + (f"  ({failures})" if failures else "")),
        ("rejected", f"{counts.rejected:,}"),
        ("records", f"{manifest.counts.records:,} ({manifest.counts.duplicates:,} duplicates)"),
        ("workloads", f"{manifest.counts.workloads:,}"),
        (
            "splits",
            ", ".join(f"{name} {split.records:,}" for name, split in manifest.splits.items()),
        ),
        ("time", f"{report.seconds:.1f} s, {counts.lines / report.seconds:,.0f} lines/s"),
    ]
    if manifest.counts.unresolved_workloads:
        unresolved = f"{manifest.counts.unresolved_workloads:,} (their program is missing)"
        facts.append(("unresolved workloads", unresolved))
    for name, count in counts.unknown_actions.most_common():
        facts.append(("unknown action", f"{name} in {count:,} records (kept)"))
    if report.others:
        facts.append(("other files", f"{report.others:,} (no logs)"))
    title = f"{manifest.name} {manifest.version.tag} in {report.output}"
    show_facts(title, facts)
    if report.is_unchanged:
        show_note("unchanged", f"{report.output} has all of these records and stays as it was")
    if manifest.profile is None:
        show_note("hardware", _unknown_device(manifest.hardware))
    if report.foreign_targets:
        kinds = " and ".join(report.foreign_targets)
        said = f"some records were compiled for {kinds}, which {manifest.hardware} does not run"
        show_note("hardware", f"{said}; they are in the dataset: look for their logs")
    for item in report.rejections[:_SHOWN]:
        show_note("rejected", f"{item.source}:{item.line}: {item.reason}")
    if counts.rejected > _SHOWN:
        where = "--json" if report.is_unchanged else f"{report.output}/rejected.jsonl"
        more = f"{counts.rejected - _SHOWN:,} more lines, see {where}"
        show_note("rejected", more)
    _show_first("ignored", report.ignored)
    _show_first("missing", report.missing)


def _show_first(kind: str, files: Sequence[Unread]) -> None:
    from wmhub.cli._show import show_note

    for file in files[:_SHOWN]:
        show_note(kind, str(file))
    if len(files) > _SHOWN:
        show_note(kind, f"{len(files) - _SHOWN:,} more files, see --json")


def _unknown_device(key: HardwareKey) -> str:
    """A new device is welcome, and a misspelt one should be seen."""
    from wmhub.errors import nearest
    from wmhub.hardware.table import known

    close = nearest(str(key), (f"{item.backend}-{item.device}" for item in known()))
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return (
        f"no profile of {key} is known, so it has no numbers for a model (name them with --profile)"
        f"{hint}"
    )
