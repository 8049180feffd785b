"""A scorer that needs no checkpoint, a known function of the decisions; and tasks to search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.evaluator import LatentSpace, Scores, Settings
from wmhub.names import HardwareKey


def _numbers(decisions: Sequence[Any]) -> list[float]:
    flat: list[float] = []
    for _, value in decisions:
        flat.extend(np.log2(np.maximum(np.atleast_1d(value), 1)).tolist())
    return flat


class FakeScorer:
    """Prefers large innermost tiles; the latent is the logarithm of all decisions."""

    width = 48

    def __init__(self) -> None:
        self.calls = 0
        self.scored = 0

    def score_traces(self, traces: Sequence[Any]) -> Scores:
        return self.score_spaces(
            [Settings(instructions, [chosen]) for instructions, chosen in traces]
        )

    def score_decisions(
        self, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
    ) -> Scores:
        return self.score_spaces([Settings(instructions, decisions)])

    def score_spaces(self, spaces: Sequence[Settings]) -> Scores:
        every = [chosen for _, decisions in spaces for chosen in decisions]
        self.calls += 1
        self.scored += len(every)
        latent = np.zeros((len(every), self.width), np.float32)
        score = np.zeros(len(every), np.float32)
        for row, chosen in enumerate(every):
            numbers = _numbers(chosen)[: self.width]
            latent[row, : len(numbers)] = numbers
            tiles = [value for _, value in chosen if isinstance(value, list)]
            score[row] = sum(np.log2(min(tile[-1], 16)) for tile in tiles) / max(len(tiles), 1)
        # As a checkpoint's: of a candidate alone there is none.
        doubt = np.full(len(every), 0.5 if len(every) > 1 else 0.0, np.float32)
        # Trees of one leaf for each value of a decision.
        return Scores(score, doubt, latent, latent.round().astype(np.uint8))


class FakeEvaluator:
    """Gives a ``FakeScorer`` for every workload."""

    name = "wm-fake"
    hardware = HardwareKey("llvm", "rocketlake", 2)
    latents = LatentSpace("wm-fake@1.0.0 (weights 0000)", FakeScorer.width, FakeScorer.width)

    def __init__(self) -> None:
        self.scorers: dict[str, FakeScorer] = {}

    def for_workload(self, program: str) -> FakeScorer:
        return self.scorers.setdefault(program, FakeScorer())


def workload(name: str = "CBR", number: int = 3) -> Any:
    from wmhub.tvm_compat import tvm

    assert tvm
    from tvm.s_tir.meta_schedule.testing.te_workload import create_te_workload

    return create_te_workload(name, number)


def make_context(mod: Any, cores: int = 2) -> Any:
    from wmhub.tvm_compat import llvm_target, use_target
    from wmhub.tvm_compat import meta_schedule as ms

    return ms.TuneContext(
        mod=mod,
        target=use_target(llvm_target(cores=cores)),
        space_generator="post-order-apply",
        num_threads=1,
        rand_state=1,
    )
