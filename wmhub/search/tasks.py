"""A workload as the tasks that are tuned one by one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from wmhub.measure.sources import Found, NamedWorkload, load_workloads, numbered, workloads_of
from wmhub.search.output import file_stem
from wmhub.tvm_compat import same_structure


def tasks_of(workload: Any, target: Any) -> Found:
    """The tasks of what ``load_workloads`` or ``workloads_of`` takes, each program once.

    ``target``: what the tasks of a whole network are extracted for. Programs that TVM takes for the
    same become one task, with the sum of their weights. Each has a name of its own, and one that
    makes a file name of its own, as networks have: of names that do not, all but the first get a
    number. Raises
    ``InvalidInputError`` where there is none.
    """
    if isinstance(workload, (str, Path)):
        found = load_workloads(str(workload), target)
    else:
        found = workloads_of(workload, target)
    found.require("the program holds no function that could be tuned")
    tasks: dict[int, NamedWorkload] = {}
    taken: set[str] = set()
    networks = [
        dataclasses.replace(network, name=_distinct(network.name, taken))
        for network in found.networks
    ]
    for task in found.workloads:
        program = same_structure(task.mod)
        if program in tasks:
            known = tasks[program]
            tasks[program] = dataclasses.replace(
                known,
                weight=known.weight + task.weight,
                is_operator=known.is_operator and task.is_operator,
            )
            continue
        tasks[program] = dataclasses.replace(task, name=_distinct(task.name, taken))
    return Found(list(tasks.values()), found.skipped, networks)


def _distinct(name: str, taken: set[str]) -> str:
    """``name``, or that with a number, whose file name is not ``taken`` yet, and is then."""
    chosen = next(one for one in numbered(name) if file_stem(one) not in taken)
    taken.add(file_stem(chosen))
    return chosen
