"""``demo``: the main job once, on this machine, in a few minutes."""

from __future__ import annotations

from pathlib import Path

from wmhub.errors import HardwareMismatchError, InvalidInputError, OutputExistsError
from wmhub.flushing import UNFINISHED
from wmhub.holding import LOCK, held
from wmhub.hub import known_hardware, nearest_model
from wmhub.hub.artifact import MODEL
from wmhub.measure.sources import load_workloads
from wmhub.search import output as files
from wmhub.search.choose import this_hardware
from wmhub.search.history import OnProgress
from wmhub.search.result import TuneResult
from wmhub.search.tune import tune

#: First dense layer of a BERT-base feed-forward block, with its bias and GELU.
WORKLOAD = "dense-m128-n3072-k768-bias-gelu"


def demo(
    output: str | Path = "demo-output",
    *,
    workload: str = WORKLOAD,
    trials: int = 64,
    seconds: float = 180.0,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> TuneResult:
    """Tunes ``workload`` with the embedded checkpoint nearest to this machine's CPU.

    Starts anew where an earlier demo wrote to ``output``. Raises ``OutputExistsError`` for a folder
    that no demo made or that holds something else, and ``HardwareMismatchError`` where no
    checkpoint can rank schedules for this machine.
    """
    # What an earlier demo measured is not removed for a mistake.
    if trials < 1 or not seconds > 0:
        raise InvalidInputError("a demo needs at least one trial, and seconds that are positive")
    load_workloads(workload)
    hardware = this_hardware(None)
    choice = nearest_model(hardware, known_hardware(MODEL))
    if choice.name is None:
        raise HardwareMismatchError(f"no checkpoint is known that fits {hardware}")
    folder = Path(output)
    with held(folder):
        _clear(folder, workload)
        files.mark_demo(folder)
    return tune(
        workload,
        model=choice.name,
        hardware=hardware,
        trials=trials,
        seconds=seconds,
        output=folder,
        seed=seed,
        baselines=True,
        allow_other_hardware=True,
        on_progress=on_progress,
    )


def _clear(folder: Path, workload: str) -> None:
    """Removes what an earlier demo wrote or was killed at writing, and nothing else."""
    there = {path.name for path in folder.iterdir()} - {LOCK}
    if there and files.DEMO not in there:
        raise OutputExistsError(
            f"{folder} holds what no demo made, or what was added to a demo: give another folder"
        )
    stem = files.file_stem(workload)
    written = {*files.DATABASE, files.REPORT, files.PLOT, files.LEARNED, files.LOG}
    written |= {f"{stem}.py", f"{stem}.so"}
    written |= set(filter(UNFINISHED.fullmatch, there))
    others = sorted(there - written - {files.DEMO})
    if others:
        raise OutputExistsError(
            f"{folder} holds other things ({', '.join(others[:3])}): give another folder"
        )
    for name in written:
        (folder / name).unlink(missing_ok=True)
