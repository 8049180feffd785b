"""What each tag meant when it was first loaded here.

A tag never moves. The first answer for one, once its content was verified, is remembered under
``WMHUB_HOME``, a later answer that differs is refused, and offline the remembered one answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from wmhub.errors import HubError, InvalidInputError
from wmhub.flushing import write_file
from wmhub.hub.integrity import check_commit, check_path, read_bounded
from wmhub.hub.place import Repository
from wmhub.hub.tags import version_of_tag

_MOST_COMMIT_BYTES = 200


class KnownTags:
    """The remembered tags of one place: a small file for each, ``KIND/ORG/NAME/TAG``."""

    def __init__(self, location: str, root: Path | None = None) -> None:
        from wmhub.hub.settings import home

        place = hashlib.sha256(location.encode()).hexdigest()[:16]
        self._root = (root or home()) / "tags" / place

    def repositories(self, label: str) -> list[Repository]:
        """Every repository of one kind with a remembered tag."""
        folders = {path.parent for path in (self._root / label).glob("*/*/*")}
        return sorted(Repository(folder.parent.name, folder.name) for folder in folders)

    def of(self, label: str, repository: Repository) -> Mapping[str, str]:
        """Tag -> commit of one repository."""
        folder = self._folder(label, repository)
        return {path.name: _remembered(path) for path in sorted(folder.glob("v*"))}

    def compare(self, label: str, repository: Repository, tag: str, commit: str) -> None:
        """Raises ``InvalidInputError`` for a version tag that was another commit before."""
        known = self.of(label, repository).get(tag)
        if version_of_tag(tag) is not None and known not in (None, commit):
            path = self._folder(label, repository) / tag
            raise InvalidInputError(
                f"{label} {repository}: the tag {tag} was commit {known[:12]} and is {commit[:12]} "
                f"now: the tag was moved. Nothing was loaded; if the new one is to be trusted, "
                f"name it as @{commit}, or delete {path}"
            )

    def remember(self, label: str, repository: Repository, tag: str, commit: str) -> None:
        """Keeps a version tag's commit; raises ``InvalidInputError`` as ``compare`` does, and
        ``HubError`` where it cannot be written."""
        self.compare(label, repository, tag, commit)
        if version_of_tag(tag) is None or tag in self.of(label, repository):
            return
        path = self._folder(label, repository) / tag
        try:
            write_file(path, f"{check_commit(commit)}\n".encode())
        except OSError as error:
            raise HubError(
                f"{path}: what {tag} of {label} {repository} is cannot be remembered there "
                f"({error}); set WMHUB_HOME to a folder that can be written"
            ) from error

    def _folder(self, label: str, repository: Repository) -> Path:
        return self._root / label / check_path(repository.org) / check_path(repository.name)


def _remembered(path: Path) -> str:
    text = read_bounded(path, _MOST_COMMIT_BYTES).decode("ascii", "replace").strip()
    try:
        return check_commit(text)
    except InvalidInputError as error:
        raise InvalidInputError.at(path, f"{error}; delete this file") from error
