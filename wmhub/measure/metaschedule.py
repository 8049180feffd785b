"""The engine as MetaSchedule's builder and runner, so that plain ``tune_tir`` gains the same::

    with Engine(target) as engine:
        builder, runner = builder_and_runner(engine)
        ms.tune_tir(mod, target, work_dir, 64, builder=builder, runner=runner)

The two belong together: what this builder hands over is linked in the engine's workers, and no
other runner can load it.
"""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.measure.candidate import Program, mostly_failed
from wmhub.measure.engine import Engine
from wmhub.measure.programs import argument_info, save_program
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms

#: Programs of a task that stay linked: as many as a search measures again at its end.
_KEPT = 4


@derived_object
class EngineBuilder(ms.builder.PyBuilder):  # type: ignore[misc]
    """Builds through an ``Engine``.

    The fastest programs of each task stay linked after their batch, and are not built again when a
    search measures them again at its end.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._task = ""
        self.handles: dict[str, int] = {}
        """The engine's handle of each program of the last batch, by its artifact path."""
        self.untried: list[int] = []
        """What was built for the last batch and has never run."""
        self._linked: dict[int, Program] = {}
        """What is linked, by its handle: the last batch, and the fastest of those before."""
        self._folders: list[Path] = []
        """Those of all artifact paths. TVM may still want to remove them when later batches of
        other tasks are built."""
        engine.closing.callback(_remove, self._folders)

    def name_task(self, task: str) -> None:
        """What is built from now on is of ``task``, and compared with nothing else."""
        self._task = task

    def build(self, build_inputs: Sequence[Any]) -> list[Any]:
        """Compiles a batch; its artifact paths mean something to ``EngineRunner`` alone."""
        self.handles.clear()
        kept = self._keep_fastest()
        programs = [
            Program(save_program(item.mod), self._task or _group(item.mod)) for item in build_inputs
        ]
        # Taken out, so that of equal programs of a batch each has a handle of its own.
        known = [kept.pop(program, None) for program in programs]
        self._engine.forget_timings([old for old in known if old is not None])
        missing = [one for one, old in zip(programs, known, strict=True) if old is None]
        self.untried = self._engine.build(missing)
        new = iter(self.untried)
        handles = [next(new) if old is None else old for old in known]
        self._linked.update(zip(handles, programs, strict=True))
        return [self._told(handle) for handle in handles]

    def _told(self, handle: int) -> Any:
        """As TVM wants to hear what became of a build."""
        failed = self._engine.outcome(handle)
        if failed is not None:
            return ms.builder.BuilderResult(None, f"{failed.failure}: {failed.message}")
        # TVM deletes the folder of an artifact after its use, so each has one of its own.
        path = Path(tempfile.mkdtemp(prefix="wmhub-linked-"), "in-process")
        self._folders.append(path.parent)
        path.touch()
        self.handles[str(path)] = handle
        return ms.builder.BuilderResult(str(path), None)

    def _keep_fastest(self) -> dict[Program, int]:
        """Releases all but the fastest of each task, and returns their handles.

        A search builds, runs, and builds again: what it has not run by now, it never will.
        """
        tasks: dict[str, list[tuple[float, int]]] = {}
        for handle, program in self._linked.items():
            outcome = self._engine.outcome(handle)
            if outcome is not None and outcome.failure is None:
                seconds = statistics.median(outcome.run_seconds)
                tasks.setdefault(program.group, []).append((seconds, handle))
        fastest = {handle for ran in tasks.values() for _, handle in sorted(ran)[:_KEPT]}
        self._engine.release([handle for handle in self._linked if handle not in fastest])
        self._linked = {h: program for h, program in self._linked.items() if h in fastest}
        return {program: handle for handle, program in self._linked.items()}


@derived_object
class EngineRunner(ms.runner.PyRunner):  # type: ignore[misc]
    """Runs what ``EngineBuilder`` has built."""

    def __init__(self, engine: Engine, builder: Any) -> None:
        super().__init__()
        self._engine = engine
        self._builder = builder

    def run(self, runner_inputs: Sequence[Any]) -> list[Any]:
        """Times a batch, however often it was timed before; the futures are done when this
        returns.

        Raises ``MeasureError`` where most of a new batch failed and nothing can be run here: that
        would else be told as the candidates' own failure."""
        handles = []
        for item in runner_inputs:
            path = str(item.artifact_path)
            if path not in self._builder.handles:
                raise InvalidInputError(
                    f"{path} was not built by the EngineBuilder of this runner, or in an earlier "
                    "batch: pass both of builder_and_runner() to the search"
                )
            handles.append(self._builder.handles[path])
        self._engine.forget_timings(handles)
        results = self._engine.run(handles)
        # TVM hands over no failed builds: they are of the batch as well, and may be all of it.
        outcomes = [self._engine.outcome(handle) for handle in self._builder.untried]
        self._builder.untried.clear()
        if mostly_failed([one for one in outcomes if one is not None]):
            self._engine.require_sound()
        return [
            ms.runner.RunnerFuture(lambda: True, lambda result=result: result)
            for result in map(_result, results)
        ]


def builder_and_runner(engine: Engine) -> tuple[Any, Any]:
    """A builder and a runner that share ``engine``, whose target must be the search's."""
    builder = EngineBuilder(engine)
    return builder, EngineRunner(engine, builder)


def name_task(builder: Any, task: str) -> None:
    """Tells an ``EngineBuilder`` which task it builds for next; TVM's builders need not know.

    A slow candidate is measured less than a fast one of what it computes, and all of one task are
    timed together.
    """
    if isinstance(builder, EngineBuilder):
        builder.name_task(task)


def _group(mod: Any) -> str:
    """What tells the programs of a task without a name: a schedule that moves weights into another
    layout keeps types and counts."""
    sizes = [(dtype, math.prod(shape)) for _, dtype, shape in argument_info(mod)]
    return str(sizes)


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _result(measured: Any) -> Any:
    if measured.failure is None:
        return ms.runner.RunnerResult(list(measured.run_seconds), None)
    return ms.runner.RunnerResult(None, f"{measured.failure}: {measured.message}")
