"""From a name to a verified folder on this machine, or the reason why not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wmhub.errors import InvalidInputError, InvalidNameError, UnknownNameError, nearest
from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind, Manifest
from wmhub.hub.embedded import EmbeddedHub
from wmhub.hub.known_tags import KnownTags
from wmhub.hub.nearest import nearest_model
from wmhub.hub.obtain import obtain
from wmhub.hub.place import Hub, Repository
from wmhub.hub.registry import RegistryEntry, load_registry
from wmhub.hub.settings import open_hub, organisation_override
from wmhub.hub.version import newest_tag
from wmhub.names import DatasetId, HardwareKey, ModelId


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
    manifest: Manifest
    """What its manifest says."""


@dataclass(frozen=True)
class Pin:
    """What a name must turn out to be."""

    repository: Repository
    revision: str
    """Tag to look up."""
    commit: str | None
    """Commit that the tag must be; ``None`` where it is not known yet."""
    digest: str
    """``Manifest.digest`` that it must have."""
    pinned_by: str
    """Who says so, for people."""


def resolve_model(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    hub: str | None = None,
) -> Resolved:
    """The verified checkpoint that a name or a path means.

    A path is a ``Path``, ``local-dir:PATH``, or a text that begins with ``./``, ``../``, ``/`` or
    ``~``; every other text is a name, whatever the working directory holds. ``revision`` is the
    same as ``@revision`` in the name. ``hub`` names the one place to look at, as ``WMHUB_HUB``
    does. Raises ``UnknownNameError`` with the nearest names and the nearest hardware,
    ``CheckpointError`` or ``InvalidInputError`` for content that is not as it must be, and
    ``HubError``.
    """
    identity = _identity(ModelId, name_or_path, revision)
    return _resolve(MODEL, identity, offline, hub)


def resolve_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    hub: str | None = None,
) -> Resolved:
    """The verified dataset that a name or a path means; as ``resolve_model``."""
    identity = _identity(DatasetId, name_or_path, revision)
    return _resolve(DATASET, identity, offline, hub)


def _identity(
    type_: type[ModelId] | type[DatasetId],
    name_or_path: str | os.PathLike[str],
    revision: str | None,
) -> ModelId | DatasetId:
    text = os.fspath(name_or_path)
    is_path = not isinstance(name_or_path, str) or text.startswith(("./", "../", "/", "~"))
    if is_path or text in (".", ".."):
        identity = type_(name=str(Path(text).expanduser()), place="local-dir")
    else:
        identity = type_.parse(text)
    if revision is None:
        return identity
    if identity.revision is not None:
        raise InvalidNameError(f"{text[:120]!r} names a revision already; leave one of them out")
    return type_(identity.name, identity.org, revision, identity.place)


def _resolve(
    kind: ArtifactKind, identity: ModelId | DatasetId, offline: bool | None, hub: str | None
) -> Resolved:
    if identity.place == "local-dir":
        folder = Path(identity.name).expanduser()
        return Resolved(kind, "local-dir", None, None, None, folder, kind.verify(folder))
    embedded = _embedded_names(kind)
    organisation = organisation_override() or load_registry().organisation
    repository = Repository(identity.org or organisation, identity.name)
    pin = _registry_pin(kind, repository) if identity.place is None else None
    if hub is None and identity.place is None and repository in embedded:
        held = EmbeddedHub(repository.org)
        if identity.revision is None or identity.revision in (
            *held.tags(kind, repository).keys(),
            *held.tags(kind, repository).values(),
        ):
            return _obtain(held, kind, repository, identity.revision, pin)
    is_known = pin is not None or identity.org is not None
    if (
        not is_known
        and hub is None
        and not os.environ.get("WMHUB_HUB")
        and not organisation_override()
    ):
        raise _unknown(kind, identity)
    place = open_hub("hf-hub" if identity.place == "hf-hub" else hub, offline=offline)
    try:
        return _obtain(place, kind, repository, identity.revision, pin)
    except UnknownNameError as error:
        raise _unknown(kind, identity, str(error)) from error


def _registry_pin(kind: ArtifactKind, repository: Repository) -> Pin | None:
    for entry in load_registry().entries(kind.label).values():
        if entry.repository == str(repository):
            return _pin(entry)
    return None


def _pin(entry: RegistryEntry) -> Pin:
    repository = Repository(*entry.repository.split("/"))
    return Pin(repository, entry.tag, entry.commit, entry.digest, "the registry of this wmhub")


def _embedded_names(kind: ArtifactKind) -> set[Repository]:
    return set(EmbeddedHub(load_registry().organisation).repositories(kind))


def _obtain(
    hub: Hub, kind: ArtifactKind, repository: Repository, revision: str | None, pin: Pin | None
) -> Resolved:
    """Resolves at one place; a pin holds unless another revision is asked for."""
    if pin is not None and revision not in (None, pin.revision):
        pin = None
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
    return Resolved(kind, hub.label, repository, wanted, commit, snapshot.folder, manifest)


def known_hardware(kind: ArtifactKind) -> Mapping[str, HardwareKey]:
    """Every short name that this release knows, with its hardware (the first, for several)."""
    entries = load_registry().entries(kind.label)
    found = {name: entry.hardware for name, entry in entries.items()}
    held = EmbeddedHub(load_registry().organisation)
    for repository in held.repositories(kind):
        manifest = held.manifest(kind, repository)
        found.setdefault(repository.name, manifest.hardware[0])
    return found


def _unknown(
    kind: ArtifactKind, identity: ModelId | DatasetId, reason: str = ""
) -> UnknownNameError:
    """The error that lists the nearest names and what fits the hardware that it names."""
    known = known_hardware(kind)
    lines = [reason or f"{kind.label} {str(identity)[:120]!r} is unknown"]
    close = nearest(identity.name, known)
    if close:
        lines.append(f"Nearest names: {', '.join(close)}.")
    try:
        hardware = HardwareKey.parse(identity.name[3:] if kind is MODEL else identity.name)
    except InvalidNameError:
        hardware = None
    if hardware is not None and known:
        choice = nearest_model(hardware, known)
        lines.append(f"For {hardware} there is:" if choice.name else f"Nothing fits {hardware}:")
        lines += [
            f"  {name}: {why}" + ("" if name == choice.name else "; not nearest")
            for name, why in choice.reasons.items()
        ]
        lines.append("None was taken in its place: name the one that you want.")
    else:
        lines.append(
            f"`wmhub {kind.label}s` lists what there is; org/name is looked up on the hub."
        )
    return UnknownNameError("\n".join(lines))
