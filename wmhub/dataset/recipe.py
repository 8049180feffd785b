"""Recipes: which public logs a dataset is made of, and how to get exactly these.

``sources.toml`` names files by repository, commit, path and git blob id, the digest of their
content::

    hardware = "cuda-v100"

    [[upstream]]
    repository = "https://github.com/microsoft/nnfusion"
    commit = "a87b05c80c834db06aaa890d2ed4e364bc62eba4"
    licence = "MIT"
    contributor = "microsoft/nnfusion"

    [upstream.files]
    "artifacts/models/bert.log" = "1eabba5ece2de1eedc5deaed8b23f0c210d69c52"

They come from a mirror, a folder in which names and compression do not matter, or from upstream.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wmhub.dataset.blobs import blob_id
from wmhub.dataset.schema import Provenance
from wmhub.dataset.upstream import fetch_blobs
from wmhub.errors import InvalidInputError, LogFormatError, MissingInputError
from wmhub.logs.discover import LogFile, Unread, partner_names
from wmhub.logs.lines import STREAM_ERRORS
from wmhub.logs.sniff import LogKind, sniff_file
from wmhub.names import HardwareKey

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BLOB = re.compile(r"[0-9a-f]{40}\Z")
_REPOSITORY = re.compile(r"(https://[A-Za-z0-9.-]+/|file:///)[A-Za-z0-9._/-]+\Z")


@dataclass(frozen=True)
class Upstream:
    """Files of one public repository."""

    repository: str
    """Its ``https://`` address."""
    commit: str
    """Commit that was read, 40 hexadecimal digits."""
    licence: str
    """SPDX identifier."""
    contributor: str
    """Who is to be credited."""
    files: Mapping[str, str]
    """Path in the repository -> git blob id."""


@dataclass(frozen=True)
class Recipe:
    """A parsed ``sources.toml``."""

    hardware: HardwareKey
    upstreams: tuple[Upstream, ...]


@dataclass(frozen=True)
class Gathered:
    """What of a recipe there is."""

    logs: list[tuple[LogFile, Provenance]]
    missing: list[Unread]


def read_recipe(path: Path) -> Recipe:
    """Parses ``sources.toml``; raises ``InvalidInputError`` with the place and the rule."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such recipe") from None
    except (OSError, RecursionError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path}: no readable TOML: {error}") from None
    try:
        if not isinstance(value["upstream"], list):
            raise ValueError("'upstream' must be a list of tables: [[upstream]]")
        upstreams = tuple(_upstream(item) for item in value["upstream"])
        return Recipe(HardwareKey.parse(value["hardware"]), upstreams)
    except KeyError as error:
        raise InvalidInputError(f"{path}: {error.args[0]!r} is missing") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise InvalidInputError(f"{path}: {error}") from None


def gather(recipe: Recipe, mirror: Path | None, cache: Path, collector: str) -> Gathered:
    """The logs of ``recipe``: from ``mirror``, else fetched from upstream into ``cache``."""
    logs: list[tuple[LogFile, Provenance]] = []
    missing: list[Unread] = []
    present = _blobs_in(mirror) if mirror is not None else {}
    for upstream in recipe.upstreams:
        name = "/".join(PurePosixPath(upstream.repository).parts[-2:])
        if mirror is None:
            found = fetch_blobs(upstream.repository, set(upstream.files.values()), cache)
        else:
            found = present
        provenance = Provenance(upstream.contributor, upstream.licence, collector)
        for path, blob in sorted(upstream.files.items()):
            if blob not in found:
                missing.append(Unread(f"{name}:{path}", _why_missing(mirror, path, blob, upstream)))
                continue
            kind = sniff_file(found[blob])
            if kind is None:
                raise LogFormatError(f"{found[blob]}: {name}:{path} is no measurement log")
            if kind is LogKind.META_SCHEDULE_WORKLOADS:
                continue
            here = PurePosixPath(path)
            names = partner_names(here.name, "tuning_record", "workload")
            beside = (str(here.with_name(one)) for one in names)
            partner = next((one for one in beside if upstream.files.get(one) in found), None)
            workloads = None if partner is None else found[upstream.files[partner]]
            told = "" if partner is None else f"{name}:{partner}"
            log = LogFile(found[blob], f"{name}:{path}", kind, workloads, told)
            # Two commits of a repository may list a file that is the same in both.
            if all(log != other for other, _ in logs):
                logs.append((log, provenance))
    if not logs:
        raise MissingInputError(
            f"none of the {len(missing)} files of the recipe is there; the first, {missing[0]}"
            if missing
            else "the recipe names no tuning records"
        )
    return Gathered(logs, missing)


def _blobs_in(mirror: Path) -> dict[str, Path]:
    """The files below ``mirror`` by blob id."""
    if not mirror.is_dir():
        raise MissingInputError(
            f"{mirror}: no such folder; --mirror is a folder of upstream's files"
        )
    found = {}
    for path in sorted(mirror.rglob("*")):
        if path.is_file() and ".git" not in path.parts:
            # What cannot be read may not be wanted; if it is, it is missing.
            with contextlib.suppress(LogFormatError, MissingInputError, *STREAM_ERRORS):
                found[blob_id(path, as_is=True)] = path
                # A mirror may hold compressed what upstream holds plain.
                found[blob_id(path)] = path
    return found


def _why_missing(mirror: Path | None, path: str, blob: str, upstream: Upstream) -> str:
    if mirror is None:
        return f"upstream no longer has blob {blob[:12]}, which commit {upstream.commit[:12]} had"
    name = path.rpartition("/")[2]
    alike = next((file for file in mirror.rglob(f"*{name}*") if file.is_file()), None)
    if alike is None:
        return f"not in {mirror}"
    return f"{alike} has other content than blob {blob[:12]}"


def _upstream(value: Mapping[str, object]) -> Upstream:
    texts = {key: value[key] for key in ("repository", "commit", "licence", "contributor")}
    for key, text in texts.items():
        if not isinstance(text, str) or not text:
            raise ValueError(f"{key!r} must be text")
    if not _REPOSITORY.match(str(texts["repository"])):
        raise ValueError(f"repository {texts['repository']!r} is no https:// address")
    if not _BLOB.match(str(texts["commit"])):
        raise ValueError(f"commit {texts['commit']!r} is not 40 hexadecimal digits")
    files = value["files"]
    if not isinstance(files, dict) or not files:
        raise ValueError("'files' must be a table of path = blob id")
    for path, blob in files.items():
        if not isinstance(blob, str) or not _BLOB.match(blob):
            raise ValueError(f"{path}: {blob!r} is no git blob id")
    return Upstream(**{key: str(text) for key, text in texts.items()}, files=files)
