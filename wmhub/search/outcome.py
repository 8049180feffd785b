"""What a run has found, and its folder: schedules, libraries, report, what was learned."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from wmhub.errors import MeasureError
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.sources import NamedWorkload
from wmhub.search import output as files
from wmhub.search.history import Budget, History
from wmhub.search.job import Baseline, Job
from wmhub.search.latent import fastest_measured, measured_before
from wmhub.search.result import TaskResult, TuneResult
from wmhub.tvm_callbacks import own_errors
from wmhub.tvm_compat import last_line


def outcome(
    job: Job, history: History, firsts: Sequence[Baseline], budget: Budget, lost: int
) -> tuple[TuneResult, list[Any]]:
    """The result, whose schedules and libraries are written on the way, and the schedule of each
    task, or ``None``.

    ``lost``: trials that the database does not hold; TVM itself does not look whether its lines
    could be written. Raises ``MeasureError`` where nothing was measured and no task has a
    schedule.
    """
    notes = [*job.notes, *history.notes]
    if lost > 0:
        notes.append(
            f"{lost} of {len(history.trials)} trials are not in {job.folder / files.DATABASE[1]}: "
            "is the disk full?"
        )
    # Tasks with finalists do not need it, and opening a large one takes minutes.
    database = functools.cache(job.database)
    without: list[str] = []
    found = [
        _task_result(job, task, first, history, budget, database, notes, without)
        for task, first in zip(job.tasks, firsts, strict=True)
    ]
    results = [result for result, _ in found]
    if not history.trials and len(without) == len(results):
        raise MeasureError("; ".join(without))
    # What was made of other tasks is not lost for them.
    notes += without
    result = TuneResult(
        workload=job.name,
        model=job.learner.evaluator.name,
        model_hardware=str(job.learner.evaluator.hardware),
        hardware=str(job.hardware),
        measured_on=job.measured_on,
        search=job.search,
        trials=len(history.trials),
        failed=sum(trial.latency_s is None for trial in history.trials),
        seconds=budget.elapsed,
        interrupted=budget.interrupted,
        best_latency_s=_total(results),
        tasks=tuple(results),
        history=tuple(history.trials),
        output=job.folder,
        notes=tuple(notes),
    )
    return result, [schedule for _, schedule in found]


def _task_result(
    job: Job,
    task: NamedWorkload,
    first: Baseline,
    history: History,
    budget: Budget,
    database: Callable[[], Any],
    notes: list[str],
    without: list[str],
) -> tuple[TaskResult, Any]:
    """The result of one task, whose schedule and library are written, and the schedule, or
    ``None``; what is odd goes to ``notes``, and why there is no schedule to ``without``."""
    trials = [trial for trial in history.trials if trial.task == task.name]
    failed = [trial for trial in trials if trial.latency_s is None]
    if trials and len(failed) == len(trials):
        ((reason, _),) = Counter(trial.error for trial in failed).most_common(1)
        notes.append(f"{task.name}: all {len(failed)} candidates failed, most often: {reason}")
    seconds = found = speedup = script = library = None
    if first.problem:
        notes.append(f"{task.name}: to compare with: {first.problem}")
    try:
        with own_errors():
            seconds, found, speedup = _best(job, task, history, budget, database)
    except (MeasureError, *REFUSALS) as error:
        without.append(f"{task.name}: no schedule: {last_line(error)}")
    if found is not None:
        try:
            script = files.write_schedule(job.folder, task.name, found)
        except OSError as error:
            notes.append(f"{task.name}: its schedule is not written: {error.strerror or error}")
        # What runs a network's operator is the library of the network.
        if not task.is_operator:
            library, problem = files.write_library(job.folder, task.name, found.mod, job.target)
            notes += [problem] if problem else []
    result = TaskResult(
        name=task.name,
        weight=task.weight,
        trials=len(trials),
        failed=len(failed),
        best_latency_s=seconds,
        unscheduled_latency_s=first.unscheduled,
        first_random_latency_s=first.random,
        predicted_speedup=speedup,
        schedule=script,
        library=library,
    )
    return result, found


def _best(
    job: Job,
    task: NamedWorkload,
    history: History,
    budget: Budget,
    database: Callable[[], Any],
) -> tuple[float | None, Any, float | None]:
    """Seconds, schedule and predicted speed-up of the best that is known of ``task``.

    Where nothing ran, now or before, it is what the model thinks best among what has not failed;
    nothing, where the user has lost patience. Raises ``MeasureError`` where there is none.
    """
    # The database has the run's own trials, too, and of those the luckiest is the fastest.
    if finalists := history.finalists.get(task.name):
        return *finalists[0], None
    context = job.context(task)
    try:
        before = fastest_measured(database(), context, 1)
    except Exception as error:  # TVM raises its own kinds for a database that a full disk has cut.
        raise MeasureError(f"its records cannot be read: {last_line(error)}") from error
    if before:
        return *before[0], None
    if budget.interrupted:
        return None, None, None
    search = job.search_of(context)
    search.resume(measured_before(database(), context))
    candidate, found = search.best()
    return None, found, search.predicted_speedup(candidate)


def written(job: Job, result: TuneResult) -> TuneResult:
    """Writes the report, the plot and what was learned; ``result`` with notes on what a full disk
    does not take."""
    result = tried(result, files.REPORT, partial(files.write_report, result))
    if result.history:
        result = tried(result, files.PLOT, partial(files.write_plot, result))
        # Where it cannot be written, it can be learned again from the database.
        save = partial(job.learner.save, job.folder / files.LEARNED)
        result = tried(result, files.LEARNED, save)
    return result


def tried(result: TuneResult, name: str, write: Callable[[], None]) -> TuneResult:
    """``result``, with a note where a full disk does not take the file ``name``."""
    try:
        write()
    except OSError as error:
        note = f"{name} could not be written: {error.strerror or error}"
        return dataclasses.replace(result, notes=(*result.notes, note))
    return result


def _total(tasks: Sequence[TaskResult]) -> float | None:
    latencies = [task.best_latency_s for task in tasks]
    known = [latency for latency in latencies if latency is not None]
    if len(known) < len(latencies):
        return None
    return float(np.dot(known, [task.weight for task in tasks]))
