"""Content versions: ``v1.2.0`` says what became of the rows, and a tag never moves."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from wmhub.errors import InvalidInputError, InvalidNameError

_VERSION = re.compile(r"v?(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\Z")


class Change(enum.IntEnum):
    """What distinguishes two versions of a dataset, by its weight."""

    NONE = 0
    PATCH = 1
    """The card or another description only; every row is the same."""
    MINOR = 2
    """Rows were added."""
    MAJOR = 3
    """Rows were changed or removed, or a workload is in another split."""


@dataclass(frozen=True, order=True)
class Version:
    """A semantic version of content."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Parses ``1.2.0`` or ``v1.2.0``; raises ``InvalidNameError``."""
        match = _VERSION.match(text)
        if not match:
            raise InvalidNameError(f"content version {text[:60]!r} is not like 1.2.0")
        return cls(*map(int, match.groups()))

    def require_after(self, change: Change, before: Version) -> None:
        """Raises ``InvalidInputError`` unless this may follow ``before`` after ``change``."""
        if not self.allows(change, before):
            raise InvalidInputError(
                f"version {self} cannot follow {before}: it must be {before.after(change)} or later"
            )

    @classmethod
    def named(cls, version: Version | str | None) -> Version | None:
        """A version as a caller may name it, or ``None`` where none is named; see ``parse``."""
        return cls.parse(version) if isinstance(version, str) else version

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def tag(self) -> str:
        """The tag that it is published under, such as ``v1.2.0``."""
        return f"v{self}"

    def after(self, change: Change) -> Version:
        """The least version that may follow this one after ``change``."""
        if change is Change.MAJOR:
            return Version(self.major + 1, 0, 0)
        if change is Change.MINOR:
            return Version(self.major, self.minor + 1, 0)
        if change is Change.PATCH:
            return Version(self.major, self.minor, self.patch + 1)
        return self

    def allows(self, change: Change, before: Version) -> bool:
        """Whether this version may be given to what became of ``before`` by ``change``."""
        return self >= before.after(change)


#: What a dataset begins with.
FIRST_VERSION = Version(1, 0, 0)
