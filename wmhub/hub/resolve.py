"""From a name to a verified folder on this machine, or the reason why not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wmhub.errors import HubError, InvalidInputError, InvalidNameError, UnknownNameError
from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind, ArtifactManifest
from wmhub.hub.embedded import EmbeddedHub
from wmhub.hub.known_tags import KnownTags
from wmhub.hub.lockfile import LockEntry, lock_path, read_lock
from wmhub.hub.obtain import obtain
from wmhub.hub.place import Hub, Repository
from wmhub.hub.registry import load_registry
from wmhub.hub.settings import has_hub, is_offline, open_hub, organisation_override
from wmhub.hub.tags import newest_tag
from wmhub.hub.unknown import unknown_name
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
    revision: str | None
    """Its tag, or the revision that was asked for; ``None`` for a local folder."""
    commit: str | None
    """What the revision is at its place; ``None`` for a local folder."""
    folder: Path
    """The verified files."""
    manifest: ArtifactManifest
    """What its manifest says."""


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
    same as ``@revision`` in the name. ``locked`` is the lock that must name it (``True`` is
    ``wmhub.lock`` here). ``hub`` names the one place to look at, as ``WMHUB_HUB`` does. Raises
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
    if revision is None:
        return identity
    if identity.revision is not None:
        raise InvalidNameError(f"{text[:120]!r} names a revision already; leave one of them out")
    return type_(identity.name, identity.org, revision, identity.place)


def _resolve(
    kind: ArtifactKind,
    identity: ModelId | DatasetId,
    offline: bool | None,
    locked: Locked,
    hub: str | None,
) -> Resolved:
    if identity.place == "local-dir":
        folder = Path(identity.name).expanduser()
        if locked:
            raise InvalidInputError(f"{folder}: a folder is in no lock; leave out --locked")
        return Resolved(kind, "local-dir", None, None, None, folder, kind.verify(folder))
    if locked:
        return _resolve_locked(kind, identity, offline, lock_path(locked), hub)
    registry = load_registry()
    is_bare = identity.org is None
    repository = Repository(
        identity.org or organisation_override() or registry.organisation, identity.name
    )
    if identity.place == "hf-hub":
        return _obtain(open_hub("hf-hub", offline=offline), kind, repository, identity.revision)
    pin = _registry_pin(kind, repository)
    if pin is not None and identity.revision not in (None, pin.revision):
        pin = None
    held = _embedded(kind, repository, identity.revision) if hub is None else None
    if held is not None:
        return _obtain(held, kind, repository, identity.revision, pin)
    if is_bare and pin is None and hub is None and not has_hub() and not organisation_override():
        # A bare name is ours and listed in this release: no server is asked what it might be.
        raise unknown_name(kind, identity)
    try:
        return _obtain(open_hub(hub, offline=offline), kind, repository, identity.revision, pin)
    except UnknownNameError as error:
        raise unknown_name(kind, identity, str(error)) from error


def _resolve_locked(
    kind: ArtifactKind,
    identity: ModelId | DatasetId,
    offline: bool | None,
    path: Path,
    hub: str | None,
) -> Resolved:
    """What the lock says, from wherever it can be had: only the digest decides."""
    name = str(type(identity)(identity.name, identity.org, None, identity.place))
    entry = read_lock(path).entry(kind.label, name, path)
    if identity.revision not in (None, entry.revision, entry.commit):
        raise InvalidInputError(
            f"{kind.label} {name} is locked to {entry.revision} by {path}, not {identity.revision}"
        )
    pin = Pin(entry.revision, None, entry.digest, str(path))
    held = _embedded(kind, entry.repository, entry.digest) if hub is None else None
    if held is not None:
        return _obtain(held, kind, entry.repository, entry.digest, pin, entry.revision)
    return _obtain_locked(kind, entry, pin, offline, hub)


def _obtain_locked(
    kind: ArtifactKind, entry: LockEntry, pin: Pin, offline: bool | None, hub: str | None
) -> Resolved:
    spec = hub or ("hf-hub" if entry.place == "hf-hub" else None)
    wanted = entry.revision if entry.place == "embedded" else entry.commit
    place = open_hub(spec, offline=offline)
    if place.label == "hf-hub" and not is_offline(offline) and entry.place == "hf-hub":
        try:
            # A commit never changes: if the cache has it, no server needs to be asked.
            cached = open_hub(spec, offline=True)
            return _obtain(cached, kind, entry.repository, wanted, pin, entry.revision)
        except (HubError, UnknownNameError, InvalidInputError):
            pass
    return _obtain(place, kind, entry.repository, wanted, pin, entry.revision)


def _registry_pin(kind: ArtifactKind, repository: Repository) -> Pin | None:
    for entry in load_registry().entries(kind.label).values():
        if entry.repository == str(repository):
            return Pin(entry.tag, entry.commit, entry.digest, "the registry of this wmhub")
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


def _obtain(
    hub: Hub,
    kind: ArtifactKind,
    repository: Repository,
    revision: str | None,
    pin: Pin | None = None,
    name_of_revision: str | None = None,
) -> Resolved:
    """Resolves at one place and verifies against the pin."""
    wanted = revision or (pin.revision if pin else newest_tag(hub.tags(kind, repository)))
    if wanted is None:
        raise InvalidInputError(
            f"{kind.label} {repository} on {hub.location} has no version tag such as v1.0.0; name "
            "a commit with @ to load it all the same"
        )
    commit = hub.resolve(kind, repository, wanted)
    if pin and pin.commit and hub.label == "hf-hub" and commit != pin.commit:
        raise InvalidInputError(
            f"{kind.label} {repository}: the tag {wanted} is commit {commit[:12]} on "
            f"{hub.location}, but {pin.pinned_by} pins {pin.commit[:12]}: the tag was moved"
        )
    if hub.label != "embedded":
        KnownTags(hub.location).remember(kind.label, repository, wanted, commit)
    snapshot, manifest = obtain(
        hub,
        kind,
        repository,
        commit,
        digest=pin.digest if pin else None,
        pinned_by=pin.pinned_by if pin else "",
    )
    shown = name_of_revision or wanted
    return Resolved(kind, hub.label, repository, shown, commit, snapshot.folder, manifest)
