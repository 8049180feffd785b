"""What the network is trained for: order within a workload, latency ratios, and consistency."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ranking_loss(scores: Tensor, gains: Tensor, temperature: float) -> Tensor:
    """ListNet's top-one cross entropy (Cao et al., ICML 2007).

    ``scores`` and ``gains`` are float32 [..., L]; ``gains`` is log(best latency / latency), at most
    0. A higher ``temperature`` looks at the best candidates only.
    """
    wanted = functional.softmax(gains * temperature, dim=-1)
    told = functional.log_softmax(scores * temperature, dim=-1)
    return -(wanted * told).sum(dim=-1).mean()


def latency_loss(scores: Tensor, gains: Tensor) -> Tensor:
    """Squared error of latency ratios within each list, good candidates weighing more.

    Both float32 [..., L]; a list's mean is removed, because only ratios within a workload matter.
    """
    weight = torch.exp(gains) + 0.1
    total = weight.sum(dim=-1, keepdim=True)
    offset = ((scores - gains) * weight).sum(dim=-1, keepdim=True) / total
    return (((scores - offset - gains) ** 2 * weight).sum(dim=-1, keepdim=True) / total).mean()


def consistency_loss(told: Tensor, target: Tensor) -> Tensor:
    """Huber error of the program that the latent tells against the program that was made."""
    return functional.smooth_l1_loss(told, target)
