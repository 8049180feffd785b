"""Content versions, ``1.2.0``, and their tags, ``v1.2.0``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from wmhub.errors import InvalidNameError

_NUMBER = r"(0|[1-9][0-9]{0,5})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}\Z")


@dataclass(frozen=True, order=True)
class Version:
    """A content version: rows added is minor, changed or removed is major, card only is patch."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Parses ``1.2.0``; raises ``InvalidNameError``."""
        match = _VERSION.match(text)
        if not match:
            raise InvalidNameError(f"version {text[:40]!r} is not three numbers such as 1.2.0")
        return cls(*(int(part) for part in match.groups()))

    @classmethod
    def of_tag(cls, tag: str) -> Version | None:
        """The version that ``tag`` names, or ``None`` if it is no version tag."""
        try:
            return cls.parse(tag[1:]) if tag.startswith("v") else None
        except InvalidNameError:
            return None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def tag(self) -> str:
        """The tag of this version."""
        return f"v{self}"


def newest_tag(tags: Iterable[str]) -> str | None:
    """The tag of the highest version in ``tags``; others are passed over."""
    versions = [version for tag in tags if (version := Version.of_tag(tag)) is not None]
    return max(versions).tag if versions else None
