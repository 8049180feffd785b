"""``tune``: a workload, a checkpoint and a budget to the best schedule."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from wmhub.errors import InvalidInputError, WmhubError
from wmhub.garbage import set_aside
from wmhub.hardware.machine import read_cpu
from wmhub.holding import held
from wmhub.interrupts import interruptible
from wmhub.measure.sampling import require_seed
from wmhub.measure.sources import NamedWorkload
from wmhub.measure.targets import cores_for
from wmhub.names import HardwareKey
from wmhub.search import output as files
from wmhub.search.choose import (
    choose_evaluator,
    going_on,
    machine_for,
    measured_on,
    refuse_measuring,
    require_measurable,
    target_for,
    this_hardware,
)
from wmhub.search.contexts import logged
from wmhub.search.history import Budget, History, OnProgress
from wmhub.search.job import NO_BASELINE, Job, measure_baselines
from wmhub.search.latent import of_other_targets, open_database
from wmhub.search.latent_config import LatentSearchConfig
from wmhub.search.learner import Learner
from wmhub.search.measuring import Means, measuring
from wmhub.search.networks import with_networks
from wmhub.search.outcome import outcome, written
from wmhub.search.result import TuneResult
from wmhub.search.run import run
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
    builder: str | None = None,
    rpc: str | None = None,
    locked: str | os.PathLike[str] | None = None,
    build_timeout_seconds: float = 30.0,
    run_timeout_seconds: float = 10.0,
    on_progress: OnProgress | None = None,
) -> TuneResult:
    """Searches for the fastest schedule of ``workload`` with ``trials`` measurements.

    ``workload``: a name of the zoo, a file, an ``IRModule``, a program of ``torch.export``; see
    ``tasks_of``. Of a network each operator is a task, and one library runs all of it. ``model``:
    anything that ``from_pretrained`` takes, or an evaluator; by default the checkpoint for
    ``hardware``, which is this machine's CPU by default; what is measured here must be that or
    alike, unless ``allow_other_hardware``. ``seconds``: wall time after which no batch begins.
    ``trials=0`` measures nothing and gives the schedule that the model thinks best. ``output``: a
    folder for database, schedules, libraries, report and plot. ``database``: a folder with a
    database to go on from, whose report must name the same hardware unless
    ``allow_other_hardware``; ``output`` itself need not have one yet. ``search``: our own strategy
    or TVM's with our cost model. ``baselines`` also measures the program as it came and one random
    candidate. ``builder`` and ``rpc`` (with ``hardware``, what its devices are): see ``measuring``.
    ``locked``: a lock file that must name the model. ``batch``: candidates that are measured
    together, fewer where some task would else get none; a build or a run that takes longer than its
    limit has failed.

    The first Ctrl-C ends the run and keeps what was measured. Raises the errors of
    ``from_pretrained`` and ``tasks_of``, ``HardwareMismatchError`` and ``OutputExistsError``.
    """
    if batch < 1:
        raise InvalidInputError("batch must be positive")
    require_seed(seed)
    if search not in ("latent", "evolutionary"):
        raise InvalidInputError(f"search {search!r} is neither latent nor evolutionary")
    if not trials:
        refuse_measuring(baselines, rpc, builder, seconds, search)
    require_measurable(trials, seconds, rpc, hardware)
    budget = Budget(seconds, trials if trials else math.inf)
    place = _place(hardware, target, trials > 0, rpc, allow_other_hardware)
    folder = Path(output)
    # Two that write to one folder would mix their records; those who build load TVM while the
    # checkpoint is loaded here.
    with held(folder), set_aside(), ExitStack() as stack:
        known = files.begun(folder, Path(database) if database is not None else None)
        files.refuse(folder, known)
        earlier = () if known is None else measured_on(known)
        of_known = (
            None if known is None else going_on(known, earlier, place.runs_on, allow_other_hardware)
        )
        limits = build_timeout_seconds, run_timeout_seconds
        means = (
            stack.enter_context(measuring(place.target, place.cores, builder, rpc, *limits))
            if trials
            else None
        )
        evaluator, note = choose_evaluator(model, place.named, allow_other_hardware, locked)
        found = tasks_of(workload, place.machine)
        tasks = found.workloads
        names = [task.name for task in tasks], [network.name for network in found.networks]
        files.refuse_overwriting(folder, known, *names, workload)
        unfit = [f"{name} is left out: {reason}" for name, reason in found.skipped.items()]
        if 0 < trials < len(tasks):
            unfit.append(f"{trials} trials for {len(tasks)} tasks: some go without any")
        job = Job(
            name=_name(workload, tasks),
            hardware=place.runs_on,
            measured_on=tuple(dict.fromkeys((*([str(place.runs_on)] if trials else []), *earlier))),
            search=search,
            notes=tuple(told for told in (note, place.note, of_known, *unfit) if told),
            tasks=tasks,
            target=place.machine,
            networks=found.networks,
            is_remote=rpc is not None,
            learner=Learner(evaluator, adapt),
            config=config or LatentSearchConfig(),
            cores=place.cores,
            seed=seed,
            trials=trials,
            # TVM gives every task a batch before any gets a second one.
            batch=max(1, min(batch, trials // len(tasks))),
            folder=folder,
        )
        return _carried_out(job, History(budget, on_progress), budget, means, known, baselines)


class _Place(NamedTuple):
    """What is tuned for, and what with."""

    named: HardwareKey
    """What the user tunes for."""
    runs_on: HardwareKey
    """What measures."""
    note: str | None
    """A sentence where that is not the same."""
    target: dict[str, Any]
    machine: Any
    """The same, as TVM has it."""
    cores: int
    """Of this machine, to search and build with."""


def _place(
    hardware: HardwareKey | str | None,
    target: dict[str, Any] | None,
    measures: bool,
    rpc: str | None,
    allow_other_hardware: bool,
) -> _Place:
    named = this_hardware(hardware)
    here = measures and rpc is None
    runs_on, note = (
        machine_for(named, allow_other_hardware) if hardware is not None and here
        else (named, None)
    )  # fmt: skip
    # Unless another CPU is named, what is not measured is for this one as well.
    target = target_for(runs_on, target, runs_here=hardware is None or here)
    # Its intrinsics come with the first context, when those who build have begun to load TVM.
    machine = use_target(target, intrinsics=False)
    # Of another machine's target the cores say nothing about who searches and builds here.
    cores = cores_for(target) if rpc is None else read_cpu().usable_threads
    return _Place(named, runs_on, note, target, machine, cores)


def _carried_out(
    job: Job,
    history: History,
    budget: Budget,
    means: Means | None,
    known: Path | None,
    baselines: bool,
) -> TuneResult:
    """The result of ``job``, which goes on from the database of ``known``; without ``means``
    nothing is measured."""
    before = files.prepare(job.folder, known, partial(_opened, job.search, job.target))
    if bad := before.rejected:
        history.notes.append(
            f"{len(bad)} damaged records are put aside in {files.REJECTED}: {bad[0]}"
        )
    if before.others:
        history.notes.append(
            f"{before.others} of its {before.records} records are of another target: not used"
        )
    firsts = [NO_BASELINE] * len(job.tasks)
    with own_errors(), interruptible(budget.interrupt):
        if means is not None and not budget.spent:
            if baselines:
                firsts = measure_baselines(job, means, budget)
            _run(job, history, budget, means)
        lost = before.records + len(history.trials) - files.records_in(job.folder)
        with logged(job.log):
            result, schedules = outcome(job, history, firsts, budget, lost)
        # Before anything else: what is measured is written, whatever comes of a whole network.
        result = written(job, result)
        if job.networks:
            with logged(job.log):
                result = with_networks(job, result, schedules, budget)
        return result


def _name(workload: Any, tasks: Sequence[NamedWorkload]) -> str:
    """What to call what the user gave."""
    if isinstance(workload, (str, Path)):
        return str(workload)
    return tasks[0].name if len(tasks) == 1 else f"a module of {len(tasks)} tasks"


def _opened(search: str, target: Any, folder: Path) -> int:
    """Opens a database to see whether that can be done; its records of another target.

    Raises ``InvalidInputError`` for one with records of another target where TVM's own search would
    take them for its own.
    """
    others = of_other_targets(open_database(folder), target)
    if search == "evolutionary" and others:
        raise InvalidInputError(
            f"{others} of its records are of another target, and TVM's search does not tell them "
            "from its own: go on with the latent search"
        )
    return others


def _run(job: Job, history: History, budget: Budget, means: Means) -> None:
    """Measures; a task that TVM or the search cannot handle is left out for the sake of the others.

    TVM makes all design spaces before the first batch, and ends where one cannot be made. Raises
    what our own builder, runner and search raise before anything was measured.
    """
    try:
        with own_errors():
            run(job, history, budget, means)
    except (WmhubError, OSError) as error:
        if not history.trials:
            raise
        # What was measured is a result: a board that is gone takes nothing of it along.
        history.notes.append(f"measuring ended early: {last_line(error)}")
    except Exception:
        if history.trials or len(job.tasks) == 1:
            raise
        unfit = job.unfit()
        fit = [task for task in job.tasks if task.name not in unfit]
        if not unfit or not fit:
            raise
        history.notes += [f"{name} is not measured: {reason}" for name, reason in unfit.items()]
        _run(dataclasses.replace(job, tasks=fit), history, budget, means)


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
