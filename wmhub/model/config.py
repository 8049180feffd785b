"""``ModelConfig``: sizes and parts of a network."""

from __future__ import annotations

from dataclasses import dataclass

from wmhub.errors import InvalidInputError

#: Heads of the Transformer's attention, each an equal share of the latent.
HEADS = 4
DYNAMICS = ("recurrent", "bag", "none", "transformer")

#: More than any network of this kind has: beyond it neither a file nor a setting is believed.
MOST = {"latent": 4096, "hidden": 4096, "layers": 64, "parts": 64, "members": 64, "trees": 1 << 16}


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and parts of a network; each part can be left out, for ablation."""

    latent: int = 64
    """Width of the latent state."""
    hidden: int = 160
    """Width of the scoring networks."""
    layers: int = 1
    """Residual layers of each scoring network."""
    parts: int = 8
    """Parts of its range that the scoring networks are told of each structured feature; 0 for the
    feature alone."""
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
        for name, most in MOST.items():
            size, least = getattr(self, name), int(name not in ("parts", "trees"))
            if type(size) is not int or not least <= size <= most:
                raise InvalidInputError(
                    f"model: {name} must be a whole number from {least} to {most}, not {size!r}"
                )
        if not 0 <= self.dropout < 1:
            raise InvalidInputError("model: dropout must be at least 0 and below 1")
        if self.dynamics not in DYNAMICS:
            raise InvalidInputError(f"model: dynamics must be one of {', '.join(DYNAMICS)}")
        if self.dynamics == "transformer" and self.latent % HEADS:
            raise InvalidInputError(f"model: a transformer's latent must be a multiple of {HEADS}")
