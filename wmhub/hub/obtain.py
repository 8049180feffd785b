"""Fetches one version from a place and checks every byte of it before anything believes it."""

from __future__ import annotations

from dataclasses import replace

from wmhub.errors import InvalidInputError, MissingInputError
from wmhub.hub.artifact import CARD_NAME, ArtifactKind, ArtifactManifest, read_manifest
from wmhub.hub.integrity import MOST_MANIFEST_BYTES, check_path, digest_file
from wmhub.hub.place import Hub, Repository, Snapshot

#: Longest card that is fetched, in bytes; a longer one is left where it is.
_MOST_CARD_BYTES = 2 * 2**20


def obtain_manifest(
    hub: Hub, kind: ArtifactKind, repository: Repository, commit: str, under: str = ""
) -> tuple[Snapshot, ArtifactManifest]:
    """Fetches the manifest alone, after its length is known to be bounded."""
    name = _inside(under, kind.manifest_name)
    stored = hub.files(kind, repository, commit).get(name)
    if stored is None:
        raise hub.not_here(kind, repository, name) or kind.error(
            f"{kind.label} {repository} at {commit[:12]} on {hub.location}: it has no {name}, so "
            f"this is no {kind.label} of wmhub"
        )
    if stored.bytes > MOST_MANIFEST_BYTES:
        raise kind.error(
            f"{kind.label} {repository}: {name} has {stored.bytes} bytes, more than "
            f"{MOST_MANIFEST_BYTES}; it was not fetched"
        )
    snapshot = _below(hub.fetch(kind, repository, commit, [name]), under)
    return snapshot, read_manifest(kind, snapshot.folder, snapshot.within)


def obtain(
    hub: Hub,
    kind: ArtifactKind,
    repository: Repository,
    commit: str,
    *,
    under: str = "",
    digest: str | None = None,
    pinned_by: str = "",
) -> tuple[Snapshot, ArtifactManifest]:
    """Fetches ``commit`` and verifies it: form, lengths before content, then every digest.

    ``under`` is the folder of the repository that holds the artifact; ``digest`` what
    ``ArtifactManifest.digest`` must be, by the word of ``pinned_by``. Only the files that the
    manifest names, and the card, are fetched.
    """
    snapshot, manifest = obtain_manifest(hub, kind, repository, commit, under)
    where = f"{kind.label} {repository} at {commit[:12]} on {hub.location}"
    if digest is not None and manifest.digest != digest:
        raise kind.error(
            f"{where}: its content is not what {pinned_by} pins (digest {manifest.digest[:12]}… "
            f"instead of {digest[:12]}…); it was not loaded"
        )
    if manifest.bytes > kind.most_bytes:
        raise kind.error(
            f"{where}: {manifest.bytes} bytes are more than a {kind.label} may have "
            f"({kind.most_bytes}); it was not fetched"
        )
    present = hub.files(kind, repository, commit)
    for name, file in manifest.files.items():
        stored = present.get(_inside(under, name))
        if stored is None:
            raise hub.not_here(kind, repository, name) or kind.error(
                f"{where}: {name} is in the manifest but not there"
            )
        if stored.bytes != file.bytes:
            raise kind.error(
                f"{where}: {name} has {stored.bytes} bytes, but its manifest says {file.bytes}; it "
                f"was not fetched; {_remedy(hub, snapshot, manifest)}"
            )
    names = [kind.manifest_name, *manifest.files]
    card = present.get(_inside(under, CARD_NAME))
    if card is not None and card.bytes <= _MOST_CARD_BYTES:
        names.append(CARD_NAME)
    wanted = sorted({_inside(under, name) for name in names})
    snapshot = _below(hub.fetch(kind, repository, commit, wanted), under)
    try:
        return snapshot, kind.verify(snapshot.folder, snapshot.within)
    except (InvalidInputError, MissingInputError) as error:
        raise type(error)(
            f"{error}\nIt came from {where}. Nothing was loaded; "
            f"{_remedy(hub, snapshot, manifest)}."
        ) from error


def _remedy(hub: Hub, snapshot: Snapshot, manifest: ArtifactManifest) -> str:
    """What helps against content that is not as its manifest says: never to delete a hub."""
    if hub.label == "embedded":
        return "install wmhub again: pip install --force-reinstall wmhub"
    if hub.label == "folder":
        return "that hub itself holds it so: tell who keeps it, or load another version"
    # The client's snapshots are links: what is damaged, and stays, is the content behind them.
    blobs = {(snapshot.folder / name).resolve(): file for name, file in manifest.files.items()}
    damaged = [
        str(path)
        for path, file in blobs.items()
        if path.is_relative_to(snapshot.within.resolve())
        and path.is_file()
        and digest_file(path) != file
    ]
    if not damaged:
        return "it was published so: tell its owner, or load another version"
    return f"delete {' and '.join(damaged)} to fetch it anew"


def _inside(under: str, name: str) -> str:
    return f"{check_path(under)}/{name}" if under else name


def _below(snapshot: Snapshot, under: str) -> Snapshot:
    return replace(snapshot, folder=snapshot.folder / under) if under else snapshot
