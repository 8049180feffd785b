"""From a name to a verified folder on this machine, or the reason why not."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from wmhub.dataset.version import Version
from wmhub.errors import (
    HubError,
    InvalidInputError,
    InvalidNameError,
    MissingInputError,
    UnknownNameError,
    WmhubError,
)
from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind, ArtifactManifest
from wmhub.hub.embedded import EmbeddedHub
from wmhub.hub.known_tags import KnownTags
from wmhub.hub.lockfile import lock_path, read_lock
from wmhub.hub.obtain import obtain
from wmhub.hub.place import Hub, Repository
from wmhub.hub.registry import load_registry
from wmhub.hub.settings import expanded, has_hub, is_offline, open_hub, organisation_override
from wmhub.hub.tags import newest_tag
from wmhub.hub.unknown import not_there_yet, unknown_name
from wmhub.names import DatasetId, ModelId

Locked = bool | str | os.PathLike[str] | None


@dataclass(frozen=True)
class Resolved:
    """A verified artifact on this machine."""

    kind: ArtifactKind
    """``MODEL`` or ``DATASET``."""
    place: str
    """``local-dir``, ``embedded``, ``folder`` or ``hf-hub``."""
    repository: Repository | None
    """Where it was published; ``None`` for a local folder."""
    under: str
    """Folder of the repository that holds it; empty for the whole."""
    revision: str | None
    """Its tag, or the revision that was asked for; ``None`` for a local folder."""
    commit: str | None
    """What the revision is at its place; ``None`` for a local folder."""
    folder: Path
    """The verified files."""
    manifest: ArtifactManifest
    """What its manifest says."""


@dataclass(frozen=True)
class _Wanted:
    kind: ArtifactKind
    repository: Repository
    under: str
    revision: str | None


@dataclass(frozen=True)
class Pin:
    """What a name must turn out to be."""

    revision: str
    """Tag to look up."""
    commit: str | None
    """Commit that the tag must be on the Hugging Face Hub; ``None`` where it is not known yet."""
    digest: str
    """``ArtifactManifest.digest`` that it must have."""
    pinned_by: str
    """Who says so, for people."""


def resolve_model(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    locked: Locked = None,
    hub: str | None = None,
) -> Resolved:
    """The verified checkpoint that a name or a path means.

    A path is a ``Path``, ``local-dir:PATH``, or a text that begins with ``./``, ``../``, ``/`` or
    ``~``; every other text is a name, whatever the working directory holds. ``revision`` is the
    same as ``@revision`` in the name, with or without the ``v`` of a version. ``locked`` is the
    lock that must name it (``True`` is ``wmhub.lock`` here). ``hub`` names the one place to look
    at, so that nothing of the package answers; a name that tells its place goes there. Raises
    ``UnknownNameError`` with the nearest names and the nearest hardware, ``CheckpointError`` for
    content that is not as it must be, and ``HubError``.
    """
    return _resolve(MODEL, _identity(ModelId, name_or_path, revision), offline, locked, hub)


def resolve_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    locked: Locked = None,
    hub: str | None = None,
) -> Resolved:
    """The verified dataset that a name or a path means; as ``resolve_model``."""
    return _resolve(DATASET, _identity(DatasetId, name_or_path, revision), offline, locked, hub)


def dataset_folder(given: str | os.PathLike[str], locked: Locked = None) -> Path:
    """The folder of a dataset that is given as one, or by its bare name where no folder has it;
    with ``locked``, the lock that must name it, a bare name is no folder's.

    Raises ``MissingInputError`` where it is neither, and the errors of ``resolve_dataset``.
    """
    text = os.fspath(given)
    folder = expanded(text)
    # What has a slash is meant as a path; a mistyped one is no server's business. A bare name is
    # the lock's, where there is one, whatever lies here.
    is_path = "/" in text.partition(":")[0] or not isinstance(given, str) or text in (".", "..")
    if is_path or (folder.exists() and not locked):
        return folder
    try:
        return resolve_dataset(text, locked=locked).folder
    except (UnknownNameError, InvalidNameError) as error:
        meant = (
            f"for the folder write ./{text[:120]}" if folder.exists() else "there is no such folder"
        )
        raise MissingInputError(f"{text[:120]}: {meant}; {error}") from error


def _identity(
    type_: type[ModelId] | type[DatasetId],
    name_or_path: str | os.PathLike[str],
    revision: str | None,
) -> ModelId | DatasetId:
    text = os.fspath(name_or_path)
    is_path = not isinstance(name_or_path, str) or text.startswith(("./", "../", "/", "~"))
    if is_path or text in (".", ".."):
        identity = type_(name=text, place="local-dir")
    else:
        identity = type_.parse(text)
    if revision is not None and identity.revision is not None:
        raise InvalidNameError(f"{text[:120]!r} names a revision already; leave one of them out")
    given = identity.revision if revision is None else revision
    return replace(identity, revision=None if given is None else _tagged(given))


def _tagged(revision: str) -> str:
    """The tag of a version, as tables and cards print it, and everything else as it is."""
    try:
        return Version.parse(revision).tag
    except InvalidNameError:
        return revision


def _resolve(
    kind: ArtifactKind,
    identity: ModelId | DatasetId,
    offline: bool | None,
    locked: Locked,
    hub: str | None,
) -> Resolved:
    if identity.place == "local-dir":
        folder = expanded(identity.name)
        if locked:
            raise InvalidInputError(f"{folder}: a folder is in no lock; leave out --locked")
        manifest = kind.verify(folder, _linked_from(folder))
        return Resolved(kind, "local-dir", None, "", None, None, folder, manifest)
    if locked:
        return _resolve_locked(kind, identity, offline, lock_path(locked), hub)
    registry = load_registry()
    is_bare = identity.org is None
    repository = Repository(
        identity.org or organisation_override() or registry.organisation, identity.name
    )
    wanted = _Wanted(kind, repository, identity.folder or "", identity.revision)
    if identity.place == "hf-hub":
        place = open_hub("hf-hub", offline=offline)
        wanted = replace(wanted, revision=wanted.revision or _newest(place, wanted))
        return _obtain(place, wanted, _registry_pin(wanted))
    pin = _registry_pin(wanted)
    held = _embedded(kind, repository, identity.revision) if hub is None else None
    if held is not None:
        return _obtain(held, wanted, pin)
    entry = registry.entries(kind.label).get(identity.name)
    if is_bare and not (entry or hub or has_hub() or organisation_override()):
        # A bare name is ours and listed in this release: no server is asked what it might be.
        raise unknown_name(kind, identity)
    place = open_hub(hub, offline=offline)
    try:
        return _obtain(place, wanted, pin)
    except UnknownNameError as error:
        if _is_there(place, wanted):
            raise  # Only the revision is unknown: other names would be no answer to that.
        if entry is not None and entry.repository == str(repository):
            raise not_there_yet(kind, identity.name, entry, str(error)) from error
        others = _others(place, kind, repository)
        raise unknown_name(kind, identity, str(error), others) from error


def loaded_tag(kind: ArtifactKind, repository: Repository, hub: str | None) -> str | None:
    """The version that a name without one loads; ``None`` for the newest at the place."""
    pin = _registry_pin(_Wanted(kind, repository, "", None))
    if pin is not None:
        return pin.revision
    held = _embedded(kind, repository, None) if hub is None else None
    return newest_tag(held.tags(kind, repository)) if held is not None else None


def _is_there(place: Hub, wanted: _Wanted) -> bool:
    """Whether ``place`` has the repository."""
    try:
        place.tags(wanted.kind, wanted.repository)
    except (UnknownNameError, HubError):
        return False
    return True


def _others(place: Hub, kind: ArtifactKind, repository: Repository) -> list[str]:
    """What else ``place`` has, for the nearest names; nothing where it does not tell."""
    try:
        return [str(other) for other in place.repositories(kind) if other != repository]
    except WmhubError:
        return []


def _linked_from(folder: Path) -> Path | None:
    """Where the links of a snapshot in the Hugging Face cache lead, as ``hf download`` gives it."""
    real = folder.resolve()
    is_snapshot = real.parent.name == "snapshots" and (real.parents[1] / "blobs").is_dir()
    return real.parents[1] if is_snapshot else None


def _resolve_locked(
    kind: ArtifactKind,
    identity: ModelId | DatasetId,
    offline: bool | None,
    path: Path,
    hub: str | None,
) -> Resolved:
    """What the lock says, from wherever it can be had: only the digest decides."""
    name = str(replace(identity, revision=None))
    entry = read_lock(path).entry(kind.label, name, path)
    if identity.revision not in (None, entry.revision, entry.commit):
        raise InvalidInputError(
            f"{kind.label} {name} is locked to {entry.revision} by {path}, not {identity.revision}"
        )
    pin = Pin(entry.revision, None, entry.digest, str(path))
    tag = _Wanted(kind, entry.repository, entry.folder, entry.revision)
    held = _embedded(kind, entry.repository, entry.digest) if hub is None else None
    if held is not None:
        return _obtain(held, tag, pin)
    if entry.place == "folder" and not (hub or has_hub()):
        raise InvalidInputError(
            f"{kind.label} {name} was locked in a folder hub, and {path} does not say where that "
            "is: set WMHUB_HUB=folder:PATH"
        )
    place = open_hub(hub, offline=offline)
    if place.label == entry.place:
        exact = replace(tag, revision=entry.commit)
        if place.label == "hf-hub" and not is_offline(offline):
            # A commit never changes: if the cache has it, no server needs to be asked.
            with contextlib.suppress(HubError, UnknownNameError, InvalidInputError):
                cached = _obtain(open_hub(hub, offline=True), exact, pin)
                return replace(cached, revision=tag.revision)
        # Another hub of the same kind may have the content by another commit.
        with contextlib.suppress(UnknownNameError):
            return replace(_obtain(place, exact, pin), revision=tag.revision)
    return _obtain(place, tag, pin)


def _registry_pin(wanted: _Wanted) -> Pin | None:
    """What the registry says of that version; it says nothing of others."""
    for entry in load_registry().entries(wanted.kind.label).values():
        if entry.repository == str(wanted.repository) and not wanted.under:
            pin = Pin(entry.tag, entry.commit, entry.digest, "the registry of this wmhub")
            return pin if wanted.revision in (None, pin.revision) else None
    return None


def _embedded(
    kind: ArtifactKind, repository: Repository, revision: str | None
) -> EmbeddedHub | None:
    """The package, if it holds that version of ``repository``."""
    held = EmbeddedHub(load_registry().organisation)
    if repository not in held.repositories(kind):
        return None
    versions = held.tags(kind, repository)
    return held if revision is None or revision in {*versions, *versions.values()} else None


def _newest(hub: Hub, wanted: _Wanted) -> str:
    newest = newest_tag(hub.tags(wanted.kind, wanted.repository))
    if newest is None:
        raise InvalidInputError(
            f"{wanted.kind.label} {wanted.repository} on {hub.location} has no version tag such as "
            "v1.0.0; name a commit with @ to load it all the same"
        )
    return newest


def _obtain(hub: Hub, wanted: _Wanted, pin: Pin | None = None) -> Resolved:
    """Resolves at one place and verifies against the pin."""
    kind, repository = wanted.kind, wanted.repository
    revision = wanted.revision or (pin.revision if pin else None)
    revision = revision or _newest(hub, wanted)
    commit = hub.resolve(kind, repository, revision)
    if pin and pin.commit and hub.label == "hf-hub" and commit != pin.commit:
        raise InvalidInputError(
            f"{kind.label} {repository}: the tag {revision} is commit {commit[:12]} on "
            f"{hub.location}, but {pin.pinned_by} pins {pin.commit[:12]}: the tag was moved"
        )
    known = KnownTags(hub.location) if hub.label != "embedded" else None
    if known is not None:
        known.compare(kind.label, repository, revision, commit)
    snapshot, manifest = obtain(
        hub,
        kind,
        repository,
        commit,
        under=wanted.under,
        digest=pin.digest if pin else None,
        pinned_by=pin.pinned_by if pin else "",
    )
    if known is not None:
        # Only now: what was refused must not be what a later, right answer is measured by.
        known.remember(kind.label, repository, revision, commit)
    return Resolved(
        kind=kind,
        place=hub.label,
        repository=repository,
        under=wanted.under,
        revision=revision,
        commit=commit,
        folder=snapshot.folder,
        manifest=manifest,
    )
