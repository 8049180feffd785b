"""``Sketch``: a design space of MetaSchedule, and the way back from decisions to a schedule."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from wmhub.errors import InvalidInputError
from wmhub.measure.programs import save_program
from wmhub.measure.space import DesignSpace
from wmhub.replay.limits import BlockLimits, fits
from wmhub.replay.meta_schedule import replay_settings
from wmhub.tvm_compat import Schedule, Trace, plain, raw_trace
from wmhub.tvm_json import parse_program

#: What TVM raises for a schedule that cannot be: ScheduleError comes as RuntimeError, failed checks
#: as the built-in that fits.
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError)
#: Draws that show which compute locations a sketch can take.
_LOCATION_DRAWS = 8


def unchecked_schedule(mod: Any, seed: int | None = None) -> Any:
    """A ``Schedule`` of ``mod`` without checks of the whole tree after each step, and without drawn
    error messages: both are for debugging."""
    return Schedule(mod, seed=seed, debug_mask="none", error_render_level="none")


def apply_trace(mod: Any, trace: Any, seed: int) -> Any | None:
    """The ``Schedule`` of ``mod`` after ``trace``, without post-processing; ``None`` where that is
    impossible. ``seed``: from 1 to 2**31 - 2, for decisions that ``trace`` leaves open."""
    schedule = unchecked_schedule(mod, seed)
    try:
        trace.apply_to_schedule(schedule, remove_postproc=True)
    except REFUSALS:
        return None
    return schedule


def replay_trace(mod: Any, trace: Any, postprocs: Sequence[Any], seed: int) -> Any | None:
    """`apply_trace` with the post-processing done anew; ``None`` where that refuses."""
    schedule = apply_trace(mod, trace, seed)
    if schedule is None:
        return None
    schedule.enter_postproc()
    try:
        valid = all(postproc.apply(schedule) for postproc in postprocs)
    except REFUSALS:
        return None
    return schedule if valid else None


class Sketch:
    """One design-space trace of a workload, as ``DesignSpace`` and as something to replay."""

    def __init__(
        self,
        mod: Any,
        trace: Any,
        postprocs: Sequence[Any],
        limits: BlockLimits | None = None,
    ) -> None:
        """``limits`` are those of the target, if any."""
        self._mod = mod
        self._limits = limits
        self._program = None
        if limits is not None:
            with contextlib.suppress(InvalidInputError):
                self._program = parse_program(save_program(mod))
        self._trace = trace.simplified(remove_postproc=True)
        self._postprocs = postprocs
        instructions, decisions = raw_trace(self._trace)
        self.space = DesignSpace(plain(instructions), plain(decisions))
        self._sampled = {
            slot.instruction: self._trace.insts[slot.instruction] for slot in self.space.slots
        }

    def genes_of(self, trace: Any) -> tuple[int, ...] | None:
        """The genes of a trace of this sketch, from wherever; ``None`` for another's trace."""
        instructions, decisions = raw_trace(trace.simplified(remove_postproc=True))
        # Not by TVM's hash: numbers that were read from a file are other objects.
        if plain(instructions) != self.space.instructions:
            return None
        return self.space.genes(plain(decisions))

    def learn_locations(self, seed: int) -> None:
        """Draws some programs to see which compute locations there are, where any is chosen."""
        if not any(
            self.space.instructions[slot.instruction][0] == "SampleComputeLocation"
            for slot in self.space.slots
        ):
            return
        for number in range(_LOCATION_DRAWS):
            # TVM takes seeds from 1 to 2**31 - 1.
            drawn = Trace(self._trace.insts, {})
            schedule = apply_trace(self._mod, drawn, 1 + (seed + number) % (2**31 - 2))
            if schedule is not None:
                self.taken(schedule)

    def trace(self, genes: Sequence[int]) -> Any:
        """The ``Trace`` of ``genes``, without post-processing."""
        chosen = {self._sampled[number]: v for number, v in self.space.decisions(genes)}
        return Trace(self._trace.insts, chosen)

    def replay(self, genes: Sequence[int]) -> Any | None:
        """The schedule of ``genes`` after post-processing; ``None`` where that is impossible."""
        return replay_trace(self._mod, self.trace(genes), self._postprocs, 1)

    def fits(self, genes: Sequence[Sequence[int]]) -> np.ndarray:
        """Which of N candidates a block of the GPU can hold; see `wmhub.replay.limits`. bool [N].

        All of a CPU's, and of a program that our replay cannot follow: post-processing decides.
        """
        verdict = np.ones(len(genes), dtype=bool)
        if self._limits is None or self._program is None:
            return verdict
        decisions = [self.space.decisions(one) for one in genes]
        with contextlib.suppress(InvalidInputError):
            for group in replay_settings(self._program, self.space.instructions, decisions):
                verdict[group.members] = fits(group.trajectories, self._limits)
        return verdict

    def taken(self, schedule: Any) -> tuple[int, ...]:
        """The genes that a schedule really took: TVM moves an impossible compute location, and
        records where to."""
        return self.space.genes(plain(raw_trace(schedule.trace)[1]))
