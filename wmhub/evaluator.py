"""A loaded checkpoint that scores candidates: what `from_pretrained` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from wmhub.checkpoint import Checkpoint, read_checkpoint
from wmhub.model.encode import Encoded, encode
from wmhub.model.merge import merge
from wmhub.model.network import Judgement
from wmhub.names import HardwareKey
from wmhub.program import Program
from wmhub.replay.ansor import replay_steps
from wmhub.replay.meta_schedule import replay_settings, replay_traces
from wmhub.trajectory import Group
from wmhub.tvm_json import parse_program


@dataclass(frozen=True)
class Scores:
    """What the model thinks of N candidates of one workload."""

    score: np.ndarray
    """float32 [N], higher is better; the difference of two scores approximates the natural
    logarithm of the ratio of their latencies, and is less than that where one is far slower than
    the best: half of the score is by trees, which spend nothing on such."""
    uncertainty: np.ndarray
    """float32 [N], standard deviation of ``score`` beside those of the others, same unit; 0 of a
    candidate alone, because only differences within a workload mean anything."""
    embedding: np.ndarray
    """float32 [N, E]: terminal latent of each candidate."""
    leaves: np.ndarray
    """uint8 [N, T]: the leaf of each of the checkpoint's trees where each candidate ends. By both,
    candidates are alike or not, and what is measured of one tells about the others."""

    def at(self, rows: np.ndarray) -> Scores:
        """Those of the candidates ``rows`` (int64 [M]), in that order."""
        return Scores(
            self.score[rows], self.uncertainty[rows], self.embedding[rows], self.leaves[rows]
        )


@dataclass(frozen=True)
class LatentSpace:
    """Where the candidates of an evaluator lie; those of another mean nothing in it."""

    model: str
    """What made them: of a checkpoint ``name@version`` and the digest of its weights."""
    width: int
    """E of `Scores`."""
    trees: int
    """T of `Scores`."""


class Settings(NamedTuple):
    """Many settings of one design-space trace."""

    instructions: Sequence[Any]
    """As ``Trace.as_json()`` gives them."""
    decisions: Sequence[Sequence[Any]]
    """Of each candidate a list of ``[instruction index, value]``, in the same order for all."""


class WorkloadScorer(Protocol):
    """Scores candidates of one MetaSchedule workload."""

    def score_traces(self, traces: Sequence[Any]) -> Scores:
        """Scores parsed traces, each ``[instructions, decisions]`` as ``Trace.as_json()`` gives.

        Everything from ``EnterPostproc`` on is ignored.
        """
        ...

    def score_decisions(
        self, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
    ) -> Scores:
        """Scores many settings of one design-space trace; see `Settings`."""
        ...

    def score_spaces(self, spaces: Sequence[Settings]) -> Scores:
        """Scores settings of several design-space traces, one space after the other.

        Not the same as one `score_decisions` a space: the uncertainty is beside all of them.
        """
        ...


class Evaluator:
    """A checkpoint, ready to score. It is never changed; adaptation happens on top of it."""

    def __init__(self, checkpoint: Checkpoint, share_prefixes: bool = True) -> None:
        self.checkpoint = checkpoint
        self._share = share_prefixes

    @property
    def name(self) -> str:
        """Name of the checkpoint, such as ``wm-cuda-a100``."""
        return self.checkpoint.name

    @property
    def hardware(self) -> HardwareKey:
        """What it ranks schedules for."""
        return self.checkpoint.hardware

    @property
    def latents(self) -> LatentSpace:
        """Where its candidates lie, which other weights of the same name do not share."""
        made_by = self.checkpoint
        model = f"{made_by.name}@{made_by.version} (weights {made_by.weights_digest[:16]})"
        network = made_by.network
        return LatentSpace(model, network.config.hidden, network.forest.trees)

    def for_workload(self, program: str) -> WorkloadScorer:
        """The scorer of one workload: base64 of a MetaSchedule database, or the JSON text of
        ``tvm.ir.save_json``. Raises ``InvalidInputError`` for anything else."""
        return _TraceScorer(self, parse_program(program))

    def score_steps(self, workload_key: str, steps: Sequence[Sequence[Any]]) -> Scores:
        """Scores candidates of the classic AutoScheduler, each its list of transform steps."""
        return self.score_groups(replay_steps(workload_key, steps), len(steps))

    def cost_model(self, adapt: bool = True) -> Any:
        """A cost model for ``tune_tir(cost_model=...)`` of TVM's MetaSchedule."""
        from wmhub.search.cost_model import cost_model

        return cost_model(self, adapt)

    def auto_scheduler_model(self, adapt: bool = True) -> Any:
        """A cost model for ``SketchPolicy(task, program_cost_model=...)`` of TVM 0.8 to 0.19.

        Such a TVM must have been built for Python 3.10 or 3.11: wmhub needs the one, and it knows
        nothing newer than the other.
        """
        from wmhub.search.auto_scheduler import auto_scheduler_model

        return auto_scheduler_model(self, adapt)

    def score_groups(self, groups: Sequence[Group], count: int) -> Scores:
        """Scores replayed groups whose members are positions below ``count``."""
        network = self.checkpoint.network
        opinions = np.zeros((network.voices, count), np.float32)
        embedding = np.zeros((count, network.config.hidden), np.float32)
        leaves = np.zeros((count, network.forest.trees), np.uint8)
        encoded = [encode(group.trajectories, self.checkpoint.profile) for group in groups]
        for numbers, together in merge(encoded):
            judged = self._judge(together)
            members = np.concatenate([groups[number].members for number in numbers])
            opinions[:, members] = judged.opinions
            embedding[members] = judged.embedding
            leaves[members] = judged.leaves
        return Scores(*network.verdict(opinions), embedding, leaves)

    def _judge(self, encoded: Encoded) -> Judgement:
        import torch

        with torch.inference_mode():
            return self.checkpoint.network.judge(encoded, self._share)


class _TraceScorer:
    """`WorkloadScorer` of one program."""

    def __init__(self, evaluator: Evaluator, program: Program) -> None:
        self._evaluator = evaluator
        self._program = program

    def score_traces(self, traces: Sequence[Any]) -> Scores:
        """See `WorkloadScorer.score_traces`."""
        groups = replay_traces(self._program, traces)
        return self._evaluator.score_groups(groups, len(traces))

    def score_decisions(
        self, instructions: Sequence[Any], decisions: Sequence[Sequence[Any]]
    ) -> Scores:
        """See `WorkloadScorer.score_decisions`."""
        return self.score_spaces([Settings(instructions, decisions)])

    def score_spaces(self, spaces: Sequence[Settings]) -> Scores:
        """See `WorkloadScorer.score_spaces`."""
        groups: list[Group] = []
        count = 0
        for instructions, decisions in spaces:
            for group in replay_settings(self._program, instructions, decisions):
                groups.append(Group(group.members + count, group.trajectories))
            count += len(decisions)
        return self._evaluator.score_groups(groups, count)


def load_evaluator(folder: str | Path) -> Evaluator:
    """Loads the checkpoint in ``folder``; raises what ``read_checkpoint`` raises."""
    return Evaluator(read_checkpoint(folder))
