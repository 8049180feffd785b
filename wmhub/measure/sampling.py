"""Draws candidates of a workload from its design space: at random, near to good ones, or as a guide
proposes them."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure.programs import save_program, trace_text
from wmhub.measure.rules import space_generator
from wmhub.measure.sketch import REFUSALS, Sketch, replay_trace, unchecked_schedule
from wmhub.replay.limits import BlockLimits
from wmhub.tvm_callbacks import own_errors
from wmhub.tvm_compat import Trace, last_line, use_target
from wmhub.tvm_compat import meta_schedule as ms

#: Attempts for each wanted candidate; GPU schedules are often refused by the post-processors.
_ATTEMPTS = 24
#: Candidates for a GPU whose fit is looked at together, and how many may be looked at before one
#: of them fits.
_LOOK, _MOST_LOOKS = 64, 64
#: Parents of guided candidates: the best of those measured so far.
_PARENTS = 16
#: Decisions changed in a guided candidate, at most.
_CHANGES = 3
#: How many seeds there are.
_SEEDS = 2**32


@dataclass(frozen=True)
class Sampled:
    """One schedule of a workload, ready to be built."""

    trace: str
    """``[instructions, decisions]``, compact JSON, post-processing included, as in a database."""
    module: str
    """The scheduled IRModule, as ``programs.save_program`` gives it."""


class Guide(Protocol):
    """Knows better than to change good candidates at random."""

    def propose(self, count: int) -> Sequence[Any]:
        """Up to ``count`` schedules that are worth measuring, post-processed."""
        ...

    def learn(self, trace: Any, seconds: float | None) -> None:
        """Takes in the latency of a ``Trace``, in seconds; ``None`` for a failure."""
        ...


#: Makes the guide of a workload from its ``TuneContext``, its design spaces and a seed.
MakeGuide = Callable[[Any, Sequence[Any], int], Guide]


def require_seed(seed: int) -> None:
    """Raises ``InvalidInputError`` for a seed that TVM, or numpy's generator in it, cannot take."""
    if not 0 <= seed < _SEEDS:
        raise InvalidInputError(f"a seed must be from 0 to {_SEEDS - 1}, not {seed}")


