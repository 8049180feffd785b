"""Fetches files of public git repositories by blob id, with git itself, which checks them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import IO

from wmhub.dataset.blobs import blob_id
from wmhub.errors import HubError, MissingDependencyError

_TIMEOUT_SECONDS = 3600
#: How git says that a server does not have an object, or does not give it away.
_LACKS = re.compile("not our ref|no such object|bad object|not a valid object|did not send all")


def fetch_blobs(repository: str, blobs: Collection[str], cache: Path) -> dict[str, Path]:
    """Files with the content of ``blobs`` below ``cache``, by id; those that upstream lacks are
    left out. Raises ``HubError`` where it cannot be reached.

    What is in ``cache`` already is not fetched again, where it is whole: a loss of power can have
    cut it short.
    """
    folder = cache / hashlib.sha256(repository.encode()).hexdigest()[:16]
    paths = {blob: folder / f"{blob}.log" for blob in blobs}
    there = {blob for blob, path in paths.items() if path.exists()}
    found = {blob for blob in there if blob_id(paths[blob], as_is=True) == blob}
    wanted = sorted(paths.keys() - found)
    if wanted:
        store = folder / "store.git"
        store.mkdir(parents=True, exist_ok=True)
        _git(store, "init", "--quiet", "--bare")
        # The wants that git itself makes when a partial clone lacks objects.
        _git(store, "config", "remote.upstream.url", repository)
        _git(store, "config", "remote.upstream.promisor", "true")
        _git(store, "config", "remote.upstream.partialclonefilter", "blob:none")
        _fetch(store, repository, wanted)
        for blob in wanted:
            if _run(store, ["cat-file", "-e", blob]).returncode != 0:
                continue  # Upstream lacks it: whatever else kept it away has been raised.
            partial = paths[blob].with_suffix(".partial")
            with partial.open("wb") as file:
                done = _run(store, ["cat-file", "blob", blob], stdout=file)
            if done.returncode != 0:
                partial.unlink()
                raise HubError(f"{partial}: cannot be written ({_last_words(done)})")
            partial.replace(paths[blob])
            found.add(blob)
    return {blob: paths[blob] for blob in found}


def _fetch(store: Path, repository: str, blobs: list[str]) -> None:
    """Fetches all ``blobs`` at once; if upstream refuses because it lacks one, one by one."""
    options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin"]
    command = ["-c", "fetch.negotiationAlgorithm=noop", "fetch", *options, "upstream"]
    done = _run(store, command, "\n".join(blobs))
    if done.returncode == 0:
        return
    reachable = _run(store, ["ls-remote", "--quiet", "upstream", "HEAD"])
    if reachable.returncode != 0:
        raise HubError(
            f"{repository}: cannot be reached ({_last_words(reachable)}); give a folder with its "
            "files by --mirror"
        )
    for blob in blobs:
        done = _run(store, command, blob)
        if done.returncode != 0 and not _LACKS.search(done.stderr):
            raise HubError(
                f"{repository}: fetching {blob} failed ({_last_words(done)}); the same command "
                "goes on with the rest"
            )


def _git(store: Path, *arguments: str) -> None:
    done = _run(store, list(arguments))
    if done.returncode != 0:
        raise HubError(f"git {arguments[0]} failed in {store}: {_last_words(done)}")


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split())[:300]


#: Variables, set for hooks, that would have git work in the repository of whoever calls.
_ELSEWHERE = frozenset(
    f"GIT_{what}"
    for what in (
        *("DIR", "WORK_TREE", "COMMON_DIR", "INDEX_FILE", "OBJECT_DIRECTORY", "NAMESPACE"),
        *("ALTERNATE_OBJECT_DIRECTORIES", "QUARANTINE_PATH", "SHALLOW_FILE", "GRAFT_FILE"),
    )
)


def _run(
    store: Path,
    arguments: list[str],
    text: str | None = None,
    stdout: IO[bytes] | int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _ELSEWHERE},
        "GIT_TERMINAL_PROMPT": "0",
        # Its reasons are read.
        "LC_ALL": "C",
        # Neither ssh nor helpers that a repository address could name.
        "GIT_ALLOW_PROTOCOL": "https:file",
        # cat-file must not go to the network by itself.
        "GIT_NO_LAZY_FETCH": "1",
    }
    try:
        return subprocess.run(
            ["git", "-C", str(store), *arguments],
            input=text,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise MissingDependencyError("fetching public logs needs git on the PATH") from None
    except subprocess.TimeoutExpired:
        raise HubError(f"git {arguments[0]} took longer than {_TIMEOUT_SECONDS} s") from None
