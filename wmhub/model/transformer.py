"""Actions as a sequence that is read all at once, in place of a transition (an ablation).

As TLP does (Zhai et al., ASPLOS 2023): each action is a token, and attention finds what matters.
Nothing is rolled out, so candidates that share a prefix share no work.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wmhub.model.config import HEADS

#: Candidates that are read at once when scoring, which bounds the attention's memory.
PIECE = 512


class ActionTransformer(nn.Module):
    """Reads the first latent and all actions; gives the latent that the scoring networks see."""

    def __init__(self, latent: int, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            latent, HEADS, 4 * latent, dropout, "gelu", batch_first=True, norm_first=True
        )
        # Nested tensors have no use for a first norm, and warn about it.
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(latent)

    def forward(self, start: Tensor, inputs: Tensor, live: Tensor) -> Tensor:
        """``start`` [M, latent], ``inputs`` [M, T, latent] and ``live`` bool [M, T] to [M, latent].

        Actions that are not live are padding.
        """
        placed = inputs + positions(inputs.shape[1], inputs.shape[2], inputs)
        tokens = torch.cat([start.unsqueeze(1), placed], dim=1)
        padding = torch.cat([torch.zeros_like(live[:, :1]), ~live], dim=1)
        read = self.encoder(tokens, src_key_padding_mask=padding)
        told: Tensor = self.norm(read[:, 0])
        return told


def positions(count: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines that tell positions apart, [count, width]."""
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(1e4) / width))
    angle = torch.arange(count, device=like.device).unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).reshape(count, -1)[:, :width].to(like)
