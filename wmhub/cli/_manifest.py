"""What the command line says of a dataset's manifest."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmhub.dataset.manifest import Manifest


def show_written(manifest: Manifest, output: Path, as_json: bool) -> None:
    """Shows the dataset that was written to ``output``."""
    if as_json:
        from wmhub.cli._show import show_json

        show_json({"output": str(output), **manifest_json(manifest)})
    else:
        show_manifest(manifest, output)


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """What ``--json`` prints of it."""
    return {
        "name": manifest.name,
        "hardware": str(manifest.hardware),
        "version": str(manifest.version),
        "schema_version": manifest.schema_version,
        "splits": {name: dataclasses.asdict(split) for name, split in manifest.splits.items()},
        "licences": manifest.licences,
        "contributors": manifest.contributors,
        "bytes": sum(entry.bytes for entry in manifest.files),
        **dataclasses.asdict(manifest.counts),
    }


def show_manifest(manifest: Manifest, folder: Path, *more: tuple[str, str]) -> None:
    """A table of facts; ``more`` stand before the splits."""
    from wmhub.cli._show import show_facts
    from wmhub.units import show_bytes

    counts = manifest.counts
    failures = ", ".join(f"{count:,} {kind}" for kind, count in counts.failures.items())
    facts = [
        ("hardware", manifest.profile.name if manifest.profile else str(manifest.hardware)),
        ("records", f"{counts.records:,}"),
        (
            "lines read",
            f"{counts.lines:,}: {counts.measured:,} measured, {counts.failed:,} failed, "
            f"{counts.rejected:,} rejected",
        ),
        ("duplicates left out", f"{counts.duplicates:,}"),
        ("workloads", f"{counts.workloads:,}"),
        *((("failures", failures),) if failures else ()),
        *more,
        *(
            (name, f"{split.records:,} records of {split.workloads:,} workloads")
            for name, split in manifest.splits.items()
        ),
        ("licences", ", ".join(name or "unknown" for name in manifest.licences)),
        ("contributors", ", ".join(name or "not named" for name in manifest.contributors)),
        ("size", show_bytes(sum(entry.bytes for entry in manifest.files))),
    ]
    show_facts(f"{manifest.name} {manifest.version.tag} in {folder}", facts)
