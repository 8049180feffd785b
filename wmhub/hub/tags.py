"""Tags of content versions: ``v1.2.0``."""

from __future__ import annotations

from collections.abc import Iterable

from wmhub.dataset.version import Version
from wmhub.errors import InvalidNameError


def version_of_tag(tag: str) -> Version | None:
    """The version that ``tag`` names, or ``None`` if it is no version tag."""
    try:
        version = Version.parse(tag)
    except InvalidNameError:
        return None
    return version if version.tag == tag else None


def newest_tag(tags: Iterable[str]) -> str | None:
    """The tag of the highest version in ``tags``; others are passed over."""
    versions = [version for tag in tags if (version := version_of_tag(tag)) is not None]
    return max(versions).tag if versions else None
