"""What models and datasets there are: in the package, in the cache, on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wmhub.dataset.version import Version
from wmhub.errors import HubError, UnknownNameError, WmhubError
from wmhub.hardware.probe import probe
from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind, ArtifactManifest
from wmhub.hub.community import members
from wmhub.hub.embedded import EmbeddedHub
from wmhub.hub.nearest import nearest_model
from wmhub.hub.obtain import obtain_manifest
from wmhub.hub.place import Hub, Repository
from wmhub.hub.registry import load_registry
from wmhub.hub.settings import is_offline, open_hub
from wmhub.hub.tags import newest_tag
from wmhub.names import HardwareKey


@dataclass(frozen=True)
class Listed:
    """One model or dataset that there is."""

    name: str
    """What to call it by: a short name, or ``org/name``."""
    places: tuple[str, ...]
    """Where its newest version is: ``embedded``, ``cached``, ``hf-hub``, ``folder``."""
    version: Version
    """Newest content version."""
    hardware: tuple[HardwareKey, ...]
    """Hardware that it was trained for or measured on."""
    bytes: int
    """Its length in bytes."""
    headline: str
    """Metric of a model, counts of a dataset."""
    is_nearest: bool
    """Whether it is what fits this machine best."""
    fit: str
    """Why it does or does not fit this machine."""


@dataclass(frozen=True)
class Listing:
    """What ``models`` and ``datasets`` found."""

    hardware: HardwareKey
    """Hardware that ``Listed.fit`` speaks of."""
    rows: tuple[Listed, ...]
    """Best fitting first."""
    problems: tuple[str, ...]
    """Places and repositories that could not be read, each with its reason."""


class _Found(NamedTuple):
    place: str
    name: str
    manifest: ArtifactManifest


def models(
    *,
    hardware: str | HardwareKey | None = None,
    offline: bool | None = None,
    hub: str | None = None,
) -> Listing:
    """Every model in the package, in the cache and on the hub, best fitting first.

    ``hardware`` is what they have to fit, by default this machine's CPU. A place that cannot be
    reached is a problem of the listing, not an error.
    """
    return _list(MODEL, hardware, offline, hub)


def datasets(
    *,
    hardware: str | HardwareKey | None = None,
    offline: bool | None = None,
    hub: str | None = None,
) -> Listing:
    """Every dataset, as ``models``."""
    return _list(DATASET, hardware, offline, hub)


def _list(
    kind: ArtifactKind, hardware: str | HardwareKey | None, offline: bool | None, hub: str | None
) -> Listing:
    if isinstance(hardware, str):
        hardware = HardwareKey.parse(hardware)
    if hardware is None:
        hardware = probe(quick=True).key
    problems: list[str] = []
    found: list[_Found] = []
    for label, place in _places(offline, hub):
        try:
            repositories = place.repositories(kind)
        except HubError as error:
            problems.append(str(error))
            continue
        for repository in repositories:
            try:
                found += [_Found(label, *item) for item in _newest(place, kind, repository)]
            except WmhubError as error:
                problems.append(str(error))
    merged = _merge(found)
    keys = {(name, key): key for name, (_, m) in merged.items() for key in m.hardware}
    choice = nearest_model(
        hardware,
        {f"{name}\0{key}": key for name, key in keys},
        origin="trained on" if kind is MODEL else "measured on",
    )
    rows: dict[str, Listed] = {}
    for joined, fit in choice.reasons.items():
        name = joined.partition("\0")[0]
        places, manifest = merged[name]
        row = Listed(
            name=name,
            places=places,
            version=manifest.version,
            hardware=manifest.hardware,
            bytes=manifest.bytes,
            headline=manifest.headline,
            is_nearest=joined == choice.name,
            fit=fit,
        )
        rows.setdefault(name, row)
    return Listing(hardware, tuple(rows.values()), tuple(problems))


def _places(offline: bool | None, hub: str | None) -> Iterator[tuple[str, Hub]]:
    if hub is None:
        yield "embedded", EmbeddedHub(load_registry().organisation)
    there = open_hub(hub, offline=offline)
    if there.label == "hf-hub":
        yield "cached", open_hub("hf-hub", offline=True)
        if is_offline(offline):
            return
    yield there.label, there


def _newest(
    place: Hub, kind: ArtifactKind, repository: Repository
) -> Iterator[tuple[str, ArtifactManifest]]:
    """Name and manifest of the newest version; several where a repository collects datasets."""
    tag = newest_tag(place.tags(kind, repository))
    if tag is None:
        raise UnknownNameError(f"{kind.label} {repository} has no version tag yet")
    commit = place.resolve(kind, repository, tag)
    if kind is DATASET and kind.manifest_name not in place.files(kind, repository, commit):
        for member in members(place, repository, commit):
            yield f"{repository}/{member.folder}", member.artifact
        return
    _, manifest = obtain_manifest(place, kind, repository, commit)
    registry = load_registry()
    is_short = repository.org == registry.organisation and (
        place.label == "embedded" or repository.name in registry.entries(kind.label)
    )
    yield repository.name if is_short else str(repository), manifest


def _merge(found: list[_Found]) -> dict[str, tuple[tuple[str, ...], ArtifactManifest]]:
    """Name -> its newest version, and the places that have it."""
    merged: dict[str, tuple[tuple[str, ...], ArtifactManifest]] = {}
    for place, name, manifest in found:
        places, known = merged.get(name, ((), manifest))
        if manifest.version > known.version:
            places, known = (), manifest
        if manifest.version == known.version:
            places = (*places, place)
        merged[name] = (places, known)
    return merged
