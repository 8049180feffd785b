"""Fetches one version from a place and checks every byte of it before anything believes it."""

from __future__ import annotations

from wmhub.errors import InvalidInputError, MissingInputError
from wmhub.hub.artifact import CARD_NAME, ArtifactKind, Manifest, read_manifest
from wmhub.hub.integrity import MOST_MANIFEST_BYTES, verify_files
from wmhub.hub.place import Hub, Repository, Snapshot

#: Longest card that is fetched, in bytes; a longer one is left where it is.
_MOST_CARD_BYTES = 2 * 2**20


def obtain_manifest(
    hub: Hub, kind: ArtifactKind, repository: Repository, commit: str
) -> tuple[Snapshot, Manifest]:
    """Fetches the manifest alone, after its length is known to be bounded."""
    length = hub.files(kind, repository, commit).get(kind.manifest_name)
    if length is None:
        raise InvalidInputError(
            f"{kind.label} {repository} at {commit[:12]} on {hub.location}: it has no "
            f"{kind.manifest_name}, so this is no {kind.label} of wmhub"
        )
    if length > MOST_MANIFEST_BYTES:
        raise InvalidInputError(
            f"{kind.label} {repository}: {kind.manifest_name} has {length} bytes, more than "
            f"{MOST_MANIFEST_BYTES}; it was not fetched"
        )
    snapshot = hub.fetch(kind, repository, commit, [kind.manifest_name])
    return snapshot, read_manifest(kind, snapshot.folder, snapshot.within)


def obtain(
    hub: Hub,
    kind: ArtifactKind,
    repository: Repository,
    commit: str,
    *,
    digest: str | None = None,
    pinned_by: str = "",
) -> tuple[Snapshot, Manifest]:
    """Fetches ``commit`` and verifies it: form, lengths before content, then every digest.

    ``digest`` is what ``Manifest.digest`` must be, by the word of ``pinned_by``. Only the files
    that the manifest names, and the card, are fetched.
    """
    _, manifest = obtain_manifest(hub, kind, repository, commit)
    where = f"{kind.label} {repository} at {commit[:12]} on {hub.location}"
    if digest is not None and manifest.digest != digest:
        raise InvalidInputError(
            f"{where}: its content is not what {pinned_by} pins (digest {manifest.digest[:12]}… "
            f"instead of {digest[:12]}…); it was not loaded"
        )
    if manifest.bytes > kind.most_bytes:
        raise InvalidInputError(
            f"{where}: {manifest.bytes} bytes are more than a {kind.label} may have "
            f"({kind.most_bytes}); it was not fetched"
        )
    present = hub.files(kind, repository, commit)
    for name, file in manifest.files.items():
        if name not in present:
            raise MissingInputError(f"{where}: {name} is in the manifest but not there")
        if present[name] != file.bytes:
            raise InvalidInputError(
                f"{where}: {name} has {present[name]} bytes, but its manifest says {file.bytes}; "
                "it was not fetched"
            )
    names = [kind.manifest_name, *manifest.files]
    if present.get(CARD_NAME, _MOST_CARD_BYTES + 1) <= _MOST_CARD_BYTES:
        names.append(CARD_NAME)
    snapshot = hub.fetch(kind, repository, commit, names)
    verify_files(snapshot.folder, manifest.files, snapshot.within)
    return snapshot, manifest
