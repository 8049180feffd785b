"""``collect``: measurement logs to a dataset folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from wmhub.dataset.assemble import COLLECTOR, Part, assemble, chosen_workloads, part_of
from wmhub.dataset.growing import (
    older_in,
    require_same_clock,
    settled_elsewhere,
    told_hardware,
)
from wmhub.dataset.ingest import Ingested, ReadProgress, ingest
from wmhub.dataset.manifest import Manifest
from wmhub.dataset.placing import destination, refuse_existing
from wmhub.dataset.reader import Dataset
from wmhub.dataset.recipe import gather, read_recipe
from wmhub.dataset.schema import Provenance
from wmhub.dataset.version import Version
from wmhub.dataset.working import finish_work, refuse_inside, working, working_folder
from wmhub.dataset.writer import Description
from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    LogFormatError,
    MeasureError,
    MissingInputError,
)
from wmhub.hardware.profile import HardwareProfile
from wmhub.logs.chunks import ReadCounts, Rejection
from wmhub.logs.discover import LogFile, Unread, discover
from wmhub.names import HardwareKey
from wmhub.records import Workload


@dataclass(frozen=True)
class CollectReport:
    """What a collection read and wrote."""

    output: Path
    manifest: Manifest
    """Of the dataset that was written; its counts are those of all that ever went into it."""
    logs: int
    """Files read."""
    counts: ReadCounts
    """What this collection read."""
    rejections: list[Rejection]
    """The rejected lines, at most a thousand of each chunk."""
    ignored: list[Unread]
    """What of the folders and globs may hold a log and could not be read."""
    others: int
    """Files in the folders and globs that are no logs."""
    added: int
    """Records that the dataset did not have before."""
    is_unchanged: bool
    """Whether a dataset that was there stayed as it was, because it lacked nothing."""
    missing: list[Unread]
    """Files of the recipe that could not be had."""
    foreign_targets: tuple[str, ...]
    """Kinds of TVM's targets among the records that the hardware cannot have run."""
    seconds: float
    """Wall time."""


def collect(
    logs: str | Path | Sequence[str | Path] = (),
    output: str | Path = "dataset",
    *,
    hardware: HardwareKey | str | None = None,
    profile: HardwareProfile | None = None,
    contributor: str = "",
    licence: str = "",
    version: Version | str | None = None,
    test_workloads: Collection[str] = (),
    strict: bool = False,
    update: bool = False,
    recipe: str | Path | None = None,
    mirror: str | Path | None = None,
    workers: int = 1,
    progress: Callable[[ReadProgress], None] | None = None,
) -> CollectReport:
    """Reads measurement logs into the dataset folder ``output``.

    ``logs`` is a file, a folder, a glob or ``-``, or several; see ``wmhub.logs.discover``.
    ``hardware`` is what they were measured on, and ``profile`` its numbers, where no table has them
    or others are right; without either, this machine's CPU, probed. Every line
    is measured, failed or rejected, and counted, and what of a folder cannot be read is in the
    report; with ``strict`` the first of either raises ``LogFormatError``. ``test_workloads`` are
    ids or keys of the test split; without them a hash decides. With ``update``, a dataset that is
    in ``output`` grows by the records that it lacks; one that lacks none, where no ``version`` is
    asked for, stays as it is.

    ``recipe`` is a ``sources.toml`` that names public logs in place of ``logs``, and hardware,
    contributors and licences with them; see ``wmhub.dataset.recipe``. Its files are looked for by
    digest in the folder ``mirror``, or fetched from upstream. What cannot be had is in the report.

    ``workers`` above 1 parse in as many processes; a script that asks for them needs the usual
    ``if __name__ == "__main__"``.

    Raises ``MissingInputError``, ``LogFormatError``, ``OutputExistsError``, ``DatasetError`` (an
    older dataset that was changed), ``InvalidNameError`` and ``HardwareMismatchError``. An
    interrupted call leaves no dataset; the same call goes on with it.
    """
    began = time.monotonic()
    output, number = destination(output), Version.named(version)
    with working(output):
        if not update:
            refuse_existing(output)
        older = older_in(output, number)
        if older is not None:
            require_same_clock(older, False, "logs are taken for measured")
        folder = working_folder(output) / "runs"
        if recipe is None:
            provenance = Provenance(contributor, licence, COLLECTOR)
            named = hardware or (profile.key if profile is not None else None)
            sources = _from_logs(logs, provenance, named)
        elif logs or hardware:
            raise InvalidInputError("a recipe names logs and hardware itself; leave out both")
        else:
            sources = _from_recipe(Path(recipe), Path(mirror) if mirror else None, folder)
        refuse_inside(output, sources.read_from)
        if strict:
            sources.require_whole()
        key, numbers = _hardware(sources.hardware, profile, older)
        folder.mkdir(exist_ok=True)
        files = sources.files
        read = ingest(files, folder, str(key), strict=strict, workers=workers, progress=progress)
        error = _unusable(sources, read, key, probed=older is None)
        if error is not None:
            finish_work(output, "runs")
            raise error
        known = {**(older.workloads() if older else {}), **read.workloads}
        chosen = chosen_workloads(test_workloads, known)
        description = Description(key, numbers, COLLECTOR, version=number, test_workloads=chosen)
        manifest = _write(output, folder, read, older, description, known)
        finish_work(output, "runs")
    return CollectReport(
        output=output,
        manifest=manifest,
        logs=len(files),
        counts=read.counts,
        rejections=read.rejections,
        ignored=sources.ignored,
        others=sources.others,
        added=manifest.counts.records - (older.manifest.counts.records if older else 0),
        is_unchanged=older is not None and manifest is older.manifest,
        missing=sources.missing,
        foreign_targets=tuple(sorted(kind for kind in read.target_kinds if not key.runs(kind))),
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True)
class _Sources:
    """What is to be read."""

    files: list[tuple[LogFile, Provenance]]
    hardware: HardwareKey | str | None
    """What it was measured on, where that is told."""
    read_from: list[Path]
    """Where it lies: nothing is written there."""
    ignored: list[Unread]
    others: int
    missing: list[Unread]

    def require_whole(self) -> None:
        """Raises ``LogFormatError`` or ``MissingInputError`` where anything is left out."""
        if self.ignored:
            raise LogFormatError(str(self.ignored[0]))
        if self.missing:
            first, count = self.missing[0], len(self.missing)
            raise MissingInputError(f"{count} files of the recipe are missing: {first}")


