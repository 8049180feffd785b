"""Datasets made of datasets: ``merge``, ``split``, ``credit``, ``retime``; their cards anew."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from wmhub.dataset.assemble import COLLECTOR, assemble, chosen_workloads, part_of
from wmhub.dataset.card import CARD, PICTURE
from wmhub.dataset.growing import require_same_clock, require_same_hardware
from wmhub.dataset.manifest import MANIFEST, Manifest, Repeatability, write_manifest
from wmhub.dataset.placing import destination, refuse_existing
from wmhub.dataset.reader import Dataset
from wmhub.dataset.replacing import refuse_from_inside
from wmhub.dataset.schema import Provenance, is_utf8
from wmhub.dataset.splits import split_workloads
from wmhub.dataset.verify import open_verified, require_verified
from wmhub.dataset.version import Change, Version
from wmhub.dataset.working import anew, refuse_mixed, working
from wmhub.dataset.writer import Description, add_card
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.flushing import flush_folder
from wmhub.markdown import MOST_CHARACTERS
from wmhub.records import MeasureRecord

if TYPE_CHECKING:
    from wmhub.records import ProgramKey


def merge(
    datasets: Sequence[str | Path], output: str | Path, *, version: Version | str | None = None
) -> Manifest:
    """Writes the records of all ``datasets``, each once, into the new dataset ``output``.

    A workload stays in the split that the first dataset with it has. The version follows that of
    the first dataset, unless it is given. What is known of how records repeat is that of one part,
    and is left out; what is known to be wrong with those of one is told of all. Raises
    ``HardwareMismatchError`` for datasets of different hardware, and ``DatasetError`` for one that
    is not what its manifest says.
    """
    if not datasets:
        raise InvalidInputError("no dataset to merge; name two or more dataset folders")
    opened = [open_verified(path) for path in datasets]
    first = opened[0]
    for other in opened[1:]:
        require_same_hardware(first, other.hardware, f"{other.path}")
        require_same_clock(first, other.manifest.is_cold, f"{other.path}")
    if (number := Version.named(version)) is not None:
        number.require_after(Change.PATCH, first.manifest.version)
    settled = _settled(opened)
    description = Description(
        first.hardware,
        next((item.manifest.profile for item in opened if item.manifest.profile), None),
        COLLECTOR,
        version=number,
        older=first.manifest,
        test_workloads=tuple({id_ for item in opened for id_ in item.manifest.test_workloads}),
        limits=tuple(limit for item in opened for limit in item.manifest.limits),
    )
    output = destination(output)
    refuse_mixed(output, [dataset.path for dataset in opened])
    with working(output):
        refuse_existing(output)
        with anew(output, "runs") as runs:
            parts = [part_of(dataset, runs, f"merge-{n}") for n, dataset in enumerate(opened)]
            return assemble(parts, output, description, settled=settled)


def _settled(datasets: Sequence[Dataset]) -> dict[str, str]:
    """The split of each workload: that of its program in the first dataset that has it.

    Two versions of TVM serialise one program differently: under one key it has two ids.
    """
    program_of: dict[str, ProgramKey] = {}
    places: dict[ProgramKey, str] = {}
    for dataset in reversed(datasets):
        for id_, workload in dataset.workloads().items():
            program_of[id_] = workload.program_key
            places[program_of[id_]] = dataset.split_of[id_]
    return {id_: places[program] for id_, program in program_of.items()}


def split(
    dataset: str | Path, output: str | Path, *, test_workloads: Collection[str] = ()
) -> Manifest:
    """Writes ``dataset`` with other splits into the new dataset ``output``.

    ``test_workloads`` are the ids or keys of the test split; without them the hash decides. The
    version is the next major one if a workload changed its split. Raises ``DatasetError`` where the
    folder is not what its manifest says.
    """
    older = open_verified(dataset)
    output = destination(output)
    refuse_mixed(output, [older.path])
    workloads = older.workloads()
    chosen = chosen_workloads(test_workloads, workloads)
    before = older.split_of
    moved = split_workloads(workloads, chosen) != before
    # Whether by hand or by hash stands in the card.
    same = set(chosen) == set(older.manifest.test_workloads)
    change = Change.MAJOR if moved else Change.NONE if same else Change.PATCH
    description = Description(
        older.hardware,
        older.manifest.profile,
        COLLECTOR,
        version=older.manifest.version.after(change),
        test_workloads=chosen,
        repeatability=older.manifest.repeatability,
        limits=older.manifest.limits,
    )
    with working(output):
        refuse_existing(output)
        with anew(output, "runs") as runs:
            return assemble([part_of(older, runs, "split")], output, description)


def credit(
    dataset: str | Path,
    *,
    contributor: str = "",
    licence: str = "",
    instead_of: str = "",
) -> Manifest:
    """Names ``contributor`` and ``licence`` in the rows of ``dataset`` that name none, in place.

    What a row says already stays, but for the licence ``instead_of``: a text that is none, or one
    that whoever owns the rows takes back. The rows change, so the version is the next major one.

    Raises ``InvalidInputError`` where there is nothing to fill in, or no UTF-8 to fill it with, and
    ``DatasetError`` where the folder is not what its manifest says.
    """
    folder, named = destination(dataset), Provenance(contributor, licence)
    if instead_of and not named.licence:
        raise InvalidInputError("without a licence there is nothing to write instead of one")
    refuse_from_inside(folder)
    with working(folder):
        older = open_verified(folder)
        manifest = older.manifest
        fills = [
            _Fill(column, value, old)
            for column, value, old, there in (
                ("contributor", named.contributor, "", manifest.contributors),
                ("licence", named.licence, "", manifest.licences),
                ("licence", named.licence, instead_of, manifest.licences),
            )
            if value and value != old and old in there
        ]
        if not fills or (instead_of and instead_of not in manifest.licences):
            raise InvalidInputError(f"{folder}: {_why_nothing(manifest, named, instead_of)}")
        description = _of_changed_rows(manifest, manifest.repeatability)
        settled = older.split_of
        with anew(folder, "runs") as runs:
            part = part_of(older, runs, "credited", lambda table: _filled(table, fills))
            return assemble([part], folder, description, settled=settled, replace=True)


def _of_changed_rows(manifest: Manifest, repeatability: Repeatability | None) -> Description:
    """Of the dataset of ``manifest`` with other rows in the same splits: the next major version."""
    return Description(
        manifest.hardware,
        manifest.profile,
        COLLECTOR,
        version=manifest.version.after(Change.MAJOR),
        test_workloads=manifest.test_workloads,
        repeatability=repeatability,
        limits=manifest.limits,
    )


@dataclass(frozen=True)
class _Fill:
    """What to write in a column of text."""

    column: str
    value: str
    instead_of: str
    """Where this stands; empty for rows that name nothing."""


def _why_nothing(manifest: Manifest, named: Provenance, instead_of: str) -> str:
    """Why there is no row to credit."""
    if not (named.contributor or named.licence):
        return "nothing to write was given: name a contributor, a licence or both"
    if instead_of and instead_of not in manifest.licences:
        there = ", ".join(repr(licence) for licence in manifest.licences if licence) or "none"
        return f"no row has the licence {instead_of!r}; there is {there}"
    return "every row names one already, which stays (a licence is replaced with --instead-of)"


def _filled(table: pa.Table, fills: Sequence[_Fill]) -> pa.Table:
    """``table`` after ``fills``."""
    for fill in fills:
        name = fill.column
        column = table[name].cast(pa.string())
        filled = pc.if_else(pc.equal(column, fill.instead_of), fill.value, column)
        at = table.schema.get_field_index(name)
        table = table.set_column(
            at, table.schema.field(at), filled.cast(table.schema.field(at).type)
        )
    return table


def retime(
    older: Dataset, output: Path, records: Mapping[int, MeasureRecord], contributor: str = ""
) -> tuple[Manifest, list[float]]:
    """Writes ``older`` with the times that ``records`` have into the new dataset ``output``.

    ``records``: by the number of the row, counted from 0 over ``older.iter_tables()``; of each, run
    and measuring times and timestamp are taken. Collector and, where one is given, contributor of
    such rows are new. As rows change, the version is the next major one; how well the old times
    repeated says nothing of the new ones, and is left out. The caller holds ``output``, see
    ``working``.

    Returns the manifest, and new over old latency of each row that was changed.
    """
    description = _of_changed_rows(older.manifest, None)
    retiming = _Retiming(records, contributor)
    with anew(output, "runs") as runs:
        part = part_of(older, runs, "retimed", retiming)
        written = assemble([part], output, description, settled=older.split_of)
    return written, retiming.ratios


class _Retiming:
    """Gives rows new times, table after table."""

    def __init__(self, records: Mapping[int, MeasureRecord], contributor: str) -> None:
        self._records = records
        self._given = {"collector": COLLECTOR}
        if contributor:
            self._given["contributor"] = contributor
        self._rows = 0
        """Rows of the tables before."""
        self.ratios: list[float] = []
        """New over old latency of each row that was changed."""

    def __call__(self, table: pa.Table) -> pa.Table:
        found = [self._records.get(self._rows + number) for number in range(len(table))]
        self._rows += len(table)
        if not any(found):
            return table
        columns = (table["run_seconds"].to_pylist(), table["trace"].to_pylist())
        for record, seconds, trace in zip(found, *columns, strict=True):
            if record is not None:
                if record.trace != trace:
                    raise DatasetError(
                        "the rows of a workload are not side by side, so that what was measured "
                        "again cannot be told from the rest; wmhub dataset check says where"
                    )
                self.ratios.append(
                    statistics.median(record.run_seconds) / statistics.median(seconds)
                )
        for name in ("run_seconds", "measure_seconds", "timestamp"):
            new = [None if record is None else getattr(record, name) for record in found]
            table = _replaced(table, name, new)
        for name, value in self._given.items():
            table = _replaced(table, name, [None if record is None else value for record in found])
        return table


def _replaced(table: pa.Table, name: str, new: Sequence[Any]) -> pa.Table:
    """``table`` with what is ``new`` in the column ``name``; ``None`` leaves what is there."""
    at, field = table.schema.get_field_index(name), table.schema.field(name)
    old = table[name].to_pylist()
    values = [was if value is None else value for was, value in zip(old, new, strict=True)]
    return table.set_column(at, field, pa.array(values, field.type))


def render_again(
    dataset: str | Path,
    repeatability: Repeatability | None = None,
    limits: Sequence[str] = (),
) -> Manifest:
    """Renders the card of ``dataset`` in place; the rows stay, the version becomes a patch on.

    ``repeatability`` is noted in the manifest; without it, what is noted there stays. ``limits``
    are sentences on what is known to be wrong with the rows, beside those that are noted.

    Raises ``InvalidInputError`` for a limit that is empty, long or no UTF-8, and ``DatasetError``
    where the folder is not what its manifest says, but for the picture, which is drawn again: what
    a kill between the files leaves is mended by another call.
    """
    if not all(limit.strip() and is_utf8(limit) for limit in limits):
        raise InvalidInputError("a limit must be a sentence, in UTF-8")
    if any(len(limit) > MOST_CHARACTERS for limit in limits):
        raise InvalidInputError(f"a limit may have {MOST_CHARACTERS} characters")
    folder = destination(dataset)
    with working(folder):
        manifest = require_verified(folder, but_for=PICTURE)
        patched = dataclasses.replace(
            manifest,
            version=manifest.version.after(Change.PATCH),
            repeatability=repeatability or manifest.repeatability,
            limits=tuple(dict.fromkeys([*manifest.limits, *limits])),
        )
        with anew(folder, "card") as scratch:
            patched = add_card(Dataset(folder, patched), scratch)
            write_manifest(scratch, patched)
            # Only now, when all of it is written: a full disk must leave the dataset as it was.
            flush_folder(scratch)
            for name in (PICTURE, MANIFEST, CARD):
                (scratch / name).replace(folder / name)
    return patched
