"""``manifest.json``: what a dataset folder holds. Written last; without it, it is no dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wmhub.dataset.schema import SCHEMA_VERSION, check_version, is_utf8
from wmhub.dataset.version import Version
from wmhub.errors import DatasetError, MissingInputError, SchemaVersionError
from wmhub.hardware.profile import HardwareProfile
from wmhub.names import HardwareKey

MANIFEST = "manifest.json"
_FORMAT = "wmhub-dataset"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_BLOCK_BYTES = 1 << 20
#: A plain relative path: no part begins with a dot, so none leaves the folder or hides in it.
_FILE_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*\Z", re.ASCII)


@dataclass(frozen=True)
class FileEntry:
    """One file of the dataset."""

    name: str
    """Path below the folder, with ``/``."""
    sha256: str
    """Hexadecimal digest of its bytes."""
    bytes: int
    rows: int
    """Rows of a Parquet file, lines of another."""

    def __post_init__(self) -> None:
        _check_types(self)
        if not _FILE_NAME.match(self.name):
            raise DatasetError(f"the file {self.name!r} would leave the dataset's folder")
        if not isinstance(self.sha256, str) or not _SHA256.match(self.sha256):
            raise DatasetError(f"the SHA-256 of {self.name!r} is not 64 hexadecimal digits")


@dataclass(frozen=True)
class SplitCounts:
    """The size of one split."""

    workloads: int
    records: int
    measured: int
    """Records of candidates that ran."""

    def __post_init__(self) -> None:
        _check_types(self)


@dataclass(frozen=True)
class Counts:
    """What was read and what became of it: ``lines == measured + failed + rejected``."""

    lines: int
    """Lines read that are neither blank nor a comment."""
    measured: int
    """Lines of candidates that ran."""
    failed: int
    """Lines of candidates that failed."""
    rejected: int
    """Lines without a record."""
    duplicates: int
    """Exact repeats of a record, left out: ``records + duplicates == measured + failed``."""
    records: int
    """Rows of the dataset."""
    workloads: int
    unresolved_workloads: int
    """MetaSchedule workloads whose program is missing."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed lines by kind."""
    unknown_actions: dict[str, int] = field(default_factory=dict)
    """Lines by the name of an action that the vocabulary does not know, the most frequent ones."""

    def __post_init__(self) -> None:
        _check_types(self)


@dataclass(frozen=True)
class Repeatability:
    """How records that were measured again, by ``wmhub bench repeat``, compare with the first time.

    Ratios are of the new latency to the recorded one.
    """

    day: str
    """When they were measured again, as YYYY-MM-DD."""
    records: int
    """How many were drawn."""
    failed: int
    """How many of them did not run again."""
    median_ratio: float
    """Median of the ratios."""
    within_5_percent: float
    """Share of the ratios between 1 / 1.05 and 1.05."""
    within_10_percent: float
    """Share of the ratios between 1 / 1.1 and 1.1."""
    within_25_percent: float
    """Share of the ratios between 1 / 1.25 and 1.25."""
    scaled_within_10_percent: float
    """Share of the ratios within 10 % of their median: a machine that is slower as a whole ranks
    candidates alike."""
    scaled_within_25_percent: float
    """Share of the ratios within 25 % of their median."""

    def __post_init__(self) -> None:
        _check_types(self)
        if not _DAY.match(self.day):
            raise DatasetError(f"{self.day[:60]!r} is no day like 2026-01-31")


#: What the card says of rows that were timed so; others were timed as often as it takes in a row.
COLD = "The caches were emptied before each run."


