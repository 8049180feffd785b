"""``ModelConfig``: sizes and parts of a network."""

from __future__ import annotations

from dataclasses import dataclass

from wmhub.errors import InvalidInputError

#: Heads of the Transformer's attention, each an equal share of the latent.
HEADS = 4
DYNAMICS = ("recurrent", "bag", "none", "transformer")

#: More than any network of this kind has: what a file says is not believed beyond it.
_MOST_LAYERS = 64


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and parts of a network; each part can be left out, for ablation."""

    latent: int = 64
    """Width of the latent state."""
    hidden: int = 160
    """Width of the scoring networks."""
    layers: int = 2
    """Residual layers of each scoring network."""
    members: int = 2
    """Scoring networks; they differ by their first weights alone."""
    dropout: float = 0.1
    """Share of activations dropped while training."""
    dynamics: str = "recurrent"
    """How actions move the latent: ``recurrent``, ``transformer`` (read all at once), ``bag`` (a
    sum, without order) or ``none``."""
    program: bool = True
    """Whether the initial program sets the first latent."""
    structured: bool = True
    """Whether the scoring networks see the structured features."""
    hardware: bool = True
    """Whether the scoring networks see the hardware profile."""
    trees: int = 0
    """Trees that stand beside the scoring networks; training grows them first."""

    def __post_init__(self) -> None:
        sizes = (self.latent, self.hidden, self.layers, self.members)
        whole = all(type(size) is int for size in (*sizes, self.trees))
        if not whole or min(*sizes, self.trees + 1) < 1 or self.layers > _MOST_LAYERS:
            raise InvalidInputError(
                "model: latent, hidden, layers and members must be whole numbers from 1, layers at "
                f"most {_MOST_LAYERS}, and trees a whole number from 0"
            )
        if not 0 <= self.dropout < 1:
            raise InvalidInputError("model: dropout must be at least 0 and below 1")
        if self.dynamics not in DYNAMICS:
            raise InvalidInputError(f"model: dynamics must be one of {', '.join(DYNAMICS)}")
        if self.dynamics == "transformer" and self.latent % HEADS:
            raise InvalidInputError(f"model: a transformer's latent must be a multiple of {HEADS}")
