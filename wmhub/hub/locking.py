"""``lock``: writes down what names are now."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from wmhub.errors import InvalidInputError
from wmhub.hub.atomic import held_alone
from wmhub.hub.lockfile import (
    LOCK_NAME,
    LockEntry,
    Lockfile,
    read_lock,
    write_lock,
)
from wmhub.hub.resolve import Resolved, resolve_dataset, resolve_model
from wmhub.names import DatasetId, ModelId

_Id = TypeVar("_Id", ModelId, DatasetId)


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
    wanted_models, wanted_datasets = _keys(ModelId, models), _keys(DatasetId, datasets)
    # One that is damaged is told before anything is fetched.
    there = _read(path) if wanted_models or wanted_datasets else read_lock(path)
    if not (wanted_models or wanted_datasets):
        for name in there.models:
            resolve_model(name, locked=path, offline=offline, hub=hub)
        for name in there.datasets:
            resolve_dataset(name, locked=path, offline=offline, hub=hub)
        return there
    found_models = {
        key: _entry(resolve_model(str(name), offline=offline, hub=hub))
        for key, name in wanted_models.items()
    }
    found_datasets = {
        key: _entry(resolve_dataset(str(name), offline=offline, hub=hub))
        for key, name in wanted_datasets.items()
    }
    with held_alone(path):
        # Others may have written to it while this was fetched.
        before = _read(path)
        after = Lockfile({**before.models, **found_models}, {**before.datasets, **found_datasets})
        write_lock(path, after)
    return after


def _read(path: Path) -> Lockfile:
    """What is locked there; nothing where there is no such file yet."""
    return read_lock(path) if path.exists() else Lockfile()


def _keys(type_: type[_Id], given: str | Iterable[str]) -> dict[str, _Id]:
    """What each name is called in a lock -> the name; refuses two versions of one."""
    found: dict[str, _Id] = {}
    for name in [given] if isinstance(given, str) else given:
        identity = type_.parse(name)
        if identity.place == "local-dir":
            raise InvalidInputError(f"{identity}: a folder has no published version to lock")
        key = str(replace(identity, revision=None))
        other = found.setdefault(key, identity)
        if other != identity:
            raise InvalidInputError(
                f"{other} and {identity}: a lock pins one version of a name; leave one of them out"
            )
    return found


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
