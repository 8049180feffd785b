"""The Hugging Face Hub, through its own client: its cache, its login, its resumed downloads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import huggingface_hub.constants
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile
from huggingface_hub.file_download import repo_folder_name

import wmhub
from wmhub.errors import HubError, InvalidInputError, OutputExistsError, UnknownNameError
from wmhub.hub.artifact import ArtifactKind
from wmhub.hub.integrity import MOST_FILES, check_commit, check_path, check_paths, open_inside
from wmhub.hub.known_tags import KnownTags
from wmhub.hub.patience import patiently, require_reachable, without_login, without_secrets
from wmhub.hub.place import (
    GIT_SETTINGS,
    Commit,
    Repository,
    Snapshot,
    StoredFile,
    Upload,
    published_meanwhile,
    stored_files,
)
from wmhub.hub.tags import newest_tag

#: Tag of a card by which our repositories are found.
CARD_TAG = "wmhub"

_T = TypeVar("_T")


def _text(value: object) -> str:
    """What the server must give as text; `patiently` tells what is raised for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _length(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is no number of bytes")
    return value


class HuggingFaceHub:
    """Models and datasets on the Hugging Face Hub, or on a server that speaks as it does.

    The token is the one that the client has stored (``hf auth login`` or ``HF_TOKEN``); it is never
    read here. Offline, the client's cache and the remembered tags answer.
    """

    label = "hf-hub"

    def __init__(self, *, offline: bool = False) -> None:
        self._api = HfApi(
            # Without it, as the client has it for itself: its own calls do not take it off.
            endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None,
            library_name="wmhub",
            library_version=wmhub.__version__,
        )
        self._offline = offline
        self.location = without_secrets(without_login(self._api.endpoint))
        self._known_tags = KnownTags(self.location)
        self._is_reached = False
        self._listed: dict[tuple[str, Repository, str], Mapping[str, StoredFile]] = {}

    def exists(self) -> bool:
        """Yes, whether or not it can be reached."""
        return True

    def require_writable(self) -> None:
        """Refuses offline."""
        if self._offline:
            raise HubError(
                "nothing can be published offline: unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
            )

    def repositories(self, kind: ArtifactKind) -> list[Repository]:
        """Everything whose card has the tag ``wmhub``; offline, what is remembered and cached."""
        if self._offline:
            return [
                repository
                for repository in self._known_tags.repositories(kind.label)
                if any(self._snapshots(kind, repository).glob("*"))
            ]
        listing = self._api.list_models if kind.label == "model" else self._api.list_datasets
        found = self._call(
            f"list {kind.label}s", lambda: [_text(info.id) for info in listing(filter=CARD_TAG)]
        )
        return sorted(Repository(*id_.split("/")) for id_ in found if id_.count("/") == 1)

    def tags(self, kind: ArtifactKind, repository: Repository) -> Mapping[str, str]:
        """Tag -> commit; offline, those that were resolved here before."""
        if self._offline:
            known = self._known_tags.of(kind.label, repository)
            if not known:
                raise self._not_cached(kind, repository, "it")
            return known
        refs = self._call(
            f"{kind.label} {repository}",
            lambda: [
                (_text(ref.name), ref.target_commit)
                for ref in self._api.list_repo_refs(str(repository), repo_type=kind.label).tags
            ],
        )
        return {name: check_commit(commit) for name, commit in refs}

    def resolve(self, kind: ArtifactKind, repository: Repository, revision: str) -> str:
        """The commit, as the Hub says it now; offline, as it was remembered, if it is cached."""
        if self._offline:
            commit = self._known_tags.of(kind.label, repository).get(revision, revision)
            with contextlib.suppress(InvalidInputError):
                if self._snapshot_folder(kind, repository, commit).is_dir():
                    return commit
            raise self._not_cached(kind, repository, revision)
        what = f"{kind.label} {repository}@{revision}"
        try:
            info = self._call(
                what,
                lambda: self._api.repo_info(
                    str(repository), repo_type=kind.label, revision=revision
                ),
            )
        except UnknownNameError as error:
            # A repository that is not there either raises here what it always raises.
            newest = newest_tag(self.tags(kind, repository))
            raise UnknownNameError(
                f"{error}; its newest version is {newest or 'not tagged yet'}"
            ) from None
        return check_commit(info.sha or "")

    def files(
        self, kind: ArtifactKind, repository: Repository, commit: str
    ) -> Mapping[str, StoredFile]:
        """The files of the commit with their lengths, listed once."""
        key = (kind.label, repository, commit)
        if key not in self._listed:
            self._listed[key] = (
                stored_files(self._snapshot_folder(kind, repository, commit))
                if self._offline
                else self._call(
                    f"{kind.label} {repository}@{commit[:12]}",
                    lambda: self._tree(kind, repository, commit),
                )
            )
        return self._listed[key]

    def _tree(
        self, kind: ArtifactKind, repository: Repository, commit: str
    ) -> Mapping[str, StoredFile]:
        listed = self._api.list_repo_tree(
            str(repository), recursive=True, revision=commit, repo_type=kind.label
        )
        files: dict[str, StoredFile] = {}
        # Page after page, for as long as the server gives any.
        for number, item in enumerate(listed):
            if number >= MOST_FILES:
                raise HubError(f"{kind.label} {repository}: it has more than {MOST_FILES} files")
            if isinstance(item, RepoFile):
                files[_text(item.path)] = StoredFile(_length(item.size), _text(item.blob_id))
        return files

    def not_here(
        self, kind: ArtifactKind, repository: Repository, name: str
    ) -> UnknownNameError | None:
        """Offline, the cache may hold a part of a commit."""
        return self._not_cached(kind, repository, name) if self._offline else None

    def base(self, kind: ArtifactKind, repository: Repository, number: int) -> str:
        """The newest commit that ``main`` and the pull request share."""
        main = self._history(kind, repository, "main")
        request = self._history(kind, repository, f"refs/pr/{number}")
        shared = next((commit for commit in request if commit in main), None)
        if shared is None:
            raise HubError(f"pull request {number} of {repository} does not come from main")
        return shared

    def fetch(
        self, kind: ArtifactKind, repository: Repository, commit: str, names: Sequence[str]
    ) -> Snapshot:
        """Files of the client's cache; those that are there already are not asked for again."""
        check_paths(names)
        folder = self._snapshot_folder(kind, repository, commit)
        missing = [name for name in names if not (folder / name).exists()]
        if missing and self._offline:
            raise self._not_cached(kind, repository, missing[0])
        if missing:
            self._call(
                f"{kind.label} {repository}@{commit[:12]}",
                lambda: huggingface_hub.snapshot_download(
                    str(repository),
                    repo_type=kind.label,
                    revision=commit,
                    allow_patterns=missing,
                    library_name="wmhub",
                    library_version=wmhub.__version__,
                    endpoint=self._api.endpoint,
                ),
            )
        return Snapshot(folder, folder.parents[1])

    def commit(self, kind: ArtifactKind, repository: Repository, upload: Upload) -> Commit:
        """One commit with all files; unchanged ones are not sent, and if all are, none is made."""
        self.require_writable()
        check_paths(upload.names)
        prefix = f"{check_path(upload.under)}/" if upload.under else ""
        sources = {prefix + name: open_inside(upload.folder, name) for name in upload.names}
        what = f"publish {kind.label} {repository}"
        if not upload.pull_request:
            self._call(
                what,
                lambda: self._api.create_repo(str(repository), repo_type=kind.label, exist_ok=True),
            )
        # Of two that make it, the server lets one follow the commit that it begins with.
        parent = self._begin(kind, repository) if upload.is_first else upload.parent

        def send() -> huggingface_hub.CommitInfo:
            # Each attempt looks anew at what is there: after a cut connection the commit may exist.
            present = self._present(kind, repository) if upload.replace else set()
            return self._api.create_commit(
                str(repository),
                [
                    *(CommitOperationAdd(name, path) for name, path in sources.items()),
                    *(CommitOperationDelete(name) for name in sorted(present - set(sources))),
                ],
                repo_type=kind.label,
                commit_message=upload.message,
                parent_commit=parent,
                create_pr=upload.pull_request,
            )

        # A pull request is not asked for twice: the first answer may have been lost on the way.
        info = self._call(what, send, attempts=1 if upload.pull_request else None)
        return Commit(info.oid, info.pr_url or info.commit_url, info.pr_num)

    def tag(self, kind: ArtifactKind, repository: Repository, tag: str, commit: str) -> None:
        """Names ``commit`` once and for all."""
        self.require_writable()
        if tag not in (tags := self.tags(kind, repository)):
            try:
                self._call(
                    f"tag {kind.label} {repository}",
                    lambda: self._api.create_tag(
                        str(repository), tag=check_path(tag), revision=commit, repo_type=kind.label
                    ),
                )
            except HubError:
                # Of two writers one is late, and an answer may be lost; what is there decides.
                if tag not in (tags := self.tags(kind, repository)):
                    raise
            else:
                return
        if tags[tag] != commit:
            raise OutputExistsError(
                f"{kind.label} {repository}: the tag {tag} is commit {tags[tag][:12]} already; a "
                "tag never moves, so publish a new version"
            )

    def merge(self, kind: ArtifactKind, repository: Repository, number: int) -> str:
        """Merges as the Hub does; needs the right to write."""
        self.require_writable()
        what = f"merge pull request {number} of {kind.label} {repository}"
        id_, repo_type = str(repository), kind.label
        self._call(
            what, lambda: self._api.merge_pull_request(id_, number, repo_type=repo_type), attempts=1
        )
        return self.resolve(kind, repository, "main")

    def _begin(self, kind: ArtifactKind, repository: Repository) -> str:
        """The commit that a new repository begins with; refuses one that is published already."""
        head = self.resolve(kind, repository, "main")
        if self.files(kind, repository, head).keys() - {GIT_SETTINGS}:
            raise published_meanwhile(kind, repository, self.location)
        return head

    def _present(self, kind: ArtifactKind, repository: Repository) -> set[str]:
        """Files of ``main`` that a publication replaces."""
        tree = self._api.list_repo_tree(str(repository), recursive=True, repo_type=kind.label)
        return {item.path for item in tree if isinstance(item, RepoFile)} - {GIT_SETTINGS}

    def _snapshots(self, kind: ArtifactKind, repository: Repository) -> Path:
        """Where the client's cache keeps a folder for each commit of which it has files."""
        cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
        name = repo_folder_name(repo_id=str(repository), repo_type=kind.label)
        return cache / name / "snapshots"

    def _snapshot_folder(self, kind: ArtifactKind, repository: Repository, commit: str) -> Path:
        return self._snapshots(kind, repository) / check_commit(commit)

    def _history(self, kind: ArtifactKind, repository: Repository, revision: str) -> list[str]:
        id_, repo_type = str(repository), kind.label
        return self._call(
            f"history of {kind.label} {repository}@{revision}",
            lambda: [
                commit.commit_id
                for commit in self._api.list_repo_commits(
                    id_, repo_type=repo_type, revision=revision
                )
            ],
        )

    def _not_cached(
        self, kind: ArtifactKind, repository: Repository, what: str
    ) -> UnknownNameError:
        return UnknownNameError(
            f"{kind.label} {repository}: {what[:80]} is not in the cache, and the Hub may not be "
            "asked offline; load it once while online"
        )

    def _call(self, what: str, action: Callable[[], _T], attempts: int | None = None) -> _T:
        if not self._is_reached:
            # Without a network, the client alone would try for half a minute, aloud.
            require_reachable(self._api.endpoint, f"{what} on {self.location}")
            self._is_reached = True
        return patiently(action, f"{what} on {self.location}", attempts=attempts)
