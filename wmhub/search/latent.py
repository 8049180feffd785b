"""``LatentSearch``: MetaSchedule's search strategy over `TaskSearch`, and what a database knows."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure.programs import measure_candidate
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.space import Candidate
from wmhub.search.cost_model import latency_of
from wmhub.search.latent_config import LatentSearchConfig
from wmhub.search.learner import Learner
from wmhub.search.task_search import TaskSearch, task_search
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import last_line, same_structure
from wmhub.tvm_compat import meta_schedule as ms


@derived_object
class LatentSearch(ms.search_strategy.PySearchStrategy):  # type: ignore[misc]
    """The strategy, as ``tune_tir(..., strategy=LatentSearch(learner))`` takes it.

    It scores for itself: ``cost_model="none"`` saves TVM the training of its own. A task that it
    cannot search, because the model cannot read it or it has no design space, is left out, and the
    others go on; ``left_out`` is told, by default in a warning.
    """

    def __init__(
        self,
        learner: Learner,
        config: LatentSearchConfig | None = None,
        left_out: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._learner = learner
        self._config = config or LatentSearchConfig()
        self._left_out = left_out or _warn
        self._context: Any = None
        self._search: TaskSearch | None = None
        self._left = 0
        self._batch_size = 0
        self._pending: list[Candidate] = []

    def _initialize_with_tune_context(self, context: Any) -> None:
        self._context = context

    def pre_tuning(
        self,
        max_trials: int,
        num_trials_per_iter: int,
        design_spaces: Sequence[Any],
        database: Any = None,
        cost_model: Any = None,
    ) -> None:
        """Prepares the sketches, and takes up what the database knows of this workload.

        ``cost_model`` is not used: the learner scores.
        """
        if self._search is not None:
            raise MeasureError("LatentSearch.pre_tuning was called twice without post_tuning")
        context = self._context
        self._left, self._batch_size = max_trials, num_trials_per_iter
        try:
            search = task_search(
                context, self._learner, self._config, design_spaces, int(context.rand_state)
            )
            if database is not None:
                search.resume(measured_before(database, context))
        except (InvalidInputError, MeasureError) as error:
            self._left_out(f"{context.task_name} is not measured: {last_line(error)}")
        else:
            self._search = search

    def post_tuning(self) -> None:
        """Forgets the task."""
        self._search = None

    def generate_measure_candidates(self) -> list[Any] | None:
        """The next batch; ``None`` when the trials are spent or nothing new is left."""
        if self._search is None:
            return None
        try:
            batch = self._search.batch(min(self._batch_size, self._left)) if self._left > 0 else []
        except InvalidInputError as error:
            name = self._context.task_name
            self._left_out(f"{name} is not searched any further: {last_line(error)}")
            return None
        if not batch:
            return None
        self._left -= len(batch)
        self._pending = [candidate for candidate, _ in batch]
        return [measure_candidate(schedule) for _, schedule in batch]

    def notify_runner_results(
        self, measure_candidates: Sequence[Any], results: Sequence[Any]
    ) -> None:
        """Learns from the batch."""
        assert self._search is not None, "TVM measures what was generated"
        latency = np.asarray([latency_of(result) for result in results])
        # Whoever is around this may have had no use for the last of the batch.
        self._search.record(self._pending[: len(latency)], latency)

    def clone(self) -> Any:
        """A strategy for another task, with the same learner."""
        return LatentSearch(self._learner, self._config, self._left_out)


def _warn(said: str) -> None:
    warnings.warn(said, RuntimeWarning, stacklevel=2)


def open_database(folder: Path) -> Any:
    """The ``JSONDatabase`` of a folder; what cannot be read raises one of TVM's own kinds."""
    return ms.database.JSONDatabase(work_dir=str(folder))


def measured_before(database: Any, context: Any) -> list[tuple[Any, float]]:
    """Traces and seconds (NaN: failed) that ``database`` holds of the context's workload."""
    return [(record.trace, _seconds(record)) for record in _records(database, context)]


def fastest_measured(database: Any, context: Any, most: int) -> list[tuple[float, Any]]:
    """Seconds and schedules of the fastest candidates of the context's workload, best first;
    ``most`` of them, or fewer. What this TVM cannot replay, as another may have written it, is none
    of them."""
    timed = [(_seconds(record), record) for record in _records(database, context)]
    ran = sorted((one for one in timed if not math.isnan(one[0])), key=itemgetter(0))
    fastest: list[tuple[float, Any]] = []
    seen: set[str] = set()
    for seconds, record in ran:
        trace = str(record.trace)
        if len(fastest) == most:
            break
        if trace not in seen:
            seen.add(trace)
            with contextlib.suppress(*REFUSALS):
                fastest.append((seconds, replayed(record)))
    return fastest


def replayed(record: Any) -> Any:
    """The schedule of a tuning record; raises one of `REFUSALS` where it cannot be made here."""
    return record.as_measure_candidate().sch


def of_other_targets(database: Any, target: Any) -> int:
    """Records of ``database`` that are not of ``target``, a TVM target, and tell nothing of it."""
    return sum(str(one.target) != str(target) for one in database.get_all_tuning_records())


def _records(database: Any, context: Any) -> list[Any]:
    """Records of the context's workload and target: TVM's query ignores the target (#15549)."""
    if not database.has_workload(context.mod):
        return []
    mine, target = same_structure(database.commit_workload(context.mod).mod), str(context.target)

    @functools.cache
    def is_mine(workload: Any) -> bool:
        return same_structure(workload.mod) == mine

    # Of two databases in one, a workload may be there twice: not every record points to the first.
    return [
        record
        for record in database.get_all_tuning_records()
        if str(record.target) == target and is_mine(record.workload)
    ]


def _seconds(record: Any) -> float:
    seconds = [float(second) for second in record.run_secs or ()]
    return latency_of(ms.runner.RunnerResult(seconds, None))
