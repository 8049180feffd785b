"""How much of the checkpoint that training started from is in what is kept.

Weights halfway between a network and what further training made of it rank better than either,
where the further training saw little: Wortsman et al., "Robust fine-tuning of zero-shot models"
(arXiv 2109.01903). Where it saw much, what it made may be better as it is, and where what it saw
misleads, the network as it was. Validation workloads tell.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from wmhub.model.network import WorldModel
from wmhub.training.evaluate import Ranking, evaluate_rankings
from wmhub.training.loop import rank_stored
from wmhub.training.metrics import quality
from wmhub.training.store import StoredWorkload

#: Shares of the base that are compared; of equals the first is taken.
_SHARES = (0.5, 0.0, 1.0)


@dataclass(frozen=True)
class Kept:
    """What is kept of a training."""

    network: WorldModel
    """Trees included."""
    share: float
    """Of the base in its weights: 0, a half, or 1 where it is the base itself."""
    rankings: list[Ranking]
    """How it ranks the validation workloads."""


def blend(tuned: WorldModel, base: WorldModel, share: float) -> WorldModel:
    """A network with ``share`` of the weights of ``base`` and the rest of ``tuned``.

    The trees of ``tuned`` stand beside it, unless all of it is the base.
    """
    mixed = copy.deepcopy(base)
    if share < 1:
        mixed.plant(tuned.forest)
        with torch.no_grad():
            for own, other in zip(mixed.parameters(), tuned.parameters(), strict=True):
                own.copy_(torch.lerp(other, own, share))
    return mixed


def keep_best(
    tuned: WorldModel, base: WorldModel | None, validation: Sequence[StoredWorkload]
) -> Kept:
    """What ranks the ``validation`` workloads best: the base, what came of it, or halfway.

    Without a base, ``tuned`` itself.
    """
    if base is None:
        return Kept(tuned, 0.0, rank_stored(tuned, validation))
    kept = []
    for share in _SHARES:
        network = blend(tuned, base, share)
        kept.append(Kept(network, share, rank_stored(network, validation)))
    return max(kept, key=lambda one: quality(evaluate_rankings(one.rankings)[0]))
