"""One tuning run on TVM's task scheduler."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from wmhub.errors import MeasureError
from wmhub.measure.metaschedule import name_task
from wmhub.measure.rules import space_generator
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.sources import NamedWorkload
from wmhub.search.cost_model import WorldModelCost
from wmhub.search.history import Budget, History
from wmhub.search.latent import LatentSearch, best_measured, measured_before
from wmhub.search.learner import Learner
from wmhub.search.measuring import Means, discard, failure_reason, measure
from wmhub.search.task_search import LatentSearchConfig
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import last_line
from wmhub.tvm_compat import meta_schedule as ms

#: How often the fastest candidates are measured again at the end.
_PLAYOFF_ROUNDS = 3


@derived_object
class Recorder(ms.measure_callback.PyMeasureCallback):  # type: ignore[misc]
    """Tells the history of each batch, and removes what was built for it."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def apply(
        self,
        task_scheduler: Any,
        task_id: int,
        measure_candidates: Sequence[Any],
        builder_results: Sequence[Any],
        runner_results: Sequence[Any],
    ) -> None:
        """Called by TVM after each batch."""
        name = str(task_scheduler.tasks_[task_id].ctx.task_name)
        errors = [
            failure_reason(built.error_msg or ran.error_msg)
            if built.error_msg or ran.error_msg
            else None
            for built, ran in zip(builder_results, runner_results, strict=True)
        ]
        self._history.add(name, measure_candidates, errors, runner_results)
        # TVM's RemoveBuildArtifact fails on what a builder has cleaned up itself.
        discard([built.artifact_path for built in builder_results])


@derived_object
class Budgeted(ms.search_strategy.PySearchStrategy):  # type: ignore[misc]
    """Another strategy, until the budget is spent, whose builder knows the task of each batch."""

    def __init__(self, inner: Any, budget: Budget, means: Means, scheduler: Any) -> None:
        super().__init__()
        self._inner = inner
        self._budget = budget
        self._means = means
        self._scheduler = scheduler
        self._task = ""

    def _initialize_with_tune_context(self, context: Any) -> None:
        self._task = str(context.task_name)
        self._inner._initialize_with_tune_context(context)

    def pre_tuning(
        self,
        max_trials: int,
        num_trials_per_iter: int,
        design_spaces: Sequence[Any],
        database: Any = None,
        cost_model: Any = None,
    ) -> None:
        """As the inner strategy."""
        self._inner.pre_tuning(max_trials, num_trials_per_iter, design_spaces, database, cost_model)

    def post_tuning(self) -> None:
        """As the inner strategy."""
        self._inner.post_tuning()

    def generate_measure_candidates(self) -> Any:
        """The inner strategy's batch, which is built next; ``None`` when the budget is spent."""
        # What other tasks have measured is recorded before: TVM would wait until all have a batch.
        for task in range(len(self._scheduler.tasks_)):
            self._scheduler.touch_task(task)
        name_task(self._means.builder, self._task)
        if self._budget.spent:
            return None
        batch = self._inner.generate_measure_candidates()
        # Not before: workers start while the first batch is searched for.
        self._means.wait_ready()
        # The search may have taken what was left of the time; TVM goes by trials of each task.
        return self._budget.allotted(batch or ()) or None

    def notify_runner_results(
        self, measure_candidates: Sequence[Any], results: Sequence[Any]
    ) -> None:
        """As the inner strategy."""
        self._inner.notify_runner_results(measure_candidates, results)

    def clone(self) -> Any:
        """A clone around a clone."""
        return Budgeted(self._inner.clone(), self._budget, self._means, self._scheduler)


def make_contexts(
    tasks: Sequence[NamedWorkload],
    target: Any,
    strategy: Any,
    *,
    cores: int,
    seed: int,
    log: Path | None,
    packing: bool = True,
) -> list[Any]:
    """One ``TuneContext`` for each task; TVM's own messages go to the file ``log`` while that is
    `logged`.

    Without ``packing`` there is none of our own sketches, see `wmhub.measure.rules`.
    """
    logger = _logger(log)
    seeds = ms.utils.fork_seed(seed, n=len(tasks))
    return [
        ms.TuneContext(
            mod=task.mod,
            target=target,
            space_generator=space_generator(target) if packing else "post-order-apply",
            search_strategy=strategy,
            task_name=task.name,
            rand_state=task_seed,
            num_threads=cores,
            logger=logger,
        ).clone()
        for task, task_seed in zip(tasks, seeds, strict=True)
    ]


