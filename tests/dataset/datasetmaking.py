"""What the tests of datasets share beside fixtures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from logmaking import ansor_line

import wmhub
from wmhub.collection import CollectReport
from wmhub.dataset.working import working, working_folder

#: Makes a dataset of the lines of an Ansor log, or of a made-up log; see ``conftest.py``.
Make = Callable[..., Path]


def collect(*logs: Path | str, output: Path, **options: object) -> CollectReport:
    """Logs that a V100 has measured, if nothing else is said."""
    return wmhub.collect(logs, output, **{"hardware": "cuda-v100", **options})  # type: ignore[arg-type]


def die(*_: object) -> None:
    """What a process does that the kernel kills for its memory."""
    os._exit(9)


def lines_of(count: int) -> list[str]:
    """Distinct records of ``count`` workloads."""
    return [ansor_line(key=f'["matmul", {number}]') for number in range(count)]


def interrupted(output: Path, part: str) -> Path:
    """An empty ``part`` of the working folder of ``output``, as a run that was killed leaves it."""
    with working(output):
        folder = working_folder(output) / part
        folder.mkdir()
    return folder
