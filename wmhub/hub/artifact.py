"""The two kinds of published things, as the hub sees them: a manifest and the files it names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from wmhub.dataset.version import Version
from wmhub.errors import (
    CheckpointError,
    DatasetError,
    InvalidInputError,
    InvalidNameError,
    MissingInputError,
    SchemaVersionError,
)
from wmhub.hub.integrity import (
    FileDigest,
    check_path,
    check_paths,
    open_inside,
    read_bounded,
    tree_digest,
    verify_files,
)
from wmhub.names import HardwareKey

#: The card of either kind; it may lie beside the files that the manifest names.
CARD_NAME = "README.md"
#: The first schema of either kind, which every wmhub reads.
_FIRST_SCHEMA = 1
#: Most kinds of hardware that one artifact is for.
_MOST_HARDWARE = 64


@dataclass(frozen=True)
class ArtifactManifest:
    """What a manifest says of its artifact."""

    name: str
    """Name that the artifact gives itself, such as ``wm-cuda-a100``."""
    version: Version
    """Content version; its tag is ``v1.2.0``."""
    schema_version: int
    """Version of the form of the manifest and its files."""
    hardware: tuple[HardwareKey, ...]
    """Hardware that it was measured on or trained for; one, or several for joint training."""
    files: Mapping[str, FileDigest]
    """Every file but the manifest and the card."""
    digest: str
    """``tree_digest`` of the files and the manifest: what a lock pins."""
    manifest_file: FileDigest
    """The manifest itself."""
    licence: str | None
    """SPDX expression of the whole, where given."""
    headline: str
    """One line for a table: the metric of a model, the counts of a dataset."""

    @property
    def bytes(self) -> int:
        """Length of all files with the manifest, in bytes."""
        return self.manifest_file.bytes + sum(file.bytes for file in self.files.values())


class ArtifactKind(Protocol):
    """What the hub needs to know of models or of datasets; ``MODEL`` and ``DATASET`` are these."""

    label: str
    """``model`` or ``dataset``; also the repository type on the Hugging Face Hub."""
    manifest_name: str
    """The manifest's file name."""
    most_bytes: int
    """Largest artifact that is fetched, in bytes."""
    error: type[InvalidInputError]
    """What a damaged one raises."""

    def newest_schema(self) -> int:
        """Newest version of its form that this wmhub reads: a word of its own module."""
        ...

    def parse(self, content: bytes, where: str) -> ArtifactManifest:
        """Parses a manifest; ``where`` names it in errors."""
        ...

    def verify(self, folder: Path, within: Path | None = None) -> ArtifactManifest:
        """Checks every digest and reads the folder strictly; raises what its own reader raises."""
        ...


class _Fields:
    """Typed reading of one JSON object of a manifest; every complaint names the field."""

    def __init__(self, content: bytes, where: str, error: type[InvalidInputError]) -> None:
        self.where, self._error = where, error
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError as decode_error:
            raise self.wrong(f"is no JSON: {decode_error}") from decode_error
        if not isinstance(data, dict):
            raise self.wrong("is no JSON object")
        self._data: Mapping[str, object] = data

    def wrong(self, reason: str) -> InvalidInputError:
        return self._error(f"{self.where}: {reason}")

    def text(self, name: str) -> str:
        value = self._data.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= 1000:
            raise self.wrong(f"{name!r} must be a text")
        return value

    def file_name(self, name: str) -> str:
        """A text that pictures and cards can be called by."""
        value = self.text(name)
        try:
            if "/" in value:
                raise InvalidInputError(f"{value!r} has a slash")
            return check_path(value)
        except InvalidInputError as error:
            raise self.wrong(f"{name!r} must do as the name of a file: {error}") from error

    def integer(self, name: str) -> int:
        value = self._data.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(f"{name!r} must be a whole number")
        return value

    def optional(self, name: str) -> object:
        return self._data.get(name)

    def files(self) -> dict[str, FileDigest]:
        raw = self._data.get("files")
        if not isinstance(raw, dict) or not raw:
            raise self.wrong("'files' must name the files with sha256 and bytes")
        try:
            check_paths(raw)
            return {
                name: FileDigest(**{key: entry[key] for key in ("sha256", "bytes")})
                for name, entry in raw.items()
            }
        except InvalidInputError as error:
            raise self.wrong(str(error)) from error
        except (TypeError, KeyError) as error:
            raise self.wrong("each of 'files' must have sha256 and bytes") from error


