"""What the environment says about hubs.

=====================  =======================================================================
``WMHUB_HUB``          where ``org/name`` is looked up and published: ``hf-hub`` (the default)
                       or ``folder:PATH``
``WMHUB_ORGANISATION`` whose repositories bare names mean, in place of the registry's
``WMHUB_HOME``         remembered tags, encoded datasets, features of TVM's;
                       in ``XDG_CACHE_HOME`` or ``~/.cache`` by default
``HF_HUB_OFFLINE``     no request leaves this machine (the Hugging Face client's own setting;
                       where it is not set, ``TRANSFORMERS_OFFLINE`` says it)
=====================  =======================================================================
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from wmhub.errors import InvalidInputError
from wmhub.hub.place import Hub


def home() -> Path:
    """The folder that wmhub keeps its own state in."""
    if named := os.environ.get("WMHUB_HOME"):
        return expanded(named)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "wmhub"
    try:
        return Path.home() / ".cache" / "wmhub"
    except RuntimeError as error:
        raise InvalidInputError("there is no home folder: set WMHUB_HOME") from error


def has_hub() -> bool:
    """Whether a place other than the default was set for all names."""
    return os.environ.get("WMHUB_HUB", "hf-hub") not in ("", "hf-hub")


def organisation_override() -> str | None:
    """Owner that bare names mean instead of the registry's, if one is set."""
    return os.environ.get("WMHUB_ORGANISATION") or None


def is_offline(offline: bool | None) -> bool:
    """``offline`` if it is told, else what the environment tells the Hugging Face client."""
    if offline is not None:
        return offline
    told = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return told.upper() in ("1", "ON", "YES", "TRUE")


def expanded(path: str) -> Path:
    """``path`` with a home folder for its ``~``; raises ``InvalidInputError`` for no known one."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        reason = "no home folder of that user is known; write the path out"
        raise InvalidInputError.at(Path(path), reason) from error


def require_address(endpoint: str) -> None:
    """Raises ``InvalidInputError``, without its text, for an ``endpoint`` that is no address."""
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_address = is_address and parts.port != 0
    except ValueError:  # A port that is no number.
        is_address = False
    if not is_address:
        raise InvalidInputError(
            "HF_ENDPOINT is no address of a server such as https://hub.example.com (a / or @ in a "
            "password must be written %2F or %40)"
        )


def open_hub(hub: str | None = None, *, offline: bool | None = None) -> Hub:
    """The place that ``hub`` names, or ``WMHUB_HUB``: ``hf-hub`` or ``folder:PATH``."""
    spec = hub or os.environ.get("WMHUB_HUB") or "hf-hub"
    place, _, path = spec.partition(":")
    if place == "folder" and path:
        from wmhub.hub.folder import FolderHub

        # One place by whatever path it is named: its tags are remembered by this.
        return FolderHub(expanded(path).resolve())
    if spec == "hf-hub":
        # Before the client is imported, which looks at it, too.
        if endpoint := os.environ.get("HF_ENDPOINT"):
            require_address(endpoint)
        from wmhub.hub.huggingface import HuggingFaceHub

        return HuggingFaceHub(offline=is_offline(offline))
    raise InvalidInputError(f"hub {spec[:120]!r} is neither hf-hub nor folder:PATH")
