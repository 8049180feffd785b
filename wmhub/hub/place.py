"""``Hub``: what every place that holds published models and datasets can do.

Three places implement it: the checkpoints embedded in this package (``embedded.py``), a folder on
disk or a shared file system (``folder.py``), and the Hugging Face Hub (``huggingface.py``). None of
them believes what it stores; ``resolve.py`` checks whatever comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wmhub.errors import HubError, UnknownNameError
from wmhub.hub.artifact import ArtifactKind

#: Git's own settings in a repository: a publication leaves them as they are.
GIT_SETTINGS = ".gitattributes"


@dataclass(frozen=True, order=True)
class Repository:
    """One published model or dataset with all its versions."""

    org: str
    """Its owner."""
    name: str
    """Its name."""

    def __str__(self) -> str:
        return f"{self.org}/{self.name}"


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit, as its place tells it."""

    bytes: int
    """Its length in bytes."""
    id: str
    """What the place knows its content by; equal ids mean equal content."""


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit, on this machine."""

    folder: Path
    """Where they lie."""
    within: Path
    """Folder that links in ``folder`` must not leave; ``folder`` itself but for caches."""


@dataclass(frozen=True)
class Commit:
    """What a publication made."""

    id: str
    """The commit."""
    url: str
    """Where a person can look at it."""
    pull_request: int | None = None
    """Number of the pull request, if it is one; its revision is ``refs/pr/N``."""


@dataclass(frozen=True)
class Upload:
    """What a commit is made of."""

    folder: Path
    """Where the files lie on this machine."""
    names: Sequence[str]
    """The files, by their paths in ``folder``."""
    message: str
    """What the commit says."""
    under: str = ""
    """Folder of the repository that they come into; empty for its top."""
    replace: bool = True
    """Whether the repository then holds exactly these, or these and all that it held."""
    parent: str | None = None
    """The commit that this one must follow; ``None`` for whichever is the newest."""
    is_first: bool = False
    """Whether nothing may be published there yet."""
    pull_request: bool = False
    """Whether it is only proposed."""


class Hub(Protocol):
    """A place to find and fetch from. Every method may raise ``HubError``."""

    label: str
    """``embedded``, ``folder`` or ``hf-hub``."""
    location: str
    """The place in words for people, without secrets: a path or a URL."""

    def exists(self) -> bool:
        """Whether the place itself is there; if not, the first publication makes it."""
        ...

    def require_writable(self) -> None:
        """Raises ``HubError`` where nothing can be published, before any work is done for that."""
        ...

    def repositories(self, kind: ArtifactKind) -> list[Repository]:
        """Everything of ``kind`` that wmhub published here, sorted."""
        ...

    def tags(self, kind: ArtifactKind, repository: Repository) -> Mapping[str, str]:
        """Tag -> commit; raises ``UnknownNameError`` for a repository that is not here."""
        ...

    def resolve(self, kind: ArtifactKind, repository: Repository, revision: str) -> str:
        """The commit of a tag, branch, ``refs/pr/N`` or commit; ``UnknownNameError`` if none."""
        ...

    def files(
        self, kind: ArtifactKind, repository: Repository, commit: str
    ) -> Mapping[str, StoredFile]:
        """Every file of ``commit``; of a cache, those that it has."""
        ...

    def not_here(
        self, kind: ArtifactKind, repository: Repository, name: str
    ) -> UnknownNameError | None:
        """The error for a file that ``files`` lacks though the commit may have it; ``None`` where
        what is here is all that there is."""
        ...

    def base(self, kind: ArtifactKind, repository: Repository, number: int) -> str:
        """The commit of ``main`` that pull request ``number`` was made from."""
        ...

    def fetch(
        self, kind: ArtifactKind, repository: Repository, commit: str, names: Sequence[str]
    ) -> Snapshot:
        """Brings ``names`` of ``commit`` here; resumes what was begun, and reuses what is here."""
        ...

    def commit(self, kind: ArtifactKind, repository: Repository, upload: Upload) -> Commit:
        """Publishes ``upload``; the repository is created where it does not exist.

        Raises ``HubError`` if another commit than ``upload.parent`` is the newest, or there is one
        though this should be the first.
        """
        ...

    def tag(self, kind: ArtifactKind, repository: Repository, tag: str, commit: str) -> None:
        """Names ``commit``; the same again is no change, another commit ``OutputExistsError``."""
        ...

    def merge(self, kind: ArtifactKind, repository: Repository, number: int) -> str:
        """Merges a pull request and returns the commit that it made."""
        ...


def published_meanwhile(kind: ArtifactKind, repository: Repository, location: str) -> HubError:
    """The error for whoever comes second of two that publish at once."""
    return HubError(
        f"{kind.label} {repository} on {location}: someone else has published meanwhile; look at "
        "what is there and publish again"
    )


def stored_files(folder: Path) -> dict[str, StoredFile]:
    """The regular files below ``folder``, links followed, told apart by their paths."""
    return {
        path.relative_to(folder).as_posix(): StoredFile(path.stat().st_size, str(path.resolve()))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class WholeHub:
    """A place that has every file of its commits."""

    def not_here(self, *_args: object) -> None:
        """Nothing: what it lacks is nowhere."""


class ReadOnlyHub(WholeHub):
    """The writing half of ``Hub`` for a place that cannot be written to."""

    label: str

    def exists(self) -> bool:
        """Yes: what can only be read was there before."""
        return True

    def require_writable(self) -> None:
        """Refuses."""
        raise self._refusal()

    def commit(self, *_args: object, **_options: object) -> Commit:
        """Refuses."""
        raise self._refusal()

    def tag(self, *_args: object) -> None:
        """Refuses."""
        raise self._refusal()

    def merge(self, *_args: object) -> str:
        """Refuses."""
        raise self._refusal()

    def base(self, *_args: object) -> str:
        """Refuses."""
        raise self._refusal()

    def _refusal(self) -> HubError:
        return HubError(f"the {self.label} place cannot be published to")
