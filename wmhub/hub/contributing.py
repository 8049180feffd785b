"""``contribute``: a dataset as a pull request to the community's repository, and its merge."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wmhub.dataset.manifest import read_manifest
from wmhub.dataset.version import Change, Version
from wmhub.errors import HubError, InvalidInputError, OutputExistsError, UnknownNameError
from wmhub.hub.artifact import CARD_NAME, DATASET
from wmhub.hub.community import (
    FOLDER_DEPTH,
    Review,
    folder_of,
    member_folders,
    members,
    neighbours,
    render_community_card,
    review,
)
from wmhub.hub.place import GIT_SETTINGS, Commit, Hub, Repository, Upload
from wmhub.hub.pushing import published_names, require_publishable, target_repository
from wmhub.hub.settings import open_hub
from wmhub.hub.tags import newest_tag, version_of_tag

if TYPE_CHECKING:
    from wmhub.dataset.check import CheckReport

COMMUNITY = "community"
_FIRST_VERSION = Version(0, 1, 0)
#: Files that a collection may hold beside its datasets.
_BESIDE = (CARD_NAME, GIT_SETTINGS, ".gitignore", "LICENSE")


@dataclass(frozen=True)
class Contributed:
    """What ``contribute`` did, or with ``dry_run`` would do."""

    repository: Repository
    """The community's repository."""
    location: str
    """The hub in words."""
    folder: str
    """The new folder in it."""
    files: Mapping[str, int]
    """Every file in that folder with its length in bytes."""
    pull_request: int | None
    """Its number; ``None`` for a dry run."""
    url: str | None
    """Where a person can look at it; ``None`` for a dry run."""
    warnings: tuple[str, ...]
    """What the checks found doubtful, for people."""


@dataclass(frozen=True)
class Merged:
    """What ``merge_contribution`` did."""

    repository: Repository
    """The community's repository."""
    folder: str
    """The folder that it has now."""
    tag: str
    """The repository's new version."""
    commit: str
    """Its commit."""
    warnings: tuple[str, ...] = ()
    """What was found doubtful before, for people."""


def contribute(
    path: str | os.PathLike[str],
    *,
    to: str = COMMUNITY,
    message: str | None = None,
    dry_run: bool = False,
    hub: str | None = None,
) -> Contributed:
    """Checks the dataset in ``path`` and opens a pull request that adds only its own folder.

    Anyone who is logged in may contribute. Raises ``DatasetError`` or ``InvalidInputError`` for
    what the checks find, and ``OutputExistsError`` if the same dataset is there already.
    """
    place = _writable(hub)
    folder = Path(path)
    artifact = DATASET.verify(folder)
    manifest = read_manifest(folder)
    repository = target_repository(DATASET, to)
    head = place.resolve(DATASET, repository, "main")
    under = folder_of(manifest, artifact)
    for member in members(place, repository, head):
        if member.artifact.digest == artifact.digest or member.folder == under:
            raise OutputExistsError(f"{repository} has this dataset already, in {member.folder}")
    report = require_publishable(folder, neighbours(place, repository, head, manifest.hardware))
    names = published_names(DATASET, folder, artifact)
    files = {name: (folder / name).stat().st_size for name in names}
    if dry_run:
        return Contributed(repository, place.location, under, files, None, None, report.warnings)
    counts = manifest.counts
    made = place.commit(
        DATASET,
        repository,
        Upload(
            folder,
            names=names,
            message=message
            or f"Add {under}: {counts.records:,} records of {counts.workloads:,} workloads",
            under=under,
            replace=False,
            pull_request=True,
        ),
    )
    return Contributed(
        repository, place.location, under, files, made.pull_request, made.url, report.warnings
    )


