"""``TaskSearch``: the search of one workload in the latent space of a checkpoint.

Thousands of candidates evolve on their decisions alone, scored by the world model's rollout; only
the best distinct ones are replayed, post-processed and measured. What is measured corrects the
score through the learner's posterior, and a share of each batch goes to what is least known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from wmhub.errors import MeasureError
from wmhub.evaluator import Scores, Settings
from wmhub.measure.sketch import Sketch
from wmhub.measure.space import Candidate, of_few_structures
from wmhub.replay.limits import BlockLimits
from wmhub.search.contexts import workload_in
from wmhub.search.evolve import by_chance, evolve
from wmhub.search.latent_config import LatentSearchConfig
from wmhub.search.learner import Learner, WorkloadLearner
from wmhub.search.posterior import pick_batch
from wmhub.tvm_compat import same_structure

#: Best measured candidates that join each evolution.
_ELITE_SEEDS = 64
#: How often random candidates are drawn until enough of them fit; for a GPU one in ten does.
_DRAWING_ROUNDS = 64
#: Candidates, random ones among them, beside which the uncertainty of measured ones is told.
_COMPANY = 8
#: Random candidates of which one has to survive post-processing.
_RANDOM_TRIES = 64
#: Best candidates of which the most reliable is chosen where nothing is measured. The very best of
#: thousands is the one whose score errs most in its favour.
_RELIABLE = 16


class TaskSearch:
    """The search of one workload, apart from TVM's interface."""

    def __init__(
        self,
        sketches: Sequence[Sketch],
        learner: WorkloadLearner,
        config: LatentSearchConfig,
        seed: int,
        threads: int = 1,
    ) -> None:
        """``threads``: how many replay candidates at once."""
        self._threads = threads
        self._sketches = sketches
        self._spaces = [sketch.space for sketch in sketches]
        self._learner = learner
        self._config = config
        self._random = np.random.default_rng(seed)
        self._tried: set[Candidate] = set()
        self._programs: set[int] = set()
        self._best: dict[Candidate, float] = {}
        self._to_explore = 0.5
        for sketch in sketches:
            sketch.learn_locations(seed)

    def batch(self, count: int) -> list[tuple[Candidate, Any]]:
        """Up to ``count`` new candidates with their post-processed schedules, best first.

        Each is the candidate that its schedule has become, see `Sketch.taken`.
        """
        if count < 1:
            return []
        # What is less than one candidate adds up over small batches.
        self._to_explore += self._config.exploration * count
        explore = math.floor(self._to_explore)
        self._to_explore -= explore
        found: list[tuple[Candidate, Any]] = []
        for candidate, schedule in self._replays(self._ranked(count, explore), count):
            taken = self._taken(candidate, schedule)
            if self._is_new(candidate, taken, schedule):
                found.append((taken, schedule))
            if len(found) == count:
                break
        return found

    def best(self, tries: int = 64) -> tuple[Candidate, Any]:
        """The most reliable candidate of the best that survive post-processing, with its schedule:
        that of the highest mean less its deviation.

        Nothing is measured for it, and it is none that was measured before. Raises
        ``MeasureError`` where none of the ``tries`` survives, or none is left.
        """
        new = [candidate for candidate in self._evolved() if candidate not in self._tried][:tries]
        found: dict[Candidate, Any] = {}
        for candidate, schedule in self._replays(iter(new), _RELIABLE):
            taken = self._taken(candidate, schedule)
            # What TVM makes of one may be another, that was measured.
            if schedule is not None and taken not in self._tried:
                found[taken] = schedule
            if len(found) == _RELIABLE:
                break
        if found:
            candidates = list(found)
            chosen = candidates[int(self._least(self.scores(candidates)).argmax())]
            return chosen, found[chosen]
        if self._tried and len(new) < tries:
            failed = "" if self._best else " and failed"
            raise MeasureError(f"every valid candidate of its design space was measured{failed}")
        raise MeasureError(f"none of the {len(new)} best candidates is a valid schedule here")

    def require_scored(self) -> None:
        """Raises ``InvalidInputError`` where the model cannot read the candidates of a sketch."""
        spaces = enumerate(self._spaces)
        self.scores([Candidate(number, space.draw(self._random)) for number, space in spaces])

    def random_schedule(self) -> Any:
        """The schedule of a candidate drawn at random."""
        for candidate in self._drawn(_RANDOM_TRIES):
            made = self._made(candidate)
            if made is not None:
                return made[1]
        raise MeasureError(f"none of {_RANDOM_TRIES} random candidates is a valid schedule here")

    def predicted_speedup(self, candidate: Candidate, draws: int = 256) -> float:
        """Expected ratio of a random candidate's latency (geometric mean) to ``candidate``'s.

        Of a large one rather too little, see `Scores.score`.
        """
        mean, _ = self._learner.predict(self.scores([candidate, *self._drawn(draws)]))
        return float(np.exp(mean[0] - mean[1:].mean()))

    def scores(self, candidates: Sequence[Candidate]) -> Scores:
        """Scores of candidates, in their order, each as uncertain as it is beside all others:
        judged sketch by sketch, the only candidate of one would be taken for certain."""
        order: list[int] = []
        spaces: list[Settings] = []
        for sketch, mine in self._by_sketch(candidates):
            order += mine
            decisions = [sketch.space.decisions(candidates[i].genes) for i in mine]
            spaces.append(Settings(sketch.space.instructions, decisions))
        return self._learner.scorer.score_spaces(spaces).at(np.argsort(order))

    def record(self, candidates: Sequence[Candidate], latency: np.ndarray) -> None:
        """Takes in measurements: float [N] seconds, NaN for a failed candidate."""
        if not candidates:
            return
        # How uncertain a candidate is shows beside others only.
        company = self._drawn(max(0, _COMPANY - len(candidates)))
        scores = self.scores([*candidates, *company]).at(np.arange(len(candidates)))
        self._learner.update(scores, latency)
        for candidate, seconds in zip(candidates, latency.tolist(), strict=True):
            self._tried.add(candidate)
            if not math.isnan(seconds):
                self._best[candidate] = min(seconds, self._best.get(candidate, seconds))

    def leave_out(self, proposed: Iterable[tuple[Candidate, Any]]) -> None:
        """Has no batch propose what another search has: its candidates with their schedules."""
        for candidate, schedule in proposed:
            self._tried.add(candidate)
            self._programs.add(same_structure(schedule.mod))

    def pass_over(self, traces: Iterable[Any]) -> None:
        """Has no batch propose ``traces``, and learns nothing from them."""
        found = (self._candidate_of(trace) for trace in traces)
        self._tried.update(candidate for candidate in found if candidate is not None)

    def resume(self, measured: Sequence[tuple[Any, float]]) -> None:
        """Takes up traces that were measured before, with their seconds (NaN: failed)."""
        ours: dict[Candidate, float] = {}
        for trace, seconds in measured:
            candidate = self._candidate_of(trace)
            if candidate is not None:
                ours[candidate] = float(np.fmin(seconds, ours.get(candidate, math.nan)))
        # TVM gives them by their time; of many, those that came last count more.
        known = list(ours)
        mixed = [known[number] for number in self._random.permutation(len(known))]
        self.record(mixed, np.asarray([ours[candidate] for candidate in mixed]))
        # Of other decisions that lead to the same program, those around the best come up again.
        for candidate in self._elite():
            schedule = self._sketches[candidate.space].replay(candidate.genes)
            if schedule is not None:
                self._programs.add(same_structure(schedule.mod))

    def _candidate_of(self, trace: Any) -> Candidate | None:
        """The candidate that a trace of this workload is; ``None`` if no sketch made it."""
        for number, sketch in enumerate(self._sketches):
            genes = sketch.genes_of(trace)
            if genes is not None:
                return Candidate(number, genes)
        return None

    def _drawn(self, count: int) -> list[Candidate]:
        """``count`` candidates at random; fewer where hardly any fits."""
        found: list[Candidate] = []
        for _ in range(_DRAWING_ROUNDS):
            numbers = self._random.integers(len(self._sketches), size=count).tolist()
            drawn = [Candidate(n, self._sketches[n].space.draw(self._random)) for n in numbers]
            found += itertools.compress(drawn, self._fits(drawn))
            if len(found) >= count:
                break
        return found[:count]

    def _elite(self) -> list[Candidate]:
        """The best that were measured, best first."""
        return sorted(self._best, key=self._best.__getitem__)[:_ELITE_SEEDS]

    def _evolved(self) -> dict[Candidate, float]:
        """All candidates of one evolution with their mean of the posterior, best first."""
        elite = self._elite()
        return evolve(
            self._spaces,
            lambda batch: self._learner.predict(self.scores(batch))[0],
            elite,
            self._random,
            self._config.later if elite else self._config.evolution,
            self._fits,
        )

    def _fits(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Which of N candidates a GPU can hold, bool [N]; all of a CPU's."""
        verdict = np.zeros(len(candidates), dtype=bool)
        for sketch, mine in self._by_sketch(candidates):
            verdict[mine] = sketch.fits([candidates[i].genes for i in mine])
        return verdict

    def _by_sketch(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Sketch, list[int]]]:
        """Each sketch with the positions of the candidates that are its own, where it has any."""
        for number, sketch in enumerate(self._sketches):
            mine = [i for i, candidate in enumerate(candidates) if candidate.space == number]
            if mine:
                yield sketch, mine

    def _ranked(self, count: int, explore: int) -> Iterator[Candidate]:
        """Untried candidates in the order in which they should be measured."""
        evolved = self._evolved()
        ranked = {one: mean for one, mean in evolved.items() if one not in self._tried}
        if not ranked:
            return iter(())
        # Of a batch of one as well: no search ends behind the model's own first choice.
        greedy = max(round(self._config.greedy * count), math.ceil(self._config.greedy))
        shortlist = self._shortlist(ranked, max(self._config.shortlist, count), greedy)
        scores = self.scores(shortlist)
        mean, _ = self._learner.predict(scores)
        best = np.argsort(-mean, kind="stable")[:_RELIABLE]
        reliable = int(best[self._least(scores)[best].argmax()])
        covariance = self._learner.covariance(scores)
        picked = pick_batch(mean, covariance, count, explore, greedy, reliable if greedy else None)
        # Some will not survive post-processing: those after the picks take their place.
        chosen = set(picked)
        rest = (shortlist[i] for i in range(len(shortlist)) if i not in chosen)
        listed = set(shortlist)
        others = (candidate for candidate in ranked if candidate not in listed)
        return itertools.chain((shortlist[i] for i in picked), rest, others)

    def _shortlist(
        self, ranked: Mapping[Candidate, float], count: int, greedy: int
    ) -> list[Candidate]:
        """``count`` of ``ranked``, the ``greedy`` best and others of all kinds, as far as the model
        may be wrong: see `by_chance`."""
        candidates = list(ranked)
        if len(candidates) <= count:
            return candidates
        _, deviation = self._learner.predict(self.scores(candidates[:64]))
        drawn = by_chance(ranked, greedy, 0.5 * float(deviation.mean()), self._random)
        few = of_few_structures(self._spaces, drawn, self._config.evolution.structures)
        return list(itertools.islice(few, count))

    def _least(self, scores: Scores) -> np.ndarray:
        """What candidates are worth at least, more or less: mean less deviation, float [N]."""
        mean, deviation = self._learner.predict(scores)
        return np.asarray(mean - deviation)

    def _replays(
        self, candidates: Iterator[Candidate], first: int
    ) -> Iterator[tuple[Candidate, Any]]:
        """``candidates`` with their schedules, see `_replayed`: ``first`` of them are replayed
        ahead, and then as many as there are threads."""
        with ThreadPoolExecutor(self._threads) as pool:
            some = list(itertools.islice(candidates, first))
            while some:
                yield from zip(some, pool.map(self._replayed, some), strict=True)
                some = list(itertools.islice(candidates, self._threads))

    def _is_new(self, candidate: Candidate, taken: Candidate, schedule: Any) -> bool:
        """Whether ``schedule`` of ``candidate``, which has become ``taken``, is one that was not
        tried before, nor its program; from now on they were."""
        was_tried = taken in self._tried and taken != candidate
        self._tried.update((candidate, taken))
        if schedule is None or was_tried:
            return False
        program = same_structure(schedule.mod)
        is_new = program not in self._programs
        self._programs.add(program)
        return is_new

    def _made(self, candidate: Candidate) -> tuple[Candidate, Any] | None:
        """The schedule of a candidate with the candidate that it is; ``None`` if impossible."""
        schedule = self._replayed(candidate)
        return None if schedule is None else (self._taken(candidate, schedule), schedule)

    def _replayed(self, candidate: Candidate) -> Any | None:
        """The schedule of a candidate; ``None`` if impossible. TVM lets threads do it at once."""
        return self._sketches[candidate.space].replay(candidate.genes)

    def _taken(self, candidate: Candidate, schedule: Any) -> Candidate:
        """The candidate that the schedule of ``candidate``, if it has one, really is."""
        if schedule is None:
            return candidate
        return Candidate(candidate.space, self._sketches[candidate.space].taken(schedule))


def task_search(
    context: Any,
    learner: Learner,
    config: LatentSearchConfig,
    design_spaces: Sequence[Any],
    seed: int,
) -> TaskSearch:
    """The search of a ``TuneContext`` whose space generator is initialised."""
    postprocs = list(context.space_generator.postprocs or ())
    limits = BlockLimits.of(context.target)
    sketches = [Sketch(context.mod, space.trace, postprocs, limits) for space in design_spaces]
    if not sketches:
        raise MeasureError(f"task {context.task_name}: TVM found no design space for its target")
    threads = max(1, int(context.num_threads))
    return TaskSearch(sketches, learner.workload(workload_in(context)), config, seed, threads)
