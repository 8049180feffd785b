"""The engine as MetaSchedule's builder and runner, so that plain ``tune_tir`` gains the same::

    with Engine(target) as engine:
        builder, runner = builder_and_runner(engine)
        ms.tune_tir(mod, target, work_dir, 64, builder=builder, runner=runner)

The two belong together: what this builder hands over is linked in the engine's workers, and no
other runner can load it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.measure.candidate import Program
from wmhub.measure.engine import Engine
from wmhub.measure.programs import argument_info, save_program
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms


@derived_object
class EngineBuilder(ms.builder.PyBuilder):  # type: ignore[misc]
    """Builds through an ``Engine``."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._task = ""
        self.handles: dict[str, int] = {}

    def name_task(self, task: str) -> None:
        """What is built from now on is of ``task``, and compared with nothing else."""
        self._task = task

    def build(self, build_inputs: Sequence[Any]) -> list[Any]:
        """Compiles a batch; its artifact paths mean something to ``EngineRunner`` alone."""
        # A search builds, runs, and builds again: what it has not run by now, it never will.
        self._engine.release(self.handles.values())
        for old in self.handles:
            shutil.rmtree(Path(old).parent, ignore_errors=True)
        self.handles.clear()
        programs = [
            Program(save_program(item.mod), f"{self._task} {argument_info(item.mod)}")
            for item in build_inputs
        ]
        results = []
        for handle in self._engine.build(programs):
            failed = self._engine.built(handle)
            if failed is not None:
                reason = f"{failed.failure}: {failed.message}"
                results.append(ms.builder.BuilderResult(None, reason))
                continue
            # TVM deletes the folder of an artifact after its use, so each has one of its own.
            path = Path(tempfile.mkdtemp(prefix="wmhub-linked-"), "in-process")
            path.touch()
            self.handles[str(path)] = handle
            results.append(ms.builder.BuilderResult(str(path), None))
        return results


@derived_object
class EngineRunner(ms.runner.PyRunner):  # type: ignore[misc]
    """Runs what ``EngineBuilder`` has built."""

    def __init__(self, engine: Engine, builder: Any) -> None:
        super().__init__()
        self._engine = engine
        self._builder = builder

    def run(self, runner_inputs: Sequence[Any]) -> list[Any]:
        """Times a batch, however often it was timed before; the futures are done when this
        returns."""
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
        return [
            ms.runner.RunnerFuture(lambda: True, lambda result=result: result)
            for result in map(_result, self._engine.run(handles))
        ]


def builder_and_runner(engine: Engine) -> tuple[Any, Any]:
    """A builder and a runner that share ``engine``, whose target must be the search's."""
    builder = EngineBuilder(engine)
    return builder, EngineRunner(engine, builder)


def name_task(builder: Any, task: str) -> None:
    """Tells an ``EngineBuilder`` which task it builds for next; TVM's builders need not know.

    Candidates with the same arguments in a search of one task compute the same. In one of several
    they need not, and a slow candidate is measured less than a fast one of what it computes.
    """
    if isinstance(builder, EngineBuilder):
        builder.name_task(task)


def _result(measured: Any) -> Any:
    if measured.failure is None:
        return ms.runner.RunnerResult(list(measured.run_seconds), None)
    return ms.runner.RunnerResult(None, f"{measured.failure}: {measured.message}")
