"""What ``doctor`` says of one thing."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(str, enum.Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Something does without it, or is slower or less exact."""
    PROBLEM = "problem"
    """The main job does not work."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at, in a word or two."""
    severity: Severity
    said: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty where nothing is to be done."""
