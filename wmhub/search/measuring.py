"""Measures given schedules apart from a search: baselines, and the final comparison."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmhub.search.cost_model import latency_of
from wmhub.tvm_compat import meta_schedule as ms


def measure(
    mods: Sequence[Any], target: Any, builder: Any, runner: Any
) -> list[tuple[float | None, str | None]]:
    """Seconds of each ``IRModule`` on ``target``, or ``None`` and why it has none.

    ``builder`` and ``runner`` are MetaSchedule's interfaces; any implementation does.
    """
    built = builder.build([ms.builder.BuilderInput(mod, target) for mod in mods])
    artifacts = [result.artifact_path for result in built]
    inputs = [
        ms.runner.RunnerInput(
            artifact, str(target.kind.name), ms.arg_info.ArgInfo.from_prim_func(mod["main"])
        )
        for mod, artifact in zip(mods, artifacts, strict=True)
        if artifact is not None
    ]
    futures = iter(runner.run(inputs) if inputs else ())
    measured: list[tuple[float | None, str | None]] = []
    for result in built:
        if result.artifact_path is None:
            measured.append((None, last_line(result.error_msg)))
            continue
        ran = next(futures).result()
        seconds = latency_of(ran)
        measured.append((seconds, None) if seconds == seconds else (None, last_line(ran.error_msg)))
    for artifact in artifacts:
        if artifact is not None:
            shutil.rmtree(Path(str(artifact)).parent, ignore_errors=True)
    return measured


def last_line(message: Any) -> str:
    """The last line of an error message that says something; TVM's reasons stand there."""
    lines = [line.strip() for line in str(message or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "failed without a message"