class Sampler:
    """Candidates of one workload, none of them twice."""

    def __init__(
        self, mod: Any, target: dict[str, Any], seed: int, make_guide: MakeGuide | None = None
    ) -> None:
        """``mod``: an ``IRModule`` with one function; ``target``: as ``use_target`` takes it;
        ``make_guide``: who proposes the candidates of `guided`, if anyone does.

        Raises ``MeasureError`` where TVM's own rules fail on the two together."""
        self._mod = mod
        self._random = random.Random(seed)
        used = use_target(target)
        context = ms.TuneContext(
            mod=mod,
            target=used,
            space_generator=space_generator(used),
            task_name="sample",
            rand_state=self._seed(),
            num_threads=1,
        )
        self._context = context
        try:
            with own_errors():
                spaces = context.generate_design_space()
        except REFUSALS as error:
            reason = last_line(error) or type(error).__name__
            raise MeasureError(
                f"TVM cannot make its design space for {used.kind.name}: {reason}"
            ) from error
        self._spaces = [space.trace for space in spaces]
        self._postprocs = list(context.space_generator.postprocs)
        limits = BlockLimits.of(used)
        fitted = self._spaces if limits is not None else []
        self._sketches = [Sketch(mod, space, self._postprocs, limits) for space in fitted]
        probabilities = context.space_generator.mutator_probs
        self._mutators = list(probabilities.keys())
        self._weights = [float(probabilities[mutator]) for mutator in self._mutators]
        self._seen: set[str] = set()
        #: The best so far, as a heap: (negative latency, tie-break, trace).
        self._best: list[tuple[float, int, Any]] = []
        self._traces: dict[str, Any] = {}
        try:
            self._guide = make_guide(context, spaces, seed) if make_guide is not None else None
        except InvalidInputError as error:
            raise MeasureError(f"the model cannot read it: {error}") from error

    def random(self, count: int) -> list[Sampled]:
        """Up to ``count`` candidates with every decision drawn; fewer when the space is small."""
        return self._collect(count, self._drawn())

    def guided(self, count: int) -> list[Sampled]:
        """Up to ``count`` candidates that the guide proposes; without one, with one to three
        decisions of a good one changed.

        Random ones as long as nothing has been learned.
        """
        if count < 1:
            return []
        if self._guide is not None:
            made = map(self._admitted, self._guide.propose(count))
            found = [candidate for candidate in made if candidate is not None]
            # What was drawn at random just now is proposed, too, and is no end of the space.
            return [*found, *self._changed(count - len(found))]
        return self._changed(count)

    def _changed(self, count: int) -> list[Sampled]:
        if not self._best or not self._mutators:
            return self.random(count)
        return self._collect(count, self._mutated())

    def learn(self, trace: str, seconds: float | None) -> None:
        """Takes in the latency of a candidate, in seconds; ``None`` for a failure.

        A trace from an earlier run is not drawn again, and is a parent if it is good.
        """
        replayed = self._traces.pop(trace, None)
        if replayed is None:
            replayed = self._replay_json(trace)
            if replayed is None:
                return
            self._seen.add(_identity(replayed))
        if self._guide is not None:
            self._guide.learn(replayed, seconds)
        if seconds is None:
            return
        heapq.heappush(self._best, (-seconds, self._random.randrange(1 << 30), replayed))
        if len(self._best) > _PARENTS:
            heapq.heappop(self._best)

    def _drawn(self) -> Iterator[Any]:
        # Not of the bare seed: what a sampler has learned has moved it on, and others are drawn.
        numbers = np.random.default_rng(self._seed())
        looks = 0
        while self._spaces and looks < _MOST_LOOKS:
            if not self._sketches:
                yield Trace(self._random.choice(self._spaces).insts, {})
                continue
            # TVM would refuse nine of ten, and only after replaying them.
            sketch = self._random.choice(self._sketches)
            genes = [sketch.space.draw(numbers) for _ in range(_LOOK)]
            fitting = [genes[i] for i in np.flatnonzero(sketch.fits(genes))]
            looks = 0 if fitting else looks + 1
            # One of each look: the sketches take turns by chance, as they do without.
            yield from map(sketch.trace, fitting[:1])

    def _mutated(self) -> Iterator[Any]:
        parents = [trace for _, _, trace in sorted(self._best, key=lambda item: -item[0])]
        while True:
            # The square prefers the better ones, which come first.
            trace: Any = parents[int(len(parents) * self._random.random() ** 2)]
            for _ in range(self._random.randint(1, _CHANGES)):
                mutator = self._random.choices(self._mutators, self._weights)[0]
                trace = mutator.apply(trace) or trace
            yield trace

    def _collect(self, count: int, traces: Iterator[Any]) -> list[Sampled]:
        found: list[Sampled] = []
        for trace in itertools.islice(traces, count * _ATTEMPTS):
            if len(found) == count:
                break
            schedule = replay_trace(self._mod, trace, self._postprocs, self._seed())
            candidate = None if schedule is None else self._admitted(schedule)
            if candidate is not None:
                found.append(candidate)
        return found

    def _admitted(self, schedule: Any) -> Sampled | None:
        """The candidate of ``schedule``; ``None`` where it was drawn before."""
        identity = _identity(schedule.trace)
        if identity in self._seen:
            return None
        self._seen.add(identity)
        text = trace_text(schedule.trace)
        self._traces[text] = schedule.trace
        return Sampled(text, save_program(schedule.mod))

    def _replay_json(self, text: str) -> Any | None:
        schedule = unchecked_schedule(self._mod, self._seed())
        try:
            Trace.apply_json_to_schedule(json.loads(text), schedule)
        except REFUSALS:
            return None
        return schedule.trace

    def _seed(self) -> int:
        # TVM takes seeds from 1 to 2**31 - 1.
        return self._random.randint(1, 2**31 - 2)


def _identity(trace: Any) -> str:
    """What tells candidates apart: everything but the post-processing, which follows from it."""
    return str(trace.simplified(remove_postproc=True))


def mixed(
    sampler: Sampler, count: int, random_share: float, measured: int, warm_up: int
) -> Sequence[Sampled]:
    """``count`` candidates, a ``random_share`` of them random; all, until ``warm_up`` are measured.

    Random ones cover the space, guided ones the corner where the good schedules are.
    """
    # Over all batches as large a share as it should be, however small each is.
    until_now, then = (math.floor(n * random_share) for n in (measured, measured + count))
    drawn = count if measured < warm_up else then - until_now
    candidates = sampler.random(min(drawn, count))
    return [*candidates, *sampler.guided(count - len(candidates))]
