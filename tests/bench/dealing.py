"""A workload as far as dealing into folds looks at it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """``NAME@VERSION``, of which those of one name are one program."""

    id: str

    @property
    def program_key(self) -> tuple[str, str]:
        return "meta_schedule", self.id.partition("@")[0]

    @property
    def identities(self) -> frozenset[str]:
        return frozenset({self.id, self.program_key[1]})
