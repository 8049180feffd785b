"""Publishes a verified folder under a tag that never moves, by the rules of the content version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmhub.dataset.version import Change
from wmhub.errors import HubError, InvalidInputError, OutputExistsError, UnknownNameError
from wmhub.hub.artifact import CARD_NAME, ArtifactKind, ArtifactManifest
from wmhub.hub.integrity import digest_file
from wmhub.hub.obtain import obtain, obtain_manifest
from wmhub.hub.place import GIT_SETTINGS, Hub, Repository, Upload
from wmhub.hub.tags import newest_tag

#: What became of the artifact in the first folder when it turned into the second.
Compare = Callable[[Path, Path], Change]


@dataclass(frozen=True)
class Pushed:
    """What a publication did, or with ``dry_run`` would do."""

    kind: str
    """``model`` or ``dataset``."""
    repository: Repository
    """Where it went."""
    location: str
    """The hub in words."""
    tag: str
    """Tag of its version."""
    previous: str | None
    """Newest tag that was there before."""
    change: str
    """``first``, ``patch``, ``minor``, ``major``; ``none`` if the same is there already."""
    files: Mapping[str, int]
    """Every file of the publication with its length in bytes."""
    removed: tuple[str, ...]
    """Files of the repository that it takes away, whoever put them there."""
    is_new_hub: bool
    """Whether the hub itself was not there before: a folder that the first publication makes."""
    commit: str | None
    """The commit; ``None`` for a dry run."""
    url: str | None
    """Where a person can look at it; ``None`` for a dry run."""
    pull_request: int | None
    """Its number, with ``create_pr``."""


@dataclass(frozen=True)
class Publication:
    """A folder that is ready to be published."""

    kind: ArtifactKind
    repository: Repository
    folder: Path
    """What is published."""
    names: Sequence[str]
    """Its files: the manifest, what it names, the card with its pictures."""
    manifest: ArtifactManifest
    """What the manifest says."""
    compare: Compare
    """How to tell what changed since an earlier version."""


def publish(
    hub: Hub,
    publication: Publication,
    *,
    message: str | None = None,
    dry_run: bool = False,
    create_pr: bool = False,
) -> Pushed:
    """Commits, tags, and reads back what is there.

    Raises ``OutputExistsError`` for a tag that exists with other content, ``InvalidInputError`` for
    a version that is too low for what changed, ``HubError`` if another writer came first.
    """
    kind, repository = publication.kind, publication.repository
    head, tags = _what_is_there(hub, kind, repository)
    planned = _planned(hub, publication, head, tags, create_pr)
    if dry_run or planned.change == "none":
        return planned
    made = hub.commit(
        kind,
        repository,
        Upload(
            publication.folder,
            names=publication.names,
            message=message or f"{publication.manifest.name} {planned.tag}",
            parent=head,
            is_first=head is None and not create_pr,
            pull_request=create_pr,
        ),
    )
    if not create_pr:
        # Before the tag, which never moves.
        _require_arrived(hub, publication, made.id, planned.files)
        hub.tag(kind, repository, planned.tag, made.id)
    return replace(planned, commit=made.id, url=made.url, pull_request=made.pull_request)


def _what_is_there(
    hub: Hub, kind: ArtifactKind, repository: Repository
) -> tuple[str | None, Mapping[str, str]]:
    """Head and tags of the repository; nothing where it does not exist yet."""
    try:
        return hub.resolve(kind, repository, "main"), hub.tags(kind, repository)
    except UnknownNameError:
        return None, {}


def _planned(
    hub: Hub,
    publication: Publication,
    head: str | None,
    tags: Mapping[str, str],
    create_pr: bool,
) -> Pushed:
    """What publishing will do to a repository with this head and these tags, if it may."""
    tag, previous = publication.manifest.version.tag, newest_tag(tags)
    if tag in tags and not create_pr:
        _require_same(hub, publication, tags[tag])
        change = "none"
    else:
        change = _checked_change(hub, publication, previous, tags)
        if previous is None and head is not None:
            _require_ours(hub, publication, head)
    return Pushed(
        kind=publication.kind.label,
        repository=publication.repository,
        location=hub.location,
        tag=tag,
        previous=previous,
        change=change,
        files={name: (publication.folder / name).stat().st_size for name in publication.names},
        removed=_removed(hub, publication, head) if change != "none" else (),
        is_new_hub=not hub.exists(),
        commit=tags[tag] if change == "none" else None,
        url=None,
        pull_request=None,
    )


def _removed(hub: Hub, publication: Publication, head: str | None) -> tuple[str, ...]:
    if head is None:
        return ()
    present = hub.files(publication.kind, publication.repository, head)
    return tuple(sorted(present.keys() - {GIT_SETTINGS, *publication.names}))


def _require_ours(hub: Hub, publication: Publication, head: str) -> None:
    """Refuses to replace the content of a repository that wmhub did not write."""
    kind, repository = publication.kind, publication.repository
    present = hub.files(kind, repository, head)
    others = sorted(present.keys() - {CARD_NAME, GIT_SETTINGS})
    if others and kind.manifest_name not in present:
        raise OutputExistsError(
            f"{kind.label} {repository} on {hub.location} holds {', '.join(others[:5])}"
            f"{' and more' if len(others) > 5 else ''}, and no {kind.manifest_name}: it is not of "
            "wmhub, and publishing would delete that; choose another name"
        )


def _checked_change(
    hub: Hub, publication: Publication, previous: str | None, tags: Mapping[str, str]
) -> str:
    """What changed since the newest version; refuses a version that does not say so."""
    if previous is None:
        return "first"
    kind, repository = publication.kind, publication.repository
    snapshot, before = obtain(hub, kind, repository, tags[previous])
    version = publication.manifest.version
    if version <= before.version:
        raise InvalidInputError(
            f"{kind.label} {repository} is at {previous} already; version {version} must be higher"
        )
    change = publication.compare(snapshot.folder, publication.folder)
    if change is Change.NONE:
        change = Change.PATCH
    if not version.allows(change, before.version):
        raise InvalidInputError(
            f"{kind.label} {repository}: the change since {previous} is {change.name.lower()}, so "
            f"the version must be at least {before.version.after(change)}, and is {version}"
        )
    return change.name.lower()


def _require_same(hub: Hub, publication: Publication, commit: str) -> None:
    """The tag is there already: fine for the same content, refused for any other."""
    kind, repository = publication.kind, publication.repository
    snapshot, there = obtain(hub, kind, repository, commit)
    card = publication.folder / CARD_NAME
    is_same_card = (snapshot.folder / CARD_NAME).is_file() and digest_file(
        snapshot.folder / CARD_NAME
    ) == digest_file(card)
    if there.digest != publication.manifest.digest or not is_same_card:
        version = publication.manifest.version
        raise OutputExistsError(
            f"{kind.label} {repository} has {version.tag} already, with other content; a tag never "
            f"moves, so publish a new version (at least {version.after(Change.PATCH)})"
        )


def _require_arrived(
    hub: Hub, publication: Publication, commit: str, sent: Mapping[str, int]
) -> None:
    """Reads back what the commit holds: the manifest, and every file ``sent`` by its length."""
    kind, repository = publication.kind, publication.repository
    _, there = obtain_manifest(hub, kind, repository, commit)
    stored = hub.files(kind, repository, commit)
    lost = sorted(name for name in sent if name not in stored or stored[name].bytes != sent[name])
    if there.digest != publication.manifest.digest or lost:
        raise HubError(
            f"{kind.label} {repository} at {commit[:12]} is not what was sent"
            f"{f' ({lost[0]} is missing or another)' if lost else ''}; it has no tag. Someone else "
            "may have published at the same time: look at what is there"
        )