def run(
    tasks: Sequence[NamedWorkload],
    target: Any,
    learner: Learner,
    *,
    search: str,
    config: LatentSearchConfig,
    trials: int,
    batch: int,
    history: History,
    budget: Budget,
    means: Means,
    database: Any,
    cores: int,
    seed: int,
    log: Path,
    packing: bool = True,
) -> None:
    """Measures up to ``trials`` candidates over all tasks, ``batch`` at a time.

    What ``database`` has of a task counts as a finalist. ``packing`` as in `make_contexts`. Raises
    ``MeasureError`` where ``means`` cannot work.
    """
    callbacks = [ms.measure_callback.AddToDatabase()]
    cost_model: Any = "none"
    if search == "latent":
        strategy = LatentSearch(learner, config)
    else:
        strategy = ms.search_strategy.EvolutionarySearch()
        cost_model = WorldModelCost(learner)
        callbacks.append(ms.measure_callback.UpdateCostModel())
    callbacks.append(Recorder(history))
    scheduler = ms.task_scheduler.TaskScheduler.create(
        "round-robin" if len(tasks) == 1 else "gradient"
    )
    budgeted = Budgeted(strategy, budget, means, scheduler)
    contexts = make_contexts(
        tasks, target, budgeted, cores=cores, seed=seed, log=log, packing=packing
    )
    for context in contexts:
        # What was best before is measured again with what is best now.
        if (known := best_measured(database, context)) is not None:
            history.finalists[str(context.task_name)] = [known]
    if search != "latent":
        # Our own strategy takes up the database by itself.
        for context in contexts:
            cost_model.recall(context, measured_before(database, context))
    with logged(log):
        ms.tune.tune_tasks(
            tasks=contexts,
            task_weights=[float(task.weight) for task in tasks],
            work_dir=str(log.parent),
            max_trials_global=trials,
            num_trials_per_iter=batch,
            builder=means.builder,
            runner=means.runner,
            database=database,
            cost_model=cost_model,
            measure_callbacks=callbacks,
            task_scheduler=scheduler,
        )
    for task, finalists in history.finalists.items():
        if budget.interrupted:
            break
        name_task(means.builder, task)
        try:
            finalists[:] = _playoff(finalists, target, means)
        except (MeasureError, *REFUSALS) as error:  # A builder of others has errors of TVM's.
            history.notes.append(f"the fastest were not measured again: {last_line(error)}")
            break


def _playoff(
    finalists: Sequence[tuple[float, Any]], target: Any, means: Means
) -> list[tuple[float, Any]]:
    """The finalists by the median of new measurements, round after round.

    Of many candidates of like speed the one with the luckiest measurement looks best; once more is
    enough to tell, and gives a latency that is not the luckiest either.
    """
    if len(finalists) < 2:
        return list(finalists)
    mods = [schedule.mod for _, schedule in finalists]
    measured = measure(mods, target, means.builder, means.runner, _PLAYOFF_ROUNDS)
    again = [
        (seconds, schedule)
        for (_, schedule), (seconds, _) in zip(finalists, measured, strict=True)
        if seconds is not None
    ]
    # What does not run again is no result, unless none does: then it is the machine's fault.
    return sorted(again, key=itemgetter(0)) or list(finalists)


def _logger(log: Path | None) -> logging.Logger:
    logger = logging.getLogger(f"wmhub.search.tvm.{log}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        # Without any, Python would print what is a warning.
        logger.addHandler(logging.NullHandler())
    return logger


@contextmanager
def logged(log: Path) -> Iterator[None]:
    """Meanwhile the file ``log`` takes what TVM says of contexts that name it, and what its
    scheduler would print."""
    scheduler, contexts = logging.getLogger("tvm.s_tir.meta_schedule"), _logger(log)
    before = scheduler.handlers[:], scheduler.propagate, scheduler.level
    handler = logging.FileHandler(log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    contexts.addHandler(handler)
    scheduler.handlers, scheduler.propagate = [handler], False
    scheduler.setLevel(logging.INFO)
    try:
        yield
    finally:
        contexts.removeHandler(handler)
        handler.close()
        scheduler.handlers, scheduler.propagate = before[:2]
        scheduler.setLevel(before[2])
