"""One tuning run on TVM's task scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from wmhub.errors import MeasureError
from wmhub.measure.metaschedule import name_task
from wmhub.measure.sketch import REFUSALS
from wmhub.search.contexts import logged
from wmhub.search.cost_model import WorldModelCost
from wmhub.search.history import FINALISTS, Budget, History
from wmhub.search.job import Job
from wmhub.search.latent import LatentSearch, fastest_measured, measured_before
from wmhub.search.measuring import Means, discard, failure_reason, measure
from wmhub.tvm_callbacks import derived_object, own_errors
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
        if batch is not None and not len(batch):
            return batch  # TVM's own asks again.
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


def run(job: Job, history: History, budget: Budget, means: Means) -> None:
    """Measures up to ``job.trials`` candidates over all tasks, ``job.batch`` at a time.

    The fastest that the database has of a task are finalists. Raises ``MeasureError`` where
    ``means`` cannot work.
    """
    database = job.database()
    callbacks = [ms.measure_callback.AddToDatabase()]
    cost_model: Any = "none"
    if job.search == "latent":
        strategy = LatentSearch(job.learner, job.config, history.notes.append)
    else:
        strategy = ms.search_strategy.EvolutionarySearch()
        cost_model = WorldModelCost(job.learner)
        callbacks.append(ms.measure_callback.UpdateCostModel())
    callbacks.append(Recorder(history))
    scheduler = ms.task_scheduler.TaskScheduler.create(
        "round-robin" if len(job.tasks) == 1 else "gradient"
    )
    contexts = job.contexts(Budgeted(strategy, budget, means, scheduler))
    for context in contexts:
        # What was best before is measured again with what is best now: as many as then, since the
        # database does not tell which of them was chosen.
        if known := fastest_measured(database, context, FINALISTS):
            history.finalists[str(context.task_name)] = known
    if job.search != "latent":
        # Our own strategy takes up the database by itself.
        for context in contexts:
            cost_model.recall(context, measured_before(database, context))
    with logged(job.log):
        ms.tune.tune_tasks(
            tasks=contexts,
            task_weights=[float(task.weight) for task in job.tasks],
            work_dir=str(job.folder),
            max_trials_global=job.trials,
            num_trials_per_iter=job.batch,
            builder=means.builder,
            runner=means.runner,
            database=database,
            cost_model=cost_model,
            measure_callbacks=callbacks,
            task_scheduler=scheduler,
        )
    tried = {trial.task for trial in history.trials}
    for task, finalists in history.finalists.items():
        if budget.interrupted:
            break
        if task not in tried:
            continue  # Nothing came that the fastest would have to be compared with.
        name_task(means.builder, task)
        try:
            with own_errors():
                finalists[:] = _playoff(finalists, job.target, means)
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
