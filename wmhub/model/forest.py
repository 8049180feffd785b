"""``Forest``: regression trees on the structured features, the part of the score without a rollout.

Networks and trees err on different candidates, so their mean ranks better than either. Trees are
complete: every leaf lies at the same depth, and a branch that training left short goes on to the
left. So a tree is three rows of numbers, and no number in a file can lead a walk astray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from wmhub.errors import InvalidInputError

#: Depth of every tree; 256 leaves tell more than is known of a workload not seen, and fit a byte.
DEPTH = 8
#: Candidates that walk at once: their positions in all trees stay in a core's cache.
_PIECE = 128
#: Threshold of a split that leads to the left whatever the feature: weights must be finite.
ALWAYS_LEFT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TreeTables:
    """T trees as arrays, D being ``DEPTH``; the children of node n are 2n + 1 and 2n + 2."""

    feature: np.ndarray
    """int32 [T, 2^D - 1]: which structured feature a node looks at."""
    threshold: np.ndarray
    """float32 [T, 2^D - 1]: the walk goes left where the feature is below it."""
    leaf: np.ndarray
    """float32 [T, 2^D]: what a tree adds to the score: nats near the best candidate of a workload,
    and less than that the slower one is (`wmhub.training.boosting` says why)."""


class Forest(nn.Module):
    """The sum of its trees; see the module."""

    bias: Tensor
    feature: Tensor
    threshold: Tensor
    leaf: Tensor

    def __init__(self, trees: int, features: int) -> None:
        super().__init__()
        #: How many structured features there are.
        self.features = features
        nodes = (trees, 2**DEPTH - 1)
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("feature", torch.zeros(nodes, dtype=torch.int32))
        self.register_buffer("threshold", torch.full(nodes, ALWAYS_LEFT))
        self.register_buffer("leaf", torch.zeros(trees, 2**DEPTH))

    @classmethod
    def of(cls, tables: TreeTables, bias: float, features: int) -> Forest:
        """The forest of trained trees over so many structured features."""
        forest = cls(len(tables.leaf), features)
        forest.bias.fill_(bias)
        forest.feature.copy_(torch.from_numpy(tables.feature))
        forest.threshold.copy_(torch.from_numpy(tables.threshold))
        forest.leaf.copy_(torch.from_numpy(tables.leaf))
        return forest

    def grown(self, tables: TreeTables) -> Forest:
        """This forest with more trees."""
        both = TreeTables(
            np.concatenate([self.feature.numpy(), tables.feature]),
            np.concatenate([self.threshold.numpy(), tables.threshold]),
            np.concatenate([self.leaf.numpy(), tables.leaf]),
        )
        return Forest.of(both, float(self.bias), self.features)

    def faded(self, share: float, kept: int) -> Forest:
        """This forest with ``share`` of what all but the first ``kept`` trees say."""
        leaf = self.leaf.numpy().copy()
        leaf[kept:] *= np.float32(share)
        tables = TreeTables(self.feature.numpy(), self.threshold.numpy(), leaf)
        return Forest.of(tables, float(self.bias), self.features)

    @property
    def trees(self) -> int:
        """How many trees there are."""
        return len(self.leaf)

    def require_sound(self) -> None:
        """Raises ``InvalidInputError`` where a node looks at a feature that does not exist."""
        if self.trees and not (self.feature >= 0).logical_and(self.feature < self.features).all():
            raise InvalidInputError(f"a tree looks at none of the {self.features} features")

    def predict(self, structured: np.ndarray) -> np.ndarray:
        """float32 [N, F] structured features, not normalised, to scores float32 [N] in nats."""
        return self.judge(structured)[0]

    def judge(self, structured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores as ``predict`` gives them, and the leaf of each tree where each candidate ends,
        uint8 [N, T]."""
        scores = np.full(len(structured), float(self.bias), np.float32)
        leaves = np.empty((len(structured), self.trees), np.uint8)
        if self.trees:
            feature, threshold, leaf = (
                t.numpy() for t in (self.feature, self.threshold, self.leaf)
            )
            first = (np.arange(self.trees, dtype=np.int32) * leaf.shape[1])[:, None]
            for start in range(0, len(structured), _PIECE):
                here = slice(start, min(start + _PIECE, len(structured)))
                found = _walk(structured[here], feature, threshold)
                scores[here] += leaf.ravel().take(found + first).sum(axis=0, dtype=np.float32)
                leaves[here] = found.T
        return scores, leaves


def _walk(structured: np.ndarray, feature: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Leaf of each tree for each row of ``structured``, int32 [T, N]; all walks level by level."""
    trees, nodes = feature.shape
    count = len(structured)
    columns = np.ascontiguousarray(structured.T, dtype=np.float32)
    # At the root all look at the same: no table is needed.
    node = 1 + (columns[feature[:, 0]] >= threshold[:, :1]).astype(np.int32)
    columns, row = columns.ravel(), np.arange(count, dtype=np.int32)
    place = feature.astype(np.int32).ravel() * np.int32(count)
    threshold = threshold.ravel()
    first = (np.arange(trees, dtype=np.int32) * nodes)[:, None]
    for _ in range(DEPTH - 1):
        at = node + first
        is_right = columns.take(place.take(at) + row) >= threshold.take(at)
        node = 2 * node + 1 + is_right
    return np.asarray(node - nodes)
