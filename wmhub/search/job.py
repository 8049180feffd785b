"""One call of ``tune``: what stays the same during it, and what its results are compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure.metaschedule import name_task
from wmhub.measure.sketch import REFUSALS, replay_trace
from wmhub.measure.sources import NamedWorkload
from wmhub.measure.whole_network import WholeNetwork
from wmhub.names import HardwareKey
from wmhub.search import output as files
from wmhub.search.contexts import logged, make_contexts
from wmhub.search.history import Budget
from wmhub.search.latent import open_database
from wmhub.search.latent_config import LatentSearchConfig
from wmhub.search.learner import Learner
from wmhub.search.measuring import Means, measure
from wmhub.search.task_search import TaskSearch, task_search
from wmhub.tvm_callbacks import own_errors
from wmhub.tvm_compat import Trace, last_line


@dataclass(frozen=True)
class Job:
    """What stays the same during one call."""

    name: str
    """What the user called the workload."""
    hardware: HardwareKey
    """What is tuned for."""
    measured_on: tuple[str, ...]
    """Keys of the hardware whose records the database came with, and of this where it measures."""
    search: str
    """``latent`` or ``evolutionary``."""
    notes: tuple[str, ...]
    """Sentences for people that are known from the beginning."""
    tasks: Sequence[NamedWorkload]
    target: Any
    """TVM's, of the hardware."""
    learner: Learner
    config: LatentSearchConfig
    cores: int
    """Threads of the search, and processes that build."""
    seed: int
    trials: int
    """Candidates of all tasks together that may be measured."""
    batch: int
    """Candidates that are measured together."""
    folder: Path
    """Where everything is written."""
    packing: bool = True
    """Whether there are sketches of our own, see `wmhub.measure.rules`."""
    networks: Sequence[WholeNetwork] = ()
    """What tasks are operators of."""
    is_remote: bool = False
    """Whether others measure."""

    @property
    def log(self) -> Path:
        """The file of TVM's own messages."""
        return self.folder / files.LOG

    def database(self) -> Any:
        """The ``JSONDatabase`` of the folder, read anew."""
        return open_database(self.folder)

    def contexts(self, strategy: Any) -> list[Any]:
        """A ``TuneContext`` of each task, searched by ``strategy``."""
        return make_contexts(
            self.tasks, self.target, strategy, cores=self.cores, seed=self.seed, log=self.log,
            packing=self.packing,
        )  # fmt: skip

    def context(self, task: NamedWorkload) -> Any:
        """A ``TuneContext`` of ``task`` alone."""
        return dataclasses.replace(self, tasks=[task]).contexts(None)[0]

    def search_of(self, context: Any) -> TaskSearch:
        """A search of ``context``, apart from TVM's scheduler."""
        spaces = context.generate_design_space()
        return task_search(context, self.learner, self.config, spaces, self.seed)

    def unfit(self) -> dict[str, str]:
        """The tasks that cannot be searched, and why."""
        found = {}
        for task in self.tasks:
            try:
                with own_errors():
                    self.search_of(self.context(task)).require_scored()
            except (InvalidInputError, MeasureError, *REFUSALS) as error:
                found[task.name] = last_line(error)
        return found


@dataclass(frozen=True)
class Baseline:
    """What the best schedule of a task is compared with; ``None`` where it was not measured."""

    unscheduled: float | None
    """Latency of the program as it came, in seconds; of a GPU's, bound to threads by TVM."""
    random: float | None
    """Latency of the first valid random candidate, in seconds."""
    problem: str = ""
    """Why either has no time; empty where it was not asked for or was measured."""


NO_BASELINE = Baseline(None, None)


def measure_baselines(job: Job, means: Means, budget: Budget) -> list[Baseline]:
    """Of each task, unless the budget is spent before its turn."""
    with logged(job.log):
        return [NO_BASELINE if budget.spent else _baseline(job, task, means) for task in job.tasks]


def _baseline(job: Job, task: NamedWorkload, means: Means) -> Baseline:
    context = job.context(task)
    try:
        with own_errors():
            drawn = job.search_of(context).random_schedule()
    except (MeasureError, *REFUSALS) as error:
        return Baseline(None, None, last_line(error))
    means.wait_ready()
    name_task(means.builder, task.name)
    mods = [_as_it_came(context), drawn.mod]
    measured = measure(mods, job.target, means.builder, means.runner)
    (unscheduled, _), (random, _) = measured
    reasons = [
        f"{what}: {reason}"
        for what, (_, reason) in zip(("as it came", "a random schedule"), measured, strict=True)
        if reason is not None
    ]
    return Baseline(unscheduled, random, "; ".join(reasons))


def _as_it_came(context: Any) -> Any:
    """The program of ``context``. A GPU runs none whose loops are not bound to threads: there it is
    what TVM's post-processing makes of a schedule without any instruction.

    (``DefaultGPUSchedule`` of TVM 0.27 takes no program of several blocks.)
    """
    if "gpu" not in context.target.keys:
        return context.mod
    postprocs = list(context.space_generator.postprocs)
    bound = replay_trace(context.mod, Trace([], {}), postprocs, 1)
    return context.mod if bound is None else bound.mod