def merge_contribution(number: int, *, to: str = COMMUNITY, hub: str | None = None) -> Merged:
    """Verifies pull request ``number``, merges it, credits it in the card, and tags the result.

    For maintainers. Raises ``InvalidInputError`` if it does more than add one dataset.
    """
    place = _writable(hub)
    repository = target_repository(DATASET, to)
    found = review(place, repository, number)
    under = found.member.folder
    head = place.resolve(DATASET, repository, "main")
    warnings: tuple[str, ...] = ()
    if found.member.artifact.digest not in {
        member.artifact.digest for member in members(place, repository, head)
    }:
        warnings = require_publishable(found.path, found.published).warnings
        if place.resolve(DATASET, repository, f"refs/pr/{number}") != found.commit:
            raise InvalidInputError(
                f"pull request {number} of {repository} was changed while it was checked; "
                "nothing was merged: look at it again"
            )
        proposed = place.files(DATASET, repository, found.commit)
        added = {name: file for name, file in proposed.items() if name.startswith(f"{under}/")}
        head = place.resolve(DATASET, repository, "main")
        checked = {**place.files(DATASET, repository, head), **added}
        head = place.merge(DATASET, repository, number)
        merged = place.files(DATASET, repository, head)
        if strangers := sorted(name for name in merged if merged[name] != checked.get(name)):
            raise HubError(
                f"{repository} holds in {head[:12]} what was not checked: "
                f"{', '.join(strangers[:5])}. Pull request {number} was changed, or something else "
                "merged, at that very moment: look at it before anything is credited"
            )
    # Else it was merged before, perhaps by a run that did not come to the card: that is done now.
    made, tag = _write_card(place, repository, head, Change.MINOR)
    return Merged(repository, under, tag, made.id, warnings)


def review_contribution(
    number: int, *, to: str = COMMUNITY, hub: str | None = None
) -> tuple[Review, CheckReport]:
    """Fetches pull request ``number``, verifies that it only adds one dataset, and checks that.

    For maintainers and their CI. Raises ``InvalidInputError`` if it does more; what the check finds
    is in its report.
    """
    from wmhub.dataset.check import check

    found = review(open_hub(hub), target_repository(DATASET, to), number)
    return found, check(found.path, published=found.published)


def create_community(*, to: str = COMMUNITY, hub: str | None = None) -> Merged:
    """Makes an empty community repository; one that exists only gets its card anew.

    Raises ``InvalidInputError`` for a repository that holds something else: its card is not ours to
    replace.
    """
    place = _writable(hub)
    repository = target_repository(DATASET, to)
    made_hub = () if place.exists() else (f"{place.location} was no hub yet: it is made",)
    try:
        head = place.resolve(DATASET, repository, "main")
    except UnknownNameError:
        head = None
    if head is not None:
        _require_collection(place, repository, head)
    made, tag = _write_card(place, repository, head, Change.PATCH)
    return Merged(repository, "", tag, made.id, made_hub)


def _writable(hub: str | None) -> Hub:
    """The place that ``hub`` names, if anything can be published there."""
    place = open_hub(hub)
    place.require_writable()
    return place


def _require_collection(hub: Hub, repository: Repository, commit: str) -> None:
    """Refuses a repository with data that no contribution added."""
    files = sorted(hub.files(DATASET, repository, commit))
    folders = member_folders(files)
    strangers = [
        name
        for name in files
        if "/".join(name.split("/")[:FOLDER_DEPTH]) not in folders and name not in _BESIDE
    ]
    if strangers:
        raise InvalidInputError(
            f"{repository} is no collection of contributions: it holds "
            f"{', '.join(strangers[:5])}; name another repository with --to"
        )


def _write_card(
    hub: Hub, repository: Repository, head: str | None, change: Change
) -> tuple[Commit, str]:
    """Renders the card from the manifests that are there, publishes it, and tags the commit."""
    found = members(hub, repository, head) if head is not None else []
    with tempfile.TemporaryDirectory(prefix="wmhub-card-") as temporary:
        card = Path(temporary) / CARD_NAME
        card.write_text(render_community_card(repository, found), encoding="utf-8")
        made = hub.commit(
            DATASET,
            repository,
            Upload(
                card.parent,
                names=[CARD_NAME],
                message="Card: who measured what",
                replace=False,
                parent=head,
                is_first=head is None,
            ),
        )
    tags = hub.tags(DATASET, repository)
    already = newest_tag(name for name, commit in tags.items() if commit == made.id)
    if already is not None:
        return made, already
    newest = newest_tag(tags)
    before = version_of_tag(newest) if newest else None
    tag = (before.after(change) if before else _FIRST_VERSION).tag
    hub.tag(DATASET, repository, tag, made.id)
    return made, tag
