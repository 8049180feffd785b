"""The names that this release knows, and the error for one that it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wmhub.errors import InvalidNameError, UnknownNameError, nearest
from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind
from wmhub.hub.embedded import EmbeddedHub
from wmhub.hub.nearest import nearest_model
from wmhub.hub.registry import RegistryEntry, load_registry
from wmhub.names import DatasetId, HardwareKey, ModelId

MODEL_PREFIX = "wm-"


def known_hardware(kind: ArtifactKind) -> Mapping[str, HardwareKey]:
    """Every short name that this release knows, with its hardware (the first, for several)."""
    registry = load_registry()
    found = {name: entry.hardware for name, entry in registry.entries(kind.label).items()}
    held = EmbeddedHub(registry.organisation)
    for repository in held.repositories(kind):
        found.setdefault(repository.name, held.manifest(kind, repository).hardware[0])
    return found


def unknown_name(
    kind: ArtifactKind,
    identity: ModelId | DatasetId,
    reason: str = "",
    others: Sequence[str] = (),
) -> UnknownNameError:
    """The error that lists the nearest names and what fits the hardware that the name names.

    ``others`` are the ``org/name`` of the place that was asked.
    """
    known = dict(known_hardware(kind))
    if identity.org in (None, load_registry().organisation):
        known.pop(identity.name, None)  # It is what was not found: no answer to itself.
    lines = [reason or f"{kind.label} {str(identity)[:120]!r} is unknown"]
    close = nearest(f"{identity.org}/{identity.name}", others) + nearest(identity.name, known)
    if close:
        lines.append(f"Nearest names: {', '.join(close)}.")
    try:
        hardware = HardwareKey.parse(identity.name.removeprefix(MODEL_PREFIX))
    except InvalidNameError:
        hardware = None
    if hardware is not None and known:
        origin = "trained on" if kind is MODEL else "measured on"
        choice = nearest_model(hardware, known, origin=origin)
        lines.append(
            f"For {hardware} there is" if choice.name else f"For {hardware} there is nothing:"
        )
        lines += [
            f"  {name}: {why}" + (" (not nearest)" if choice.name not in (None, name) else "")
            for name, why in choice.reasons.items()
        ]
        lines.append("None was taken in its place: name the one that you want.")
    else:
        lines.append(
            f"`wmhub {kind.label}s` lists what there is; org/name is looked up on the hub."
        )
    return UnknownNameError("\n".join(lines))


def not_there_yet(
    kind: ArtifactKind, name: str, entry: RegistryEntry, reason: str
) -> UnknownNameError:
    """The error for a name that this release lists, at a place that does not have it."""
    lines = [reason, f"This release lists {name} as {entry.tag}, but it may not be published yet."]
    if kind is DATASET:
        lines.append(
            f"The project's repository has it in datasets/{name}, or there the recipe that "
            f"rebuilds it: wmhub collect --recipe datasets/{name}/sources.toml --output DIR. Give "
            "its folder as a path."
        )
    return UnknownNameError("\n".join(lines))
