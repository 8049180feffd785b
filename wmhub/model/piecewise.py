"""``Piecewise``: structured features as networks read them, part by part of their ranges.

A tree may ask of one feature at any threshold; a layer of a network only scales it, and needs many
neurons to tell two thresholds of it from each other. So each feature comes as ``parts`` numbers,
too: how far it is through each of as many parts of its range, which hold as many candidates each of
what was trained on (piecewise linear encoding: Gorishniy et al., "On Embeddings for Numerical
Features in Tabular Deep Learning", arXiv 2203.05556).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

#: Parts below this width, in the features' units and as a share of where they begin, hold what is
#: one value but for rounding, and tell nothing.
_LEAST_WIDTH = 1e-5


class Piecewise(nn.Module):
    """The encoding of F features in P parts each."""

    knots: Tensor
    """float32 [F, P + 1]: where the parts begin and end, in the features' own units."""

    def __init__(self, features: int, parts: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(features, parts + 1))

    @property
    def parts(self) -> int:
        """P."""
        return self.knots.shape[1] - 1

    def forward(self, structured: Tensor) -> Tensor:
        """float32 [M, F] as they are to [M, F * P]: from -0.5, before a part, to 0.5, behind it; 0
        of a part without width."""
        low, scale, middle = self._terms
        return _through(structured[:, :, None] - low, scale, middle).flatten(1)

    def reader(self, chosen: Tensor) -> Callable[[Tensor], Tensor]:
        """What makes of [F, M] the C numbers ``chosen``, bool [F * P], of those of ``forward``:
        [C, M]. Column after column, as features lie in memory, it takes a fifth of the time."""
        at = chosen.nonzero().squeeze(1).to(self.knots.device)
        low, scale, middle = (t.flatten()[at, None] for t in self._terms)
        column = at // max(self.parts, 1)

        def read(columns: Tensor) -> Tensor:
            return _through(columns.index_select(0, column).sub_(low), scale, middle)

        return read

    def crossed(self, least: Tensor, most: Tensor) -> Tensor:
        """bool [F * P]: which of the numbers may differ among candidates whose features, [F] each,
        are from ``least`` to ``most``."""
        begun, ended = least[:, None] < self.knots[:, 1:], most[:, None] > self.knots[:, :-1]
        return (begun & ended & self._live).flatten()

    @property
    def _terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where each part begins, by what is multiplied what is beyond, and its middle: [F, P]."""
        live = self._live
        width = self.knots.diff(dim=1).clamp(min=_LEAST_WIDTH)
        return self.knots[:, :-1], torch.where(live, 1.0 / width, 0.0), live * 0.5

    @property
    def _live(self) -> Tensor:
        """bool [F, P]: which parts have a width."""
        low = self.knots[:, :-1]
        return self.knots.diff(dim=1) > _LEAST_WIDTH * low.abs().clamp(min=1.0)


def _through(beyond: Tensor, scale: Tensor, middle: Tensor) -> Tensor:
    """How far values are through parts that begin so far before them; overwrites ``beyond``."""
    return beyond.mul_(scale).clamp_(0.0, 1.0).sub_(middle)


def knots_of(values: np.ndarray, parts: int) -> np.ndarray:
    """Ends of ``parts`` parts that hold as many of ``values``, float32 [N, F], each: float32
    [F, parts + 1]. Where a value is frequent, parts have no width."""
    at = np.linspace(0.0, 1.0, parts + 1)
    return np.ascontiguousarray(np.quantile(values, at, axis=0).T, dtype=np.float32)
