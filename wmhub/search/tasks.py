"""A workload as the tasks that are tuned one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.measure.programs import argument_info
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.sources import NamedWorkload, load_workloads, workloads_of
from wmhub.tvm_compat import last_line


def tasks_of(workload: Any, target: Any) -> list[NamedWorkload]:
    """The tasks of what ``load_workloads`` or ``workloads_of`` takes, each program once.

    ``target``: what the tasks of a whole network are extracted for. Tasks of one name get a number.
    """
    if isinstance(workload, (str, Path)):
        found = load_workloads(str(workload), target)
    else:
        found = workloads_of(workload, target)
    if not found:
        raise InvalidInputError("the program holds no function that could be tuned")
    counts: dict[str, int] = {}
    tasks = []
    for task in found:
        count = counts[task.name] = counts.get(task.name, 0) + 1
        name = task.name if count == 1 else f"{task.name}-{count}"
        try:
            argument_info(task.mod)
        except REFUSALS as error:
            raise InvalidInputError(
                f"{name}: a task needs arguments of constant shape: {last_line(error)}"
            ) from error
        tasks.append(NamedWorkload(name, task.mod, task.weight))
    return tasks
