"""What a tuning run found: rows that print, plot and become JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trial:
    """One measured candidate."""

    task: str
    """Name of its task."""
    latency_s: float | None
    """Median run time in seconds; ``None`` where it failed."""
    elapsed_s: float
    """Wall time since the run began, in seconds, when its batch was done."""
    error: str | None
    """Last line of why it failed: the reason itself, behind what led to it."""


@dataclass(frozen=True)
class TaskResult:
    """The outcome for one task."""

    name: str
    weight: int
    """How often the task occurs in the program."""
    trials: int
    """Candidates that were measured in this run."""
    failed: int
    """Those of them that could not be built or run."""
    best_latency_s: float | None
    """Lowest measured latency in seconds, this run's or the database's; ``None`` unmeasured."""
    unscheduled_latency_s: float | None
    """Latency of the program as it came, in seconds, where it was measured."""
    first_random_latency_s: float | None
    """Latency of the first candidate drawn at random, in seconds, where it was measured."""
    predicted_speedup: float | None
    """For a schedule that was not measured: expected ratio of the latency of a candidate drawn at
    random (geometric mean) to its own."""
    schedule: Path | None
    """File with the best schedule as TVMScript; ``None`` where no candidate ran."""
    library: Path | None
    """Compiled library of the best schedule; of another architecture's, an archive of objects. None
    of a network's operator."""


@dataclass(frozen=True)
class NetworkResult:
    """A whole network with what was found for its operators."""

    name: str
    operators: int | None
    """Distinct programs that it calls; ``None`` where it could not be compiled."""
    scheduled: int | None
    """Those of them that have a schedule, of this run or their own."""
    latency_s: float | None
    """Median run time of all of it in seconds; ``None`` where it was not run here."""
    library: Path | None
    """What ``tvm.relax.VirtualMachine`` runs; of another architecture's, an archive of objects."""


@dataclass(frozen=True)
class TuneResult:
    """The outcome of ``tune``."""

    workload: str
    model: str
    """Name of the checkpoint."""
    model_hardware: str
    """Hardware that the checkpoint was trained on."""
    hardware: str
    """Hardware that was tuned for; where anything was measured here, what this machine is."""
    measured_on: tuple[str, ...]
    """Keys of all hardware that measured what the folder's database holds, as far as is known."""
    search: str
    """``latent`` or ``evolutionary``."""
    trials: int
    """Candidates that were measured in this run."""
    failed: int
    """Those of them that could not be built or run."""
    seconds: float
    """Wall time from the call to the best schedule, in seconds."""
    interrupted: bool
    """Whether it ended before its budget, by Ctrl-C."""
    best_latency_s: float | None
    """Sum over tasks of weight times best latency, in seconds; ``None`` if a task has none."""
    tasks: tuple[TaskResult, ...]
    history: tuple[Trial, ...]
    """Every trial, in the order of measurement."""
    output: Path
    """Folder with database, schedules, libraries, report and plots."""
    notes: tuple[str, ...] = ()
    """Sentences for people: what was not as asked, and why."""
    networks: tuple[NetworkResult, ...] = ()
    """Those that tasks are operators of."""

    def to_json(self) -> dict[str, object]:
        """The result as a JSON object; paths as text."""
        return {key: _jsonable(value) for key, value in dataclasses.asdict(self).items()}


def _jsonable(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value


def best_so_far(
    history: tuple[Trial, ...], weights: dict[str, int]
) -> list[tuple[int, float, float]]:
    """Trial number, elapsed seconds and weighted best latency, wherever the latter improved.

    Begins when every task of ``weights`` has one measured candidate.
    """
    best: dict[str, float] = {}
    curve: list[tuple[int, float, float]] = []
    for number, trial in enumerate(history, 1):
        if trial.latency_s is None or trial.latency_s >= best.get(trial.task, float("inf")):
            continue
        best[trial.task] = trial.latency_s
        if best.keys() == weights.keys():
            total = sum(weights[task] * latency for task, latency in best.items())
            curve.append((number, trial.elapsed_s, total))
    return curve