class _Model:
    """A checkpoint folder: ``checkpoint.json`` and the weights that it names."""

    label = "model"
    manifest_name = "checkpoint.json"
    most_bytes = 256 * 2**20
    error: type[InvalidInputError] = CheckpointError

    def newest_schema(self) -> int:
        from wmhub.checkpoint import SCHEMA_VERSION

        return SCHEMA_VERSION

    def parse(self, content: bytes, where: str) -> ArtifactManifest:
        fields = _Fields(content, where, self.error)
        metrics = fields.optional("metrics")
        scores = metrics if isinstance(metrics, dict) else {}
        headline = ", ".join(
            f"{label} {scores[key]:.3f}"
            for key, label in (("top1", "top-1"), ("top5", "top-5"))
            if isinstance(scores.get(key), float)
        )
        return _manifest(self, fields, content, headline)

    def verify(self, folder: Path, within: Path | None = None) -> ArtifactManifest:
        return _verify_files(self, folder, within)


class _Dataset:
    """A dataset folder: ``manifest.json``, written last, and the Parquet files that it names."""

    label = "dataset"
    manifest_name = "manifest.json"
    most_bytes = 64 * 2**30
    error: type[InvalidInputError] = DatasetError

    def newest_schema(self) -> int:
        from wmhub.dataset.schema import SCHEMA_VERSION

        return SCHEMA_VERSION

    def parse(self, content: bytes, where: str) -> ArtifactManifest:
        fields = _Fields(content, where, self.error)
        counts = fields.optional("counts")
        headline = ", ".join(
            f"{counts[key]:,} {key}"
            for key in ("records", "workloads")
            if isinstance(counts, dict) and isinstance(counts.get(key), int)
        )
        return _manifest(self, fields, content, headline)

    def verify(self, folder: Path, within: Path | None = None) -> ArtifactManifest:
        from wmhub.dataset.verify import require_verified

        manifest = read_manifest(self, folder, within)
        for name in manifest.files:
            open_inside(folder, name, within)
        require_verified(folder)
        return manifest


MODEL: ArtifactKind = _Model()
DATASET: ArtifactKind = _Dataset()


def _manifest(
    kind: ArtifactKind, fields: _Fields, content: bytes, headline: str
) -> ArtifactManifest:
    schema_version = fields.integer("schema_version")
    # The newest is asked for where it matters only: to know a model's, torch is loaded.
    if schema_version > _FIRST_SCHEMA and schema_version > (newest := kind.newest_schema()):
        raise SchemaVersionError(
            f"{fields.where}: schema version {schema_version} is newer than the {newest} "
            "that this wmhub reads: pip install --upgrade wmhub"
        )
    licence = fields.optional("licence")
    files = fields.files()
    manifest_file = FileDigest(hashlib.sha256(content).hexdigest(), len(content))
    hardware = fields.optional("hardware")
    keys = hardware if isinstance(hardware, list) else [hardware]
    if not 0 < len(keys) <= _MOST_HARDWARE:
        raise fields.wrong(f"hardware must be 1 to {_MOST_HARDWARE} keys")
    try:
        return ArtifactManifest(
            name=fields.file_name("name"),
            version=Version.parse(fields.text("version")),
            schema_version=schema_version,
            hardware=tuple(HardwareKey.parse(str(key)) for key in keys),
            files=files,
            digest=tree_digest({**files, "": manifest_file}),
            manifest_file=manifest_file,
            licence=licence if isinstance(licence, str) else None,
            headline=headline,
        )
    except InvalidNameError as error:
        raise fields.wrong(str(error)) from error


def read_manifest(kind: ArtifactKind, folder: Path, within: Path | None = None) -> ArtifactManifest:
    """Reads the manifest of ``folder`` alone; raises ``MissingInputError`` where there is none."""
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: there is no such folder")
    if not (folder / kind.manifest_name).exists():
        raise MissingInputError(
            f"{folder}: no {kind.manifest_name}, so this is no {kind.label} of wmhub"
        )
    path = open_inside(folder, kind.manifest_name, within)
    return kind.parse(read_bounded(path), str(folder / kind.manifest_name))


def _verify_files(kind: ArtifactKind, folder: Path, within: Path | None) -> ArtifactManifest:
    manifest = read_manifest(kind, folder, within)
    try:
        verify_files(folder, manifest.files, within)
    except InvalidInputError as error:
        raise kind.error(str(error)) from error
    return manifest
