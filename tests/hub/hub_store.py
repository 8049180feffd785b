"""Repositories of the test server, in memory: commits, refs, large files, pull requests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timezone

import yaml

#: Files from this length on, and these endings, are large files.
LARGE_BYTES = 4096
LARGE_SUFFIXES = (".safetensors", ".parquet", ".png")


class RefusedError(Exception):
    """An answer that is an error: status, the client's error code, message."""

    def __init__(self, status: int, message: str, code: str | None = None, **extra: object):
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra


@dataclass(frozen=True)
class File:
    content: bytes

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def is_large(path: str, size: int) -> bool:
    return path.endswith(LARGE_SUFFIXES) or size >= LARGE_BYTES


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    title: str
    author: str
    date: str
    files: dict[str, File]


@dataclass
class PullRequest:
    number: int
    title: str
    author: str
    base: str
    status: str = "open"
    merge_commit: str | None = None
    date: str = ""
    events: list[dict[str, object]] = field(default_factory=list)


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Repo:
    type: str
    id: str
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        attributes = File(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n")
        self.add_commit("refs/heads/main", {".gitattributes": attributes}, "initial commit", "hub")

    def add_commit(self, ref: str, files: dict[str, File], title: str, author: str) -> Commit:
        parent = self.refs.get(ref)
        text = f"{parent}{title}{now()}" + "".join(f"{n}{f.sha256}" for n, f in files.items())
        id_ = hashlib.sha1(text.encode()).hexdigest()
        commit = Commit(id_, parent, title, author, now(), dict(files))
        self.commits[id_] = commit
        self.refs[ref] = id_
        return commit

    def commit_of(self, revision: str) -> Commit:
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if revision in self.commits:
            return self.commits[revision]
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def card(self, commit: Commit) -> dict[str, object]:
        readme = commit.files.get("README.md", File(b"")).content.decode()
        if not readme.startswith("---\n"):
            return {}
        return yaml.safe_load(readme.split("---\n", 2)[1]) or {}

    def tree(self, commit: Commit, under: str, recursive: bool) -> list[dict[str, object]]:
        prefix = f"{under}/" if under else ""
        paths = [path for path in sorted(commit.files) if path.startswith(prefix)]
        if under and not paths:
            raise RefusedError(404, f"{under} does not exist", "EntryNotFound")
        entries: list[dict[str, object]] = []
        folders: set[str] = set()
        for path in paths:
            inside = path[len(prefix) :].split("/")
            for depth in range(1, len(inside)):
                folder = prefix + "/".join(inside[:depth])
                if folder not in folders and (recursive or depth == 1):
                    folders.add(folder)
                    entries.append(
                        {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
                    )
            if recursive or len(inside) == 1:
                entries.append(self.entry(commit, path))
        return entries

    def entry(self, commit: Commit, path: str) -> dict[str, object]:
        file = commit.files[path]
        entry: dict[str, object] = {
            "type": "file",
            "oid": file.git_oid,
            "size": len(file.content),
            "path": path,
        }
        if is_large(path, len(file.content)):
            entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": 134}
        return entry

    def info(self, commit: Commit) -> dict[str, object]:
        card = self.card(commit)
        tags = [str(tag) for tag in card.get("tags", []) or []]  # type: ignore[attr-defined]
        return {
            "id": self.id,
            "modelId": self.id,
            "author": self.id.split("/")[0],
            "sha": commit.id,
            "lastModified": commit.date,
            "createdAt": commit.date,
            "private": self.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": tags,
            "cardData": card,
            "library_name": card.get("library_name"),
            "siblings": [
                {"rfilename": path, "size": len(file.content), "blobId": file.git_oid}
                for path, file in commit.files.items()
            ],
        }

    def merge(self, number: int, author: str) -> Commit:
        pull = self.pulls[number]
        if pull.status != "open":
            raise RefusedError(409, "This pull request is closed")
        proposed = self.commit_of(f"refs/pr/{number}").files
        base = self.commits[pull.base].files
        files = dict(self.commit_of("main").files)
        for path in {*base, *proposed}:
            if proposed.get(path) == base.get(path):
                continue
            if files.get(path) != base.get(path):
                raise RefusedError(409, f"Conflict in {path}")
            if path in proposed:
                files[path] = proposed[path]
            else:
                files.pop(path, None)
        commit = self.add_commit("refs/heads/main", files, pull.title, author)
        pull.status, pull.merge_commit = "merged", commit.id
        return commit
