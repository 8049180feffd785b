"""A workload as the tasks that are tuned one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.measure.programs import argument_info
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.sources import NamedWorkload, load_workloads, workloads_of
from wmhub.search.output import file_stem
from wmhub.tvm_compat import last_line


def tasks_of(workload: Any, target: Any) -> list[NamedWorkload]:
    """The tasks of what ``load_workloads`` or ``workloads_of`` takes, each program once.

    ``target``: what the tasks of a whole network are extracted for. Each has a name of its own, and
    one that makes a file name of its own: of names that do not, all but the first get a number.
    """
    if isinstance(workload, (str, Path)):
        found = load_workloads(str(workload), target)
    else:
        found = workloads_of(workload, target)
    if not found:
        raise InvalidInputError("the program holds no function that could be tuned")
    taken: set[str] = set()
    tasks = []
    for task in found:
        name = next(name for name in _numbered(task.name) if file_stem(name) not in taken)
        taken.add(file_stem(name))
        try:
            argument_info(task.mod)
        except REFUSALS as error:
            raise InvalidInputError(
                f"{name}: a task needs arguments of constant shape: {last_line(error)}"
            ) from error
        tasks.append(NamedWorkload(name, task.mod, task.weight))
    return tasks


def _numbered(name: str) -> Iterator[str]:
    """``name``, and then with numbers."""
    yield name
    # A file name has room for so much and a number.
    yield from (f"{name[:100]}-{number}" for number in itertools.count(2))
