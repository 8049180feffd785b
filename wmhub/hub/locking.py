"""``lock``: writes down what names are now."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from wmhub.errors import InvalidInputError
from wmhub.hub.lockfile import (
    LOCK_NAME,
    LockEntry,
    Lockfile,
    read_lock,
    write_lock,
)
from wmhub.hub.resolve import Resolved, resolve_dataset, resolve_model
from wmhub.names import DatasetId, ModelId


def lock(
    models: str | Iterable[str] = (),
    *,
    datasets: str | Iterable[str] = (),
    output: str | os.PathLike[str] = LOCK_NAME,
    offline: bool | None = None,
    hub: str | None = None,
) -> Lockfile:
    """Resolves and verifies each name and writes it to ``output``; other entries there stay.

    Without names, everything in ``output`` is verified as it is locked, and nothing is written.
    """
    path = Path(output)
    models, datasets = _names(models), _names(datasets)
    before = read_lock(path) if path.exists() or not models + datasets else Lockfile()
    if not models + datasets:
        for name in before.models:
            resolve_model(name, locked=path, offline=offline, hub=hub)
        for name in before.datasets:
            resolve_dataset(name, locked=path, offline=offline, hub=hub)
        return before
    found_models = {
        _key(ModelId.parse(name)): _entry(resolve_model(name, offline=offline, hub=hub))
        for name in models
    }
    found_datasets = {
        _key(DatasetId.parse(name)): _entry(resolve_dataset(name, offline=offline, hub=hub))
        for name in datasets
    }
    after = Lockfile({**before.models, **found_models}, {**before.datasets, **found_datasets})
    write_lock(path, after)
    return after


def _names(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _key(identity: ModelId | DatasetId) -> str:
    if identity.place == "local-dir":
        raise InvalidInputError(f"{identity}: a folder has no published version to lock")
    return str(replace(identity, revision=None))


def _entry(resolved: Resolved) -> LockEntry:
    if resolved.repository is None or resolved.revision is None or resolved.commit is None:
        raise InvalidInputError(f"{resolved.folder}: a folder has no published version to lock")
    return LockEntry(
        place=resolved.place,
        repository=resolved.repository,
        folder=resolved.under,
        revision=resolved.revision,
        commit=resolved.commit,
        digest=resolved.manifest.digest,
        files=resolved.manifest.files,
    )
