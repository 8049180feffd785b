"""``LatentSearchConfig``: how the search in the latent space spends its trials."""

from __future__ import annotations

from dataclasses import dataclass, field

from wmhub.errors import InvalidInputError
from wmhub.search.evolve import Evolution


@dataclass(frozen=True)
class LatentSearchConfig:
    """How ``LatentSearch`` spends its trials."""

    evolution: Evolution = field(default_factory=lambda: Evolution(population=768, generations=10))
    """How candidates evolve before the first batch, and where nothing is measured."""
    later: Evolution = field(default_factory=lambda: Evolution(512, generations=3, structures=64))
    """How they evolve between batches, from the best that were measured."""
    exploration: float = 0.15
    """Share of all batches that is chosen by uncertainty."""
    greedy: float = 0.5
    """Share of each batch that has the best means of all, so that no search ends behind the model's
    own first choice."""
    shortlist: int = 384
    """Best candidates among which a batch is picked."""

    def __post_init__(self) -> None:
        for name in ("exploration", "greedy"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"{name} must be within 0 and 1, not {getattr(self, name)}")
        if self.shortlist < 1:
            raise InvalidInputError(f"shortlist must be at least 1, not {self.shortlist}")
