"""What comes of whole networks: a library of each, with what was found for its operators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmhub.errors import MeasureError, WmhubError
from wmhub.measure.network_timing import time_network
from wmhub.measure.programs import device_name
from wmhub.measure.whole_network import WholeNetwork, arguments_of, compiled
from wmhub.search import output as files
from wmhub.search.job import Job
from wmhub.search.result import NetworkResult
from wmhub.tvm_compat import compiling_for, last_line

#: A network that takes longer is not timed.
_TIMING_SECONDS = 120.0


def network_results(
    job: Job, schedules: Sequence[Any], is_timed: bool, notes: list[str]
) -> tuple[NetworkResult, ...]:
    """The networks of ``job``, whose libraries are written; what is odd goes to ``notes``.

    ``schedules``: what was found for each of its tasks, or ``None``. ``is_timed``: whether each
    network is run here.
    """
    found = [
        (task.mod, schedule)
        for task, schedule in zip(job.tasks, schedules, strict=True)
        if schedule is not None
    ]
    return tuple(_result(job, one, found, is_timed, notes) for one in job.networks)


def _result(
    job: Job,
    network: WholeNetwork,
    found: Sequence[tuple[Any, Any]],
    is_timed: bool,
    notes: list[str],
) -> NetworkResult:
    path = files.network_library(job.folder, network.name, job.target)
    try:
        with compiling_for(str(job.target.kind.name)):
            made = compiled(network, found, job.target)
            made.executable.export_library(str(path))
    except Exception as error:  # The linker, LLVM and TVM each raise their own.
        reason = last_line(error) or type(error).__name__
        notes.append(f"{network.name}: no library of the whole network: {reason}")
        return NetworkResult(network.name, None, None, None, None)
    if made.scheduled < made.operators:
        notes.append(
            f"{network.name}: {made.operators - made.scheduled} of {made.operators} operators of "
            "the network have no schedule, and are as they came"
        )
    seconds = None
    if is_timed:
        try:
            seconds = _seconds(job, network, path)
        except WmhubError as error:
            notes.append(f"{network.name}: the whole network is not timed: {last_line(error)}")
    return NetworkResult(network.name, made.operators, made.scheduled, seconds, path)


def _seconds(job: Job, network: WholeNetwork, path: Path) -> float:
    known = arguments_of(network)
    if known is None:
        raise MeasureError("it has no main function whose arguments are all of constant shape")
    device = device_name(str(job.target.kind.name))
    return time_network(path, *known, device, job.cores, _TIMING_SECONDS)
