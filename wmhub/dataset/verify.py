"""``verify``: whether a dataset folder is what its manifest says, to the last byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wmhub.dataset.card import CARD
from wmhub.dataset.manifest import MANIFEST, FileEntry, Manifest, read_manifest, sha256_of
from wmhub.dataset.reader import READ_ROWS, Dataset, open_parquet
from wmhub.dataset.schema import SCHEMA_VERSION, TRAJECTORIES, WORKLOADS
from wmhub.dataset.splits import SPLITS
from wmhub.errors import DatasetError
from wmhub.records import Scheduler


@dataclass(frozen=True)
class Fault:
    """One thing that is not as the manifest says."""

    file: str
    reason: str


def verify(dataset: str | Path, *, times: bool = True) -> tuple[Manifest, list[Fault]]:
    """Checks names, lengths, digests, schemas, counts and the form of all values; returns all
    faults at once.

    Without ``times`` those that nothing can have pass, for whoever tells them row by row.
    """
    folder = Path(dataset)
    manifest = read_manifest(folder)
    faults: list[Fault] = []
    for entry in manifest.files:
        reason = _file_fault(folder, entry) or _parquet_fault(folder, entry, manifest, times)
        if reason is not None:
            faults.append(Fault(entry.name, reason))
    faults += _strangers(folder, manifest)
    faults += [Fault(MANIFEST, reason) for reason in _count_faults(manifest)]
    return manifest, faults


def require_verified(dataset: str | Path, *, but_for: str | None = None) -> Manifest:
    """``verify``, raising ``DatasetError`` with the first fault of any file but ``but_for``."""
    manifest, found = verify(dataset)
    faults = [fault for fault in found if fault.file != but_for]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise DatasetError(f"{Path(dataset) / faults[0].file}: {faults[0].reason}{more}")
    return manifest


def open_verified(dataset: str | Path) -> Dataset:
    """Opens a dataset whose rows go on into something new: its digests are checked before.

    Raises ``DatasetError`` as ``require_verified`` does: rows that were changed would get new
    digests, and look as if they had been measured.
    """
    return Dataset(Path(dataset), require_verified(dataset))


#: What the values of columns look like that nothing else checks before they are used.
_WORDS = {
    "workload_id": "^w[0-9a-f]{20}$",
    "split": f"^({'|'.join(SPLITS)})$",
    "scheduler": f"^({'|'.join(Scheduler)})$",
}


def _file_fault(folder: Path, entry: FileEntry) -> str | None:
    path = folder / entry.name
    if not path.is_file():
        return "the manifest names it, and it is missing"
    size = path.stat().st_size
    if size != entry.bytes:
        return f"{size:,} bytes long, and {entry.bytes:,} in the manifest"
    if sha256_of(path) != entry.sha256:
        return "its SHA-256 is not that of the manifest: it was changed or damaged"
    return None


def _parquet_fault(folder: Path, entry: FileEntry, manifest: Manifest, times: bool) -> str | None:
    if not entry.name.endswith(".parquet"):
        return None
    try:
        with open_parquet(folder / entry.name) as file:
            rows = file.metadata.num_rows
            if rows != entry.rows:
                return f"{rows:,} rows, and {entry.rows:,} in the manifest"
            wanted = WORKLOADS if entry.name.startswith("workloads-") else TRAJECTORIES
            is_present = manifest.schema_version == SCHEMA_VERSION
            reason = _schema_fault(file.schema_arrow, wanted) if is_present else None
            return reason or _value_fault(file, times)
    except DatasetError as error:
        return str(error)


def _schema_fault(schema: pa.Schema, wanted: pa.Schema) -> str | None:
    for field in wanted:
        index = schema.get_field_index(field.name)
        if index < 0:
            return f"it lacks the column {field.name}"
        if not schema.field(index).type.equals(field.type):
            return f"column {field.name} is {schema.field(index).type}, and must be {field.type}"
        if schema.field(index).nullable and not field.nullable:
            return f"column {field.name} may be empty, and must not"
    return None


def _value_fault(file: pq.ParquetFile, times: bool) -> str | None:
    """What Parquet itself lets pass: text that is no UTF-8 (raised), words that mean nothing, and
    times that nothing has."""
    for batch in file.iter_batches(batch_size=READ_ROWS):
        batch.validate(full=True)
        for name, known in _WORDS.items():
            if name in batch.schema.names:
                words = pc.unique(batch[name]).cast(pa.string())
                if not pc.all(pc.match_substring_regex(words, known)).as_py():
                    return f"a value in its column {name} is not one that means anything"
        if "run_seconds" not in batch.schema.names:
            continue
        if batch["run_seconds"].flatten().null_count:
            return "a run time in it is missing amid others"
        if not times:
            continue
        ran = batch["run_seconds"].filter(batch["failure"].is_null())
        seconds = ran.flatten().to_numpy(zero_copy_only=False)
        if not (np.isfinite(seconds) & (seconds > 0)).all():
            return "a run time in it is not a positive number, though its candidate ran"
        if len(ran) and pc.min(pc.list_value_length(ran)).as_py() == 0:
            return "a candidate in it ran without any run time"
    return None


def _strangers(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    """Files that loaders with a pattern would take for a part of the dataset."""
    known = {MANIFEST, CARD, *(entry.name for entry in manifest.files)}
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        if name not in known:
            yield Fault(name, "a Parquet file that the manifest does not name")


def _count_faults(manifest: Manifest) -> Iterator[str]:
    counts = manifest.counts
    if not manifest.names("workloads-"):
        yield "it names no file of workloads"
    if counts.lines != counts.measured + counts.failed + counts.rejected:
        yield "lines are not measured + failed + rejected"
    if counts.records + counts.duplicates != counts.measured + counts.failed:
        yield "records + duplicates are not measured + failed"
    for split in SPLITS:
        rows = sum(e.rows for e in manifest.files if e.name.startswith(f"trajectories-{split}-"))
        if split not in manifest.splits:
            yield f"split {split} is missing"
        elif rows != manifest.splits[split].records:
            yield f"split {split} has {rows:,} rows, and {manifest.splits[split].records:,} counted"
    if sum(counts.records for counts in manifest.splits.values()) != counts.records:
        yield "the splits do not add up to the records"
