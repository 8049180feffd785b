"""``Sketch``: a design space of MetaSchedule, and the way back from decisions to a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wmhub.search.space import DesignSpace
from wmhub.tvm_compat import Schedule, Trace, plain, raw_trace

#: What TVM raises for a schedule that cannot be: ScheduleError comes as RuntimeError, failed checks
#: as the built-in that fits.
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError)
#: Draws that show which compute locations a sketch can take.
_LOCATION_DRAWS = 8


class Sketch:
    """One design-space trace of a workload, as ``DesignSpace`` and as something to replay."""

    def __init__(self, mod: Any, trace: Any, postprocs: Sequence[Any]) -> None:
        self._mod = mod
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
            schedule = self._applied(drawn, 1 + (seed + number) % (2**31 - 2))
            if schedule is not None:
                self.space.genes(self.decisions_of(schedule))

    def replay(self, genes: Sequence[int]) -> Any | None:
        """The schedule of ``genes`` after post-processing; ``None`` where that is impossible."""
        chosen = {self._sampled[number]: v for number, v in self.space.decisions(genes)}
        schedule = self._applied(Trace(self._trace.insts, chosen), 1)
        if schedule is None:
            return None
        schedule.enter_postproc()
        try:
            valid = all(postproc.apply(schedule) for postproc in self._postprocs)
        except _REFUSALS:
            return None
        return schedule if valid else None

    @staticmethod
    def decisions_of(schedule: Any) -> list[Any]:
        """The decisions that a schedule really took: TVM moves an impossible compute location."""
        decisions: list[Any] = plain(raw_trace(schedule.trace)[1])
        return decisions

    def _applied(self, trace: Any, seed: int) -> Any | None:
        # Checks of the whole tree after each step, and drawn error messages, are for debugging.
        schedule = Schedule(self._mod, seed=seed, debug_mask="none", error_render_level="none")
        try:
            trace.apply_to_schedule(schedule, remove_postproc=True)
        except _REFUSALS:
            return None
        return schedule
