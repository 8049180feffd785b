"""A workload as the tasks that are tuned one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.measure import zoo


@dataclass(frozen=True)
class Task:
    """One function to tune."""

    name: str
    mod: Any
    """``tvm.IRModule`` whose one function is ``main``."""
    weight: int = 1
    """How often it occurs in the program."""


def tasks_of(workload: Any) -> list[Task]:
    """The tasks of a zoo name, an ``IRModule`` or a ``PrimFunc``.

    Raises ``UnknownNameError`` for a name that the zoo does not know.
    """
    from wmhub.tvm_compat import normalize, tvm

    if isinstance(workload, str):
        return [Task(workload, zoo.build(workload))]
    if isinstance(workload, tvm.tirx.PrimFunc):
        workload = tvm.IRModule({"main": workload})
    if not isinstance(workload, tvm.IRModule):
        raise InvalidInputError(
            f"a workload is a name, a file or an IRModule, not {type(workload).__name__}"
        )
    return [
        Task(str(name.name_hint), normalize(function))
        for name, function in workload.functions_items()
        if isinstance(function, tvm.tirx.PrimFunc)
    ]
