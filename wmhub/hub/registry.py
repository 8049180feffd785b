"""The registry of short names: what a bare name means in this release of wmhub."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.names import HardwareKey

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Where the package has it.
REGISTRY_PATH = Path(str(resources.files("wmhub.hub"))) / "registry.toml"


@dataclass(frozen=True)
class RegistryEntry:
    """What one short name stands for."""

    repository: str
    """``org/name`` on the Hugging Face Hub."""
    tag: str
    """Version that this release of wmhub was tested with."""
    commit: str | None
    """Commit that the tag must resolve to; ``None`` until it is on the Hub."""
    digest: str
    """``ArtifactManifest.digest``: covers the weights, every other file and the manifest."""
    manifest: str
    """SHA-256 of the manifest alone: what a checkpoint pins of a dataset."""
    schema_version: int
    """Schema of the artifact."""
    hardware: HardwareKey
    """Hardware that it was measured on or trained for."""


@dataclass(frozen=True)
class Registry:
    """The short names of models and of datasets."""

    organisation: str
    """Owner of our repositories on the Hub."""
    models: Mapping[str, RegistryEntry]
    datasets: Mapping[str, RegistryEntry]

    def entries(self, label: str) -> Mapping[str, RegistryEntry]:
        """The names of one kind, ``model`` or ``dataset``."""
        return self.models if label == "model" else self.datasets


def load_registry() -> Registry:
    """The registry of the package."""
    return parse_registry(REGISTRY_PATH.read_text(encoding="utf-8"), str(REGISTRY_PATH))


def parse_registry(text: str, where: str) -> Registry:
    """Parses a registry strictly; raises ``InvalidInputError``."""
    try:
        data = tomllib.loads(text)
        if data["schema_version"] != 1:
            raise InvalidInputError.at(where, "schema_version must be 1")
        return Registry(
            organisation=data["organisation"],
            models=_entries(data["models"]),
            datasets=_entries(data["datasets"]),
        )
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError.at(where, f"is no registry: {error!r}") from error


def _entries(table: Mapping[str, Mapping[str, Any]]) -> dict[str, RegistryEntry]:
    return {
        name: RegistryEntry(
            **{**row, "commit": row.get("commit"), "hardware": HardwareKey.parse(row["hardware"])}
        )
        for name, row in table.items()
    }
