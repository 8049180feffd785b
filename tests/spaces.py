"""A design space of four slots, for tests of what draws and evolves candidates."""

from __future__ import annotations

from typing import Any

from wmhub.measure.space import DesignSpace

INSTRUCTIONS: list[Any] = [
    ["GetSBlock", [], ["matmul", "main"], ["b0"]],
    ["SamplePerfectTile", ["l0"], [4, 64], ["v0", "v1", "v2", "v3"]],
    ["SamplePerfectTile", ["l1"], [2, 16], ["v4", "v5"]],
    ["SampleCategorical", [], [[0, 16, 64, 512], [0.25, 0.25, 0.25, 0.25]], ["v6"]],
    ["SampleComputeLocation", ["b0"], [], ["l9"]],
]
DECISIONS: list[Any] = [[1, [8, 4, 2, 8]], [2, [12, 8]], [3, 2], [4, -1]]


def space() -> DesignSpace:
    return DesignSpace(INSTRUCTIONS, DECISIONS)
