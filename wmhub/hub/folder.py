"""A hub in a folder, on a disk or a shared file system, without a server and without locks.

::

    models/ORG/NAME/commits/ID/commit.json    message, parent, files with digests
    models/ORG/NAME/commits/ID/tree/          the files
    models/ORG/NAME/main/1/points.json        first commit of main; the highest is its head
    models/ORG/NAME/tags/v1.0.0/points.json   a tag
    models/ORG/NAME/pulls/1/points.json       a pull request, refs/pr/1

Everything is written aside, flushed, and then renamed to its place (``atomic.py``): of two writers
one wins and the other is told, a reader sees a thing whole or not at all, and nothing that is there
ever changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from wmhub.errors import HubError, InvalidInputError, OutputExistsError, UnknownNameError
from wmhub.hub.artifact import ArtifactKind
from wmhub.hub.atomic import place_folder, require_writable, staging_folder
from wmhub.hub.folder_files import POINTER, RECORD, Record, highest, pointed
from wmhub.hub.integrity import (
    FileDigest,
    check_commit,
    check_path,
    check_paths,
    copy_file,
    open_inside,
)
from wmhub.hub.place import (
    Commit,
    Repository,
    Snapshot,
    StoredFile,
    Upload,
    WholeHub,
    published_meanwhile,
)
from wmhub.hub.tags import newest_tag, version_of_tag

_TREE = "tree"
_COMMIT = re.compile(r"[0-9a-f]{64}\Z")

#: A file to be copied into a commit, and what it must be where that is known.
_Source = tuple[Path, FileDigest | None]


class FolderHub(WholeHub):
    """A hub in a folder; see the module's text for its form."""

    label = "folder"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.location = str(root)

    def exists(self) -> bool:
        """Whether the folder is there."""
        return self._root.is_dir()

    def require_writable(self) -> None:
        """Refuses a folder that this user cannot write."""
        require_writable(self._root)

    def repositories(self, kind: ArtifactKind) -> list[Repository]:
        """Everything of ``kind`` that has a commit."""
        if not self.exists():
            raise HubError(f"{self.location}: there is no such folder, so this is no hub")
        heads = self._root.glob(f"{kind.label}s/*/*/main")
        return sorted(Repository(path.parents[1].name, path.parent.name) for path in heads)

    def tags(self, kind: ArtifactKind, repository: Repository) -> Mapping[str, str]:
        """Version tag -> commit; what a desktop or a disk station leaves beside them is none."""
        folder = self._existing(kind, repository) / "tags"
        tags = (path for path in sorted(folder.glob("v*")) if version_of_tag(path.name) is not None)
        return {path.name: pointed(path) for path in tags}

    def resolve(self, kind: ArtifactKind, repository: Repository, revision: str) -> str:
        """The commit of a tag, ``main``, ``refs/pr/N`` or a commit."""
        folder = self._existing(kind, repository)
        number = revision.rpartition("refs/pr/")[2]
        if revision == "main":
            pointer = folder / "main" / str(highest(folder / "main"))
        elif revision == f"refs/pr/{number}" and number.isdecimal():
            pointer = folder / "pulls" / number
        elif _COMMIT.match(revision):
            pointer = folder / "commits" / revision
        else:
            pointer = folder / "tags" / check_path(revision)
        if not pointer.is_dir():
            newest = newest_tag(self.tags(kind, repository))
            raise UnknownNameError(
                f"{kind.label} {repository} on {self.location} has no {revision[:80]!r}; its "
                f"newest version is {newest or 'not tagged yet'}"
            )
        return revision if pointer.parent.name == "commits" else pointed(pointer)

    def files(
        self, kind: ArtifactKind, repository: Repository, commit: str
    ) -> Mapping[str, StoredFile]:
        """The files that the commit names, with the lengths that they really have."""
        folder = self._existing(kind, repository) / "commits" / check_commit(commit)
        files = Record.load(folder / RECORD).files
        return {
            name: StoredFile(self._file(folder, name).stat().st_size, file.sha256)
            for name, file in files.items()
        }

    def base(self, kind: ArtifactKind, repository: Repository, number: int) -> str:
        """The commit of ``main`` that the pull request was made from."""
        request = self.resolve(kind, repository, f"refs/pr/{number}")
        home = self._existing(kind, repository)
        return str(Record.load(home / "commits" / request / RECORD).parent)

    def fetch(
        self, kind: ArtifactKind, repository: Repository, commit: str, names: Sequence[str]
    ) -> Snapshot:
        """The commit's tree itself: it never changes, so it is not copied."""
        tree = self._existing(kind, repository) / "commits" / check_commit(commit) / _TREE
        return Snapshot(tree, self._root)

    def commit(self, kind: ArtifactKind, repository: Repository, upload: Upload) -> Commit:
        """Publishes by one rename; two writers cannot both follow the same commit."""
        check_paths(upload.names)
        home = self._home(kind, repository)
        length = highest(home / "main")
        head = pointed(home / "main" / str(length)) if length else None
        if upload.parent not in (None, head) or (upload.is_first and head is not None):
            raise published_meanwhile(kind, repository, self.location)
        if upload.pull_request and head is None:
            raise UnknownNameError(f"there is no {kind.label} {repository} on {self.location}")
        prefix = f"{check_path(upload.under)}/" if upload.under else ""
        sources: dict[str, _Source] = {
            prefix + name: (open_inside(upload.folder, name), None) for name in upload.names
        }
        if not upload.replace and head is not None:
            sources = {**self._sources(home, head), **sources}
        return self._publish(kind, repository, sources, upload.message, length, upload.pull_request)

    def tag(self, kind: ArtifactKind, repository: Repository, tag: str, commit: str) -> None:
        """Names ``commit`` once and for all."""
        folder = self._existing(kind, repository)
        if not (folder / "commits" / check_commit(commit)).is_dir():
            raise UnknownNameError(f"{kind.label} {repository} has no commit {commit[:80]!r}")
        target = folder / "tags" / check_path(tag)
        if not self._point(target, commit) and pointed(target) != commit:
            raise OutputExistsError(
                f"{kind.label} {repository}: the tag {tag} is commit {pointed(target)[:12]} "
                "already; a tag never moves, so publish a new version"
            )

    def merge(self, kind: ArtifactKind, repository: Repository, number: int) -> str:
        """Puts what the pull request changed onto the head; refused if both changed one file."""
        home = self._existing(kind, repository)
        request = self.resolve(kind, repository, f"refs/pr/{number}")
        length = highest(home / "main")
        head = pointed(home / "main" / str(length))
        proposal = Record.load(home / "commits" / request / RECORD)
        base = Record.load(home / "commits" / str(proposal.parent) / RECORD).files
        ours = Record.load(home / "commits" / head / RECORD).files
        theirs = self._sources(home, request)
        sources = self._sources(home, head)
        for name in {*base, *proposal.files}:
            wanted = proposal.files.get(name)
            if wanted == base.get(name) or wanted == ours.get(name):
                continue
            if ours.get(name) != base.get(name):
                raise HubError(
                    f"pull request {number} of {repository} and main both changed {name}; make the "
                    "pull request anew from what main holds now"
                )
            sources.pop(name, None)
            if wanted is not None:
                sources[name] = theirs[name]
        message = f"{proposal.message} (pull request {number})"
        return self._publish(kind, repository, sources, message, length, False).id

    def _publish(
        self,
        kind: ArtifactKind,
        repository: Repository,
        sources: Mapping[str, _Source],
        message: str,
        length: int,
        pull_request: bool,
    ) -> Commit:
        """Makes a commit of ``sources`` that follows the ``length``-th, unless nothing changed."""
        home = self._home(kind, repository)
        head = pointed(home / "main" / str(length)) if length else None
        with staging_folder(self._root) as staged:
            files = {
                name: _copied(source, staged / _TREE / name) for name, source in sources.items()
            }
            record = Record(head, message, files)
            commits = home / "commits"
            if head is not None and files == Record.load(commits / head / RECORD).files:
                return Commit(head, str(commits / head))
            (staged / RECORD).write_bytes(record.dump())
            # The same commit may be there: of a writer that was killed before it set its pointer.
            self._place(staged, commits / record.id)
        url = str(commits / record.id)
        if not pull_request:
            if not self._point(home / "main" / str(length + 1), record.id):
                raise published_meanwhile(kind, repository, self.location)
            return Commit(record.id, url)
        number = highest(home / "pulls") + 1
        while not self._point(home / "pulls" / str(number), record.id):
            number += 1
        return Commit(record.id, url, number)

    def _point(self, target: Path, commit: str) -> bool:
        """Sets a pointer that must not be set yet; ``False`` if it is."""
        with staging_folder(self._root) as staged:
            (staged / POINTER).write_bytes(orjson.dumps({"commit": commit}))
            return self._place(staged, target)

    def _place(self, staged: Path, target: Path) -> bool:
        """``place_folder``, unless whoever can write to the hub has put a link on the way."""
        there = next(folder for folder in target.parents if folder.exists())
        if not there.resolve().is_relative_to(self._root.resolve()):
            raise HubError(
                f"{there}: a link leads out of the hub, so nothing is published there; remove it"
            )
        return place_folder(staged, target)

    def _sources(self, home: Path, commit: str) -> dict[str, _Source]:
        """The files of a commit, with what they must be."""
        folder = home / "commits" / commit
        files = Record.load(folder / RECORD).files
        return {name: (self._file(folder, name), digest) for name, digest in files.items()}

    def _file(self, commit: Path, name: str) -> Path:
        # Whoever can write to the hub could have put a link in place of the tree itself.
        return open_inside(commit / _TREE, name, self._root)

    def _home(self, kind: ArtifactKind, repository: Repository) -> Path:
        return (
            self._root / f"{kind.label}s" / check_path(repository.org) / check_path(repository.name)
        )

    def _existing(self, kind: ArtifactKind, repository: Repository) -> Path:
        home = self._home(kind, repository)
        if not (home / "main").is_dir():
            missing = "" if self.exists() else ", which is no folder yet"
            raise UnknownNameError(
                f"there is no {kind.label} {repository} on {self.location}{missing}"
            )
        return home


def _copied(source: _Source, target: Path) -> FileDigest:
    """Copies into a new commit; what comes from an older one must still be what that one says."""
    path, expected = source
    found = copy_file(path, target)
    if expected is not None and found != expected:
        raise InvalidInputError.at(path, "is not what its commit says: it was changed")
    return found