@dataclass(frozen=True)
class Manifest:
    """Everything about a dataset but its rows."""

    name: str
    """What the dataset is published as, by default the hardware key."""
    hardware: HardwareKey
    """What all records were measured on."""
    profile: HardwareProfile | None
    """Numbers of that hardware, where they are known."""
    version: Version
    """Content version."""
    counts: Counts
    splits: dict[str, SplitCounts]
    files: tuple[FileEntry, ...]
    licence: str
    """SPDX expression of all licences, or empty where one is unknown."""
    licences: dict[str, int]
    """Records by SPDX identifier; the empty one means unknown."""
    contributors: dict[str, int]
    """Records by contributor."""
    collector: str
    """Program and version that wrote the dataset."""
    test_workloads: tuple[str, ...] = ()
    """Ids of the test workloads where they were chosen by hand."""
    repeatability: Repeatability | None = None
    """Of records measured again, where that was done."""
    limits: tuple[str, ...] = ()
    """What else is known to be wrong with the rows, one sentence each; stands in the card."""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check_types(self)

    @property
    def is_cold(self) -> bool:
        """Whether its rows were timed with emptied caches; see ``COLD``."""
        return COLD in self.limits

    def to_json(self) -> str:
        """JSON text, the same for equal manifests."""
        value = dataclasses.asdict(self)
        value["hardware"] = str(self.hardware)
        value["profile"] = None if self.profile is None else self.profile.to_json()
        value["version"] = str(self.version)
        value["files"] = {file.pop("name"): file for file in value["files"]}
        return json.dumps({"format": _FORMAT, **value}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Inverse of ``to_json``; raises ``DatasetError`` or ``SchemaVersionError``."""
        try:
            value = json.loads(text)
            if not isinstance(value, dict) or value.pop("format", None) != _FORMAT:
                raise DatasetError('it is not the manifest of a dataset ("format" is missing)')
            check_version(value["schema_version"])
            return cls._from_fields(value)
        except (DatasetError, SchemaVersionError):
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DatasetError(f"it is damaged: {error}") from None

    @classmethod
    def _from_fields(cls, value: dict[str, Any]) -> Manifest:
        profile, repeated = value["profile"], value.get("repeatability")
        return cls(
            name=value["name"],
            hardware=HardwareKey.parse(value["hardware"]),
            profile=None if profile is None else HardwareProfile.from_json(profile),
            version=Version.parse(value["version"]),
            counts=Counts(**value["counts"]),
            splits={name: SplitCounts(**counts) for name, counts in value["splits"].items()},
            files=tuple(FileEntry(name, **item) for name, item in value["files"].items()),
            licence=value["licence"],
            licences=value["licences"],
            contributors=value["contributors"],
            collector=value["collector"],
            test_workloads=tuple(value["test_workloads"]),
            repeatability=None if repeated is None else Repeatability(**repeated),
            limits=tuple(value.get("limits", ())),
            schema_version=value["schema_version"],
        )

    def names(self, prefix: str) -> list[str]:
        """Files of the dataset that begin with ``prefix``, in order."""
        return [entry.name for entry in self.files if entry.name.startswith(prefix)]


def working_path(output: Path) -> Path:
    """Where the working folder of ``output`` lies, beside it; see ``working``."""
    return output.parent / f"{output.name}.wmhub"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the dataset in ``folder``."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such dataset folder{_cut_short(folder)}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(
            f"{folder}: no {MANIFEST}, so this is no dataset, or one whose writing was "
            f"interrupted{_cut_short(folder)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None
    try:
        return Manifest.from_json(text)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None


def _cut_short(folder: Path) -> str:
    """Where to look for a dataset that is not in ``folder`` because work on it was cut short."""
    beside = working_path(folder.absolute())
    if not beside.is_dir():
        return ""
    return f"; work on it was cut short, see {beside}: run again what wrote it"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest: the act that makes ``folder`` a dataset."""
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(manifest.to_json(), encoding="utf-8")
    partial.replace(folder / MANIFEST)


def file_entry(folder: Path, name: str, rows: int) -> FileEntry:
    """The entry of a file that has been written."""
    path = folder / name
    return FileEntry(name, sha256_of(path), path.stat().st_size, rows)


def licence_of(licences: Collection[str]) -> str:
    """``Manifest.licence`` of records under ``licences``."""
    return "" if "" in licences else " AND ".join(sorted(licences))


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _check_types(entry: FileEntry | SplitCounts | Counts | Repeatability | Manifest) -> None:
    """Counts, numbers and texts must be such: JSON may hold anything."""
    for item in dataclasses.fields(entry):
        value = getattr(entry, item.name)
        is_right = _IS_RIGHT.get(str(item.type))
        if is_right is not None and not is_right(value):
            raise DatasetError(f"{item.name} is {str(value)[:60]!r}, not {item.type}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and is_utf8(value)


#: By the type of a field, as it is written there.
_IS_RIGHT: dict[str, Callable[[Any], bool]] = {
    "int": _is_count,
    "float": _is_number,
    "str": _is_text,
    "dict[str, int]": lambda value: (
        isinstance(value, dict)
        and all(map(_is_text, value))
        and all(map(_is_count, value.values()))
    ),
    "tuple[str, ...]": lambda value: all(map(_is_text, value)),
}
