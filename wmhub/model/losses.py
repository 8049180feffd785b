"""What the network is trained for: order within a workload, latency ratios, and consistency."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

RANKINGS = ("listnet", "lambdarank")
"""Kinds of `ranking_loss`."""


def ranking_loss(
    scores: Tensor, gains: Tensor, temperature: float, kind: str = "listnet"
) -> Tensor:
    """How far the order of ``scores`` is from that of ``gains``, by one of ``RANKINGS``.

    ``scores`` and ``gains`` are float32 [..., L]; ``gains`` is log(best latency / latency), at most
    0. A higher ``temperature`` looks at the best candidates only.
    """
    return (_lambdarank if kind == "lambdarank" else _listnet)(scores, gains, temperature)


def _listnet(scores: Tensor, gains: Tensor, temperature: float) -> Tensor:
    """ListNet's top-one cross entropy (Cao et al., ICML 2007)."""
    wanted = functional.softmax(gains * temperature, dim=-1)
    told = functional.log_softmax(scores * temperature, dim=-1)
    return -(wanted * told).sum(dim=-1).mean()


def _lambdarank(scores: Tensor, gains: Tensor, temperature: float) -> Tensor:
    """LambdaRank as a loss (Burges, 2010; Wang et al., CIKM 2018).

    The logistic loss of each pair, weighted by how much NDCG changes when the two swap places. The
    relevance of a candidate is best latency / latency.
    """
    relevance = torch.exp(gains)
    with torch.no_grad():
        order = scores.argsort(dim=-1, descending=True).argsort(dim=-1)
        discount = 1.0 / torch.log2(order + 2.0)
        places = torch.arange(scores.shape[-1], device=scores.device)
        ideal = (relevance.sort(dim=-1, descending=True).values / torch.log2(places + 2.0)).sum(-1)
        swapped = _pairs(relevance).abs() * _pairs(discount).abs()
        weight = torch.where(_pairs(gains) > 0, swapped, 0.0) / ideal[..., None, None]
    lost = functional.softplus(-temperature * _pairs(scores))
    return (weight * lost).sum(dim=(-2, -1)).mean()


def _pairs(values: Tensor) -> Tensor:
    """[..., L] to the differences [..., L, L]."""
    return values.unsqueeze(-1) - values.unsqueeze(-2)


def latency_loss(scores: Tensor, gains: Tensor) -> Tensor:
    """Squared error of latency ratios within each list, good candidates weighing more.

    Both float32 [..., L]; a list's mean is removed, because only ratios within a workload matter.
    """
    weight = speed_weight(gains)
    total = weight.sum(dim=-1, keepdim=True)
    offset = ((scores - gains) * weight).sum(dim=-1, keepdim=True) / total
    return (((scores - offset - gains) ** 2 * weight).sum(dim=-1, keepdim=True) / total).mean()


def speed_weight(gains: Tensor) -> Tensor:
    """What the latency of each candidate weighs: its speed, for the fastest are looked for."""
    return torch.exp(gains) + 0.1


def consistency_loss(told: Tensor, target: Tensor) -> Tensor:
    """Huber error of what the latent tells of the final program against what it is: its structured
    features, of the loop nests that TVM makes too (the tests compare them), so that data without a
    TVM to replay it in, as Ansor's, teaches as well."""
    return functional.smooth_l1_loss(told, target)
