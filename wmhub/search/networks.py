"""What comes of whole networks: a library of each, with what was found for its operators."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wmhub.errors import MeasureError, WmhubError
from wmhub.measure.network_timing import time_network
from wmhub.measure.programs import device_name
from wmhub.measure.whole_network import WholeNetwork, arguments_of, compiled, with_schedules
from wmhub.search import output as files
from wmhub.search.history import Budget
from wmhub.search.job import Job
from wmhub.search.outcome import tried
from wmhub.search.result import NetworkResult, TuneResult
from wmhub.tvm_compat import compiling_for, last_line

#: A network that takes longer is not timed.
_TIMING_SECONDS = 120.0


def with_networks(
    job: Job, result: TuneResult, schedules: Sequence[Any], budget: Budget
) -> TuneResult:
    """``result`` with the networks of ``job``, whose libraries are written, and the report anew.

    ``schedules``: what was found for each task, or ``None``. What only failed when it was measured
    is not in a library, and where one cannot be compiled, it is tried with less. Each network is
    run where this machine has measured, and the user has not lost patience.
    """
    known = [
        (task, (found.mod, schedule))
        for task, found, schedule in zip(result.tasks, job.tasks, schedules, strict=True)
        if schedule is not None and not (task.failed and task.best_latency_s is None)
    ]
    ran = [pair for task, pair in known if task.best_latency_s is not None]
    choices = [[pair for _, pair in known], ran, []]
    notes = list(result.notes)
    networks = tuple(_result(job, one, choices, budget, notes) for one in job.networks)
    is_interrupted = result.interrupted or budget.interrupted
    result = dataclasses.replace(
        result, networks=networks, notes=tuple(notes), interrupted=is_interrupted
    )
    return tried(result, files.REPORT, partial(files.write_report, result))


def _result(
    job: Job,
    network: WholeNetwork,
    choices: Sequence[Sequence[tuple[Any, Any]]],
    budget: Budget,
    notes: list[str],
) -> NetworkResult:
    """That of one network, with the first of ``choices`` of schedules that it can be compiled with;
    what is odd goes to ``notes``."""
    path = files.network_library(job.folder, network.name, job.target)
    reasons: dict[str, None] = {}
    for number, found in enumerate(choices):
        if number and len(found) == len(choices[number - 1]):
            continue
        try:
            made = with_schedules(network, found, job.target)
            with compiling_for(str(job.target.kind.name)):
                files.export(compiled(made, job.target), path)
            break
        except Exception as error:  # The linker, LLVM and TVM each raise their own.
            reasons[last_line(error) or type(error).__name__] = None
    else:
        # One of before would pass for it.
        path.unlink(missing_ok=True)
        why = "; ".join(reasons)
        notes.append(f"{network.name}: no library of the whole network: {why}")
        return NetworkResult(network.name, None, None, None, None)
    if reasons:
        notes.append(
            f"{network.name}: {len(choices[0]) - len(found)} schedules are left out of the library "
            f"of the whole network, which could not be compiled with them: {'; '.join(reasons)}"
        )
    if made.scheduled < made.operators:
        notes.append(
            f"{network.name}: for {made.operators - made.scheduled} of {made.operators} operators "
            "of the network no schedule was found: they are as TVM has them"
        )
    seconds = None
    if job.trials and not (job.is_remote or budget.interrupted):
        try:
            seconds = _seconds(job, network, path)
        except (WmhubError, OSError) as error:
            notes.append(f"{network.name}: the whole network is not timed: {last_line(error)}")
    return NetworkResult(network.name, made.operators, made.scheduled, seconds, path)


def _seconds(job: Job, network: WholeNetwork, path: Path) -> float:
    known = arguments_of(network)
    if known is None:
        raise MeasureError("it has no main function whose arguments are all of constant shape")
    device = device_name(str(job.target.kind.name))
    return time_network(path, *known, device, job.cores, _TIMING_SECONDS)