def _from_logs(
    logs: str | Path | Sequence[str | Path],
    provenance: Provenance,
    hardware: HardwareKey | str | None,
) -> _Sources:
    found = discover([logs] if isinstance(logs, (str, Path)) else logs)
    files = [(log, provenance) for log in found.logs]
    paths = [log.path for log in found.logs if log.path is not None]
    return _Sources(files, hardware, paths, found.ignored, found.others, [])


def _from_recipe(recipe: Path, mirror: Path | None, folder: Path) -> _Sources:
    ordered = read_recipe(recipe)
    gathered = gather(ordered, mirror, folder, COLLECTOR)
    read_from = [mirror] if mirror else []
    return _Sources(gathered.logs, ordered.hardware, read_from, [], 0, gathered.missing)


def _unusable(
    sources: _Sources, read: Ingested, key: HardwareKey, *, probed: bool
) -> LogFormatError | HardwareMismatchError | None:
    """Why no dataset can be made of what was read, if so."""
    if not read.workloads:
        return LogFormatError(_nothing_found([log for log, _ in sources.files], read))
    if sources.hardware is None and any(not key.runs(kind) for kind in read.target_kinds):
        return _of_other_hardware(key, read.target_kinds, probed=probed)
    return None


def _write(
    output: Path,
    folder: Path,
    read: Ingested,
    older: Dataset | None,
    description: Description,
    workloads: Mapping[str, Workload],
) -> Manifest:
    """The dataset of what was read and the rows of ``older``; ``workloads`` are those of both."""
    rejections = [orjson.dumps(rejection) for rejection in read.rejections]
    parts = [Part(read.runs, read.workloads, read.counts, rejections)]
    if older is None:
        return assemble(parts, output, description)
    _require_settled(description.test_workloads, workloads, older.split_of)
    chosen = {*older.manifest.test_workloads, *description.test_workloads}
    description = dataclasses.replace(
        description, older=older.manifest, test_workloads=tuple(chosen)
    )
    parts.insert(0, part_of(older, folder, "older"))
    return assemble(parts, output, description, settled=older.split_of, replace=True)


def _require_settled(
    test_workloads: Sequence[str], workloads: Mapping[str, Workload], settled: Mapping[str, str]
) -> None:
    """Raises ``InvalidInputError`` for a test workload that the dataset has in another split."""
    moved = settled_elsewhere(test_workloads, workloads, settled)
    for id_, split in moved.items():
        raise InvalidInputError(
            f"test workload {id_} is in the {split} split already ({len(moved)} "
            "such); a dataset that grows keeps its splits: change them with wmhub dataset split"
        )


def _hardware(
    hardware: HardwareKey | str | None, profile: HardwareProfile | None, older: Dataset | None
) -> tuple[HardwareKey, HardwareProfile | None]:
    """What was measured on, this machine where nothing says another, and its numbers."""
    key, numbers = told_hardware(hardware, profile, older)
    if key is None:
        from wmhub.hardware.probe import probe

        here = probe()
        return here.key, here
    return key, numbers or (_probed(key) if older is None else None)


def _probed(key: HardwareKey) -> HardwareProfile | None:
    """The profile of this machine's own device, where that is ``key``."""
    from wmhub.hardware.probe import PROBED, probe

    if key.backend not in PROBED:
        return None
    try:
        is_here = probe(key.backend, quick=True).key == key
    except (MeasureError, RuntimeError):  # There is none here, or nothing that tells.
        return None
    return probe(key.backend) if is_here else None


def _of_other_hardware(
    key: HardwareKey, target_kinds: Collection[str], *, probed: bool
) -> HardwareMismatchError:
    foreign = " and ".join(sorted(kind for kind in target_kinds if not key.runs(kind)))
    whose = f"this machine's {key}" if probed else f"{key}, as the dataset is"
    return HardwareMismatchError(
        f"these logs are of {foreign}, and without --hardware they would pass for {whose}: name "
        "what they were measured on"
    )


def _nothing_found(logs: Sequence[LogFile], read: Ingested) -> str:
    where = str(logs[0].path or "stdin") if len(logs) == 1 else f"{len(logs)} files"
    if not read.rejections:
        return f"{where}: empty: no line holds a record"
    first = read.rejections[0]
    return (
        f"{where}: none of {read.counts.lines:,} lines holds a record; the first, "
        f"{first.source}:{first.line}: {first.reason}"
    )
