"""One search of ``wmhub bench search``, in a process of its own: ``python -m ... SPEC RESULT``.

Both are JSON files, so that what a run did and found stays beside its numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wmhub.bench.search_spec import STOCK_BUILD_SECONDS, RunResult, RunSpec, workload_module
from wmhub.children import safely_started
from wmhub.errors import MeasureError
from wmhub.flushing import write_file
from wmhub.garbage import set_aside, uncollected
from wmhub.measure.crew import workers_ahead
from wmhub.measure.programs import save_program
from wmhub.measure.targets import cores_for
from wmhub.names import HardwareKey


class _Watch:
    """Notes time and best schedule after each batch of a run."""

    def __init__(self, began: float, marks: list[int]) -> None:
        self.began = began
        self.marks = marks
        self.curve: list[tuple[int, float, float]] = []
        self.programs: dict[int, str] = {}
        self.seconds_at: dict[int, float] = {}
        self.trials = 0
        self.failed = 0
        self._best: tuple[float, Any] = (float("inf"), None)

    def take(self, candidates: Any, latencies: list[float]) -> None:
        """Notes a measured batch; NaN is a failure."""
        elapsed = time.monotonic() - self.began
        for candidate, seconds in zip(candidates, latencies, strict=True):
            self.trials += 1
            if seconds < self._best[0]:
                self._best = (seconds, candidate.sch)
                self.curve.append((self.trials, elapsed, seconds))
            self.failed += math.isnan(seconds)
            if self.trials in self.marks:
                self._note(self.trials, elapsed, self._best[1])

    def settle(self, schedule: Any) -> None:
        """Notes which schedule the search itself chose at its end, and when."""
        self._note(self.marks[-1], time.monotonic() - self.began, schedule)

    def close(self) -> None:
        """Notes the end, where a search ran out of candidates before its last mark."""
        for mark in self.marks:
            if mark not in self.seconds_at:
                self._note(mark, time.monotonic() - self.began, self._best[1])

    def _note(self, mark: int, seconds: float, schedule: Any) -> None:
        self.seconds_at[mark] = seconds
        if schedule is not None:
            self.programs[mark] = save_program(schedule.mod)


def run_one(spec: RunSpec, marks: list[int]) -> RunResult:
    """Runs ``spec``; best programs are kept after each of ``marks`` trials."""
    watch = _Watch(time.monotonic(), marks)
    if spec.method == "stock":
        _run_stock(spec, watch)
    elif spec.method == "zero":
        _run_zero(spec, watch)
    else:
        _run_ours(spec, watch)
    seconds = time.monotonic() - watch.began
    watch.close()
    return RunResult(spec, watch.curve, watch.programs, watch.failed, seconds, watch.seconds_at)


def _run_stock(spec: RunSpec, watch: _Watch) -> None:
    """Exactly TVM's: its imports, its target handling, its defaults; only a callback listens.

    But for the builder's time limit: its workers import every vendor's intrinsics before their
    first build, and where that alone takes the 30 s of the default, no build ever succeeds.
    """
    # In full and first: what wmhub imports later would leave most of it out.
    importlib.import_module("tvm.s_tir.tensor_intrin")
    import tvm
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    from wmhub.search.cost_model import latency_of

    @derived_object
    class Listen(ms.measure_callback.PyMeasureCallback):  # type: ignore[misc]
        def apply(self, scheduler: Any, task: Any, candidates: Any, built: Any, ran: Any) -> None:
            watch.take(candidates, [latency_of(result) for result in ran])

    with tempfile.TemporaryDirectory() as folder, safely_started():
        ms.tir_integration.tune_tir(
            mod=workload_module(spec.workload),
            target=tvm.target.Target(spec.target),
            work_dir=folder,
            max_trials_global=spec.trials,
            builder=ms.builder.LocalBuilder(
                max_workers=ms.utils.cpu_count(logical=False), timeout_sec=STOCK_BUILD_SECONDS
            ),
            measure_callbacks=[*ms.measure_callback.MeasureCallback.create("default"), Listen()],
            seed=1 + spec.seed,
        )


def _learner(spec: RunSpec) -> Any:
    from wmhub.bench.peers import BoostedLearner, Peer
    from wmhub.hub import from_pretrained
    from wmhub.search.learner import Learner

    here = HardwareKey.parse(spec.hardware)
    if spec.method == "random":
        return Learner(Peer("random", here, spec.seed), adapt=False)
    if spec.method == "xgb":
        return BoostedLearner(here, spec.seed)
    return Learner(from_pretrained(spec.model), adapt=spec.method != "no-adapt")


def _job(spec: RunSpec, folder: Path) -> Any:
    from wmhub.measure.sources import NamedWorkload
    from wmhub.search.job import Job
    from wmhub.search.latent_config import LatentSearchConfig
    from wmhub.tvm_compat import use_target

    config = LatentSearchConfig()
    if spec.method == "no-explore":
        config = dataclasses.replace(config, exploration=0.0)
    return Job(
        name=spec.workload,
        hardware=HardwareKey.parse(spec.hardware),
        measured_on=(spec.hardware,),
        search="latent",
        notes=(),
        tasks=[NamedWorkload("main", workload_module(spec.workload))],
        target=use_target(spec.target),
        learner=_learner(spec),
        config=config,
        cores=cores_for(spec.target),
        seed=spec.seed,
        trials=spec.trials,
        batch=16,
        folder=folder,
        packing=spec.method != "no-packing",
    )


def _run_ours(spec: RunSpec, watch: _Watch) -> None:
    with workers_ahead():
        with uncollected():
            from wmhub.search import run
        with set_aside():
            _search(spec, watch, run.run)


def _search(spec: RunSpec, watch: _Watch, run: Callable[..., None]) -> None:
    from wmhub.search.cost_model import latency_of
    from wmhub.search.history import Budget, History
    from wmhub.search.measuring import measuring

    class Watched(History):
        def add(self, task: str, candidates: Any, errors: Any, results: Any) -> None:
            super().add(task, candidates, errors, results)
            watch.take(candidates, [latency_of(result) for result in results])

    budget = Budget()
    history = Watched(budget, None)
    with (
        tempfile.TemporaryDirectory() as folder,
        measuring(spec.target, cores_for(spec.target)) as means,
    ):
        run(_job(spec, Path(folder)), history, budget, means)
        for finalists in history.finalists.values():
            watch.settle(finalists[0][1])


def _run_zero(spec: RunSpec, watch: _Watch) -> None:
    with uncollected():
        importlib.import_module("wmhub.search.run")
    with set_aside(), tempfile.TemporaryDirectory() as folder:
        job = _job(spec, Path(folder))
        search = job.search_of(job.context(job.tasks[0]))
        with contextlib.suppress(MeasureError):  # A run without a program counts as a failure.
            _, schedule = search.best()
            watch.programs[0] = save_program(schedule.mod)
    watch.seconds_at[0] = time.monotonic() - watch.began


def main(spec_file: str, result_file: str) -> None:
    """Reads a spec and its marks, runs it, and writes the result."""
    given = json.loads(Path(spec_file).read_text())
    result = run_one(RunSpec(**given["spec"]), given["marks"])
    write_file(Path(result_file), json.dumps(dataclasses.asdict(result)).encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
