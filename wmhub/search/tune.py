"""``tune``: a workload, a checkpoint and a budget to the best schedule."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure.sources import NamedWorkload
from wmhub.measure.targets import cores_for
from wmhub.names import HardwareKey
from wmhub.search import output as files
from wmhub.search.choose import (
    choose_evaluator,
    machine_for,
    measured_on,
    target_for,
    this_hardware,
)
from wmhub.search.history import Budget, History, OnProgress, interruptible
from wmhub.search.job import NO_BASELINE, Baseline, Job, measure_baselines
from wmhub.search.latent import best_measured, measured_before, open_database
from wmhub.search.learner import Learner
from wmhub.search.measuring import measuring
from wmhub.search.result import TaskResult, TuneResult
from wmhub.search.run import logged, run
from wmhub.search.task_search import LatentSearchConfig
from wmhub.search.tasks import tasks_of
from wmhub.tvm_callbacks import own_errors
from wmhub.tvm_compat import last_line, use_target

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator


def tune(
    workload: Any,
    *,
    model: str | os.PathLike[str] | Evaluator | None = None,
    hardware: HardwareKey | str | None = None,
    trials: int = 64,
    seconds: float | None = None,
    output: str | Path = "tuned",
    database: str | Path | None = None,
    search: Literal["latent", "evolutionary"] = "latent",
    adapt: bool = True,
    batch: int = 16,
    config: LatentSearchConfig | None = None,
    seed: int = 0,
    baselines: bool = False,
    allow_other_hardware: bool = False,
    target: dict[str, Any] | None = None,
    builder: str = "engine",
    rpc: str | None = None,
    locked: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> TuneResult:
    """Searches for the fastest schedule of ``workload`` with ``trials`` measurements.

    ``workload``: a name of the zoo, a file, an ``IRModule``; see ``tasks_of``. ``model``: anything
    that ``from_pretrained`` takes, or an evaluator; by default the checkpoint for ``hardware``,
    which is this machine's CPU by default; what is measured here must be that or alike, unless
    ``allow_other_hardware``. ``seconds``: wall time after which no batch begins.
    With several tasks TVM's scheduler may end up to one batch above ``trials``.
    ``trials=0`` measures nothing and gives the schedule that the model thinks best. ``output``: a
    folder for database, schedules, libraries, report and plot. ``database``: a folder with a
    database to go on from, whose report must name the same hardware unless
    ``allow_other_hardware``. ``search``: our own strategy or TVM's with our cost model.
    ``baselines`` also measures the program as it came and one random candidate. ``builder`` and
    ``rpc`` (with ``hardware``, what its devices are): see ``measuring``. ``locked``: a lock file
    that must name the model.

    The first Ctrl-C ends the run and keeps what was measured. Raises the errors of
    ``from_pretrained`` and ``tasks_of``, ``HardwareMismatchError`` and ``OutputExistsError``.
    """
    if trials < 0 or batch < 1 or (seconds is not None and seconds <= 0):
        raise InvalidInputError("trials must not be negative; batch and seconds must be positive")
    if search not in ("latent", "evolutionary"):
        raise InvalidInputError(f"search {search!r} is neither latent nor evolutionary")
    if not trials and (baselines or rpc is not None):
        raise InvalidInputError("without trials nothing is measured: leave out baselines and rpc")
    if rpc is not None and hardware is None:
        raise InvalidInputError(
            "rpc: name with hardware what the devices are, such as cuda-a100; else schedules would "
            "be chosen and compiled for this machine"
        )
    budget = Budget(seconds)
    key = this_hardware(hardware)
    measures_here = trials > 0 and rpc is None
    runs_on, elsewhere = (
        machine_for(key, allow_other_hardware) if hardware is not None and measures_here
        else (key, None)
    )  # fmt: skip
    # Unless another CPU is named, what is not measured is for this one as well.
    target = target_for(runs_on, target, runs_here=hardware is None or measures_here)
    # Its intrinsics come with the first context, when those who build have begun to load TVM.
    machine, cores = use_target(target, intrinsics=False), cores_for(target)
    folder, known = Path(output), Path(database) if database is not None else None
    # Two that write to one folder would mix their records; those who build load TVM while the
    # checkpoint is loaded here.
    with files.held(folder), ExitStack() as stack:
        files.refuse(folder, known)
        of_known = None if known is None else measured_on(known, runs_on, allow_other_hardware)
        means = stack.enter_context(measuring(target, cores, builder, rpc)) if trials else None
        evaluator, note = choose_evaluator(model, key, allow_other_hardware, locked)
        found = tasks_of(workload, machine)
        tasks = found.workloads
        unfit = [f"{name} is left out: {reason}" for name, reason in found.skipped.items()]
        job = Job(
            name=workload if isinstance(workload, str) else tasks[0].name,
            hardware=runs_on,
            search=search,
            notes=tuple(told for told in (note, elsewhere, of_known, *unfit) if told),
            tasks=tasks,
            target=machine,
            learner=Learner(evaluator, adapt),
            config=config or LatentSearchConfig(),
            cores=cores,
            seed=seed,
            folder=folder,
        )
        before = files.prepare(folder, known, open_database)
        history, firsts = History(budget, on_progress), [NO_BASELINE] * len(tasks)
        with own_errors(), interruptible(budget) if trials else nullcontext():
            if means is not None and not budget.spent:
                if baselines:
                    firsts = measure_baselines(job, means, budget)
                run(
                    tasks, machine, job.learner, search=search, config=job.config, trials=trials,
                    batch=batch, history=history, budget=budget, means=means,
                    database=job.database(), cores=cores, seed=seed, log=job.log,
                )  # fmt: skip
            lost = before + len(history.trials) - files.records_in(folder)
            with logged(job.log):
                result = _result(job, history, firsts, budget, lost)
            files.write_report(result)
            if history.trials:
                result = _keep_learned(job, result)
    return result


def schedule(
    workload: Any,
    *,
    model: str | os.PathLike[str] | Evaluator | None = None,
    hardware: HardwareKey | str | None = None,
    output: str | Path = "scheduled",
    config: LatentSearchConfig | None = None,
    seed: int = 0,
    allow_other_hardware: bool = False,
    target: dict[str, Any] | None = None,
    locked: str | os.PathLike[str] | None = None,
) -> TuneResult:
    """The schedule that the model thinks best, verified but not measured: ``tune`` of no trials."""
    return tune(
        workload, model=model, hardware=hardware, trials=0, output=output, config=config,
        seed=seed, allow_other_hardware=allow_other_hardware, target=target, locked=locked,
    )  # fmt: skip


#: An earlier record replaces what was measured last only where it is faster by more than noise.
_CLEARLY = 0.9


def _result(
    job: Job, history: History, firsts: Sequence[Baseline], budget: Budget, lost: int
) -> TuneResult:
    """The result, whose schedules and libraries are written on the way.

    ``lost``: trials that the database does not hold; TVM itself does not look whether its lines
    could be written.
    """
    notes = list(job.notes)
    if lost > 0:
        notes.append(
            f"{lost} of {len(history.trials)} trials are not in {job.folder / files.DATABASE[1]}: "
            "is the disk full?"
        )
    results = [
        _task_result(job, task, first, history, budget, notes)
        for task, first in zip(job.tasks, firsts, strict=True)
    ]
    return TuneResult(
        workload=job.name,
        model=job.learner.evaluator.name,
        model_hardware=str(job.learner.evaluator.hardware),
        hardware=str(job.hardware),
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


def _task_result(
    job: Job,
    task: NamedWorkload,
    first: Baseline,
    history: History,
    budget: Budget,
    notes: list[str],
) -> TaskResult:
    """The result of one task, whose schedule and library are written; what is odd goes to
    ``notes``."""
    trials = [trial for trial in history.trials if trial.task == task.name]
    failed = [trial for trial in trials if trial.latency_s is None]
    if trials and len(failed) == len(trials):
        ((reason, _),) = Counter(trial.error for trial in failed).most_common(1)
        notes.append(f"{task.name}: all {len(failed)} candidates failed, most often: {reason}")
    seconds = found = speedup = script = library = None
    try:
        seconds, found, speedup = _best(job, task, history, budget, notes)
    except MeasureError as error:
        reason = f"{task.name}: no schedule: {error}"
        if not history.trials:
            raise MeasureError(reason) from error
        # What was measured of other tasks is not lost for it.
        notes.append(reason)
    if found is not None:
        script = files.write_schedule(job.folder, task.name, found)
        library, problem = files.write_library(job.folder, task.name, found.mod, job.target)
        notes += [problem] if problem else []
    return TaskResult(
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


def _best(
    job: Job, task: NamedWorkload, history: History, budget: Budget, notes: list[str]
) -> tuple[float | None, Any, float | None]:
    """Seconds, schedule and predicted speed-up of the best that is known of ``task``.

    Where nothing ran, now or before, it is what the model thinks best among what has not failed;
    nothing, where the user has lost patience. Raises ``MeasureError`` where there is none.
    """
    context = job.context(task)
    finalists = history.finalists.get(task.name)
    seconds, found = finalists[0] if finalists else (None, None)
    try:
        before = best_measured(job.database(), context)
    except Exception as error:  # TVM raises its own kinds for a database that a full disk has cut.
        if found is None:
            raise MeasureError(f"the database cannot be read: {last_line(error)}") from error
        notes.append(f"{task.name}: the database cannot be read again: {last_line(error)}")
        before = None
    # A finalist's latency was measured again; of two records of one run, the other is luckier.
    if before is not None and (seconds is None or before[0] < _CLEARLY * seconds):
        seconds, found = before
    if found is not None or budget.interrupted:
        return seconds, found, None
    search = job.search_of(context)
    search.resume(measured_before(job.database(), context))
    candidate, found = search.best()
    return None, found, search.predicted_speedup(candidate)


def _keep_learned(job: Job, result: TuneResult) -> TuneResult:
    """Saves what was learned; ``result``, with a note where that could not be written."""
    try:
        job.learner.save(job.folder / files.LEARNED)
    except OSError as error:
        # It can be learned again from the database.
        note = f"{files.LEARNED} could not be written: {error.strerror or error}"
        return dataclasses.replace(result, notes=(*result.notes, note))
    return result


def _total(tasks: Sequence[TaskResult]) -> float | None:
    latencies = [task.best_latency_s for task in tasks]
    known = [latency for latency in latencies if latency is not None]
    if len(known) < len(latencies):
        return None
    return float(np.dot(known, [task.weight for task in tasks]))
