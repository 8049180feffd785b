"""The checkpoints inside this package: what works from the first minute, without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from wmhub.errors import UnknownNameError
from wmhub.hub.artifact import ArtifactKind, ArtifactManifest, read_manifest
from wmhub.hub.place import ReadOnlyHub, Repository, Snapshot, StoredFile, stored_files

#: Where the package has them.
EMBEDDED_PATH = Path(str(resources.files("wmhub.hub"))) / "embedded-models"


class EmbeddedHub(ReadOnlyHub):
    """One folder for each model; the manifest's digest is its commit, its version the only tag."""

    label = "embedded"

    def __init__(self, organisation: str, root: Path | None = None) -> None:
        self._organisation = organisation
        self._root = root or EMBEDDED_PATH
        self.location = str(self._root)

    def repositories(self, kind: ArtifactKind) -> list[Repository]:
        """Every folder that has a manifest of ``kind``."""
        found = self._root.glob(f"*/{kind.manifest_name}")
        return sorted(Repository(self._organisation, path.parent.name) for path in found)

    def tags(self, kind: ArtifactKind, repository: Repository) -> Mapping[str, str]:
        """The one version that the package holds."""
        manifest = self.manifest(kind, repository)
        return {manifest.version.tag: manifest.digest}

    def resolve(self, kind: ArtifactKind, repository: Repository, revision: str) -> str:
        """The digest, if ``revision`` is the tag or the digest."""
        manifest = self.manifest(kind, repository)
        if revision not in (manifest.version.tag, manifest.digest):
            raise UnknownNameError(
                f"{kind.label} {repository}: the package holds {manifest.version.tag}, not "
                f"{revision[:80]!r}"
            )
        return manifest.digest

    def files(
        self, kind: ArtifactKind, repository: Repository, commit: str
    ) -> Mapping[str, StoredFile]:
        """What lies in the folder."""
        return stored_files(self._folder(kind, repository))

    def fetch(
        self, kind: ArtifactKind, repository: Repository, commit: str, names: Sequence[str]
    ) -> Snapshot:
        """The folder itself."""
        folder = self._folder(kind, repository)
        return Snapshot(folder, folder)

    def manifest(self, kind: ArtifactKind, repository: Repository) -> ArtifactManifest:
        """What the folder's manifest says."""
        return read_manifest(kind, self._folder(kind, repository))

    def _folder(self, kind: ArtifactKind, repository: Repository) -> Path:
        folder = self._root / repository.name
        if repository.org != self._organisation or not (folder / kind.manifest_name).is_file():
            raise UnknownNameError(f"{kind.label} {repository} is not embedded in this package")
        return folder
