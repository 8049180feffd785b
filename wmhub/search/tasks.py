"""A workload as the tasks that are tuned one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """One function to tune."""

    name: str
    mod: Any
    """``tvm.IRModule`` whose one function is ``main``."""
    weight: int = 1
    """How often it occurs in the program."""
