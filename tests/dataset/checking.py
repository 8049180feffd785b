"""Datasets with rows that no collector would write, and what a check finds in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wmhub.dataset.check import CheckReport
from wmhub.dataset.manifest import file_entry, read_manifest, write_manifest


def kinds(report: CheckReport) -> dict[str, str]:
    """Severity of the last finding of each kind."""
    return {finding.kind: str(finding.severity) for finding in report.findings}


def change_rows(folder: Path, **columns: list[object]) -> None:
    """Writes other values into the training rows, and makes the digest fit."""
    name = "trajectories-train-00000.parquet"
    table = pq.read_table(folder / name)
    for column, values in columns.items():
        field = table.schema.field(column)
        values = (values * len(table))[: len(table)]
        array = pa.array(values, field.type)
        table = table.set_column(table.schema.get_field_index(column), field, array)
    replace_file(folder, name, table)


def replace_file(folder: Path, name: str, table: pa.Table) -> None:
    """Writes ``table`` as the file ``name``, and makes rows and digest in the manifest fit."""
    pq.write_table(table, folder / name)
    manifest = read_manifest(folder)
    entry = file_entry(folder, name, len(table))
    files = tuple(entry if old.name == name else old for old in manifest.files)
    write_manifest(folder, dataclasses.replace(manifest, files=files))
