"""With what candidates are built and run, and the same for single programs apart from a search."""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from wmhub.errors import InvalidInputError
from wmhub.measure.engine import Engine
from wmhub.measure.lock import MachineLock
from wmhub.measure.programs import device_name, entry_arguments
from wmhub.measure.remote import RemoteEngine, Tracker
from wmhub.measure.timing import TimingPlan
from wmhub.search.cost_model import latency_of
from wmhub.tvm_compat import compiling_for, last_line, use_threads
from wmhub.tvm_compat import meta_schedule as ms

#: One timing tells which candidates are not good; only what may be the best has to be known well.
SEARCH_PLAN = TimingPlan(
    rounds=2, extra_rounds=4, round_seconds=0.1, close_ratio=1.25, once_ratio=1.1
)
#: A build that takes so many times the median is given up: its worker could do that many instead.
_BUILD_RATIO = 12.0


class Means(NamedTuple):
    """What candidates are measured with."""

    builder: Any
    """MetaSchedule's interface."""
    runner: Any
    """MetaSchedule's interface."""
    wait_ready: Callable[[], None]
    """Waits until both can work, which the first build does by itself; raises ``MeasureError``
    where they cannot. From a build, TVM would turn the reason into an error without a name."""


@contextmanager
def measuring(
    target: dict[str, Any],
    cores: int,
    builder: str | None = None,
    rpc: str | None = None,
    build_timeout_seconds: float = 30.0,
    run_timeout_seconds: float = 10.0,
) -> Iterator[Means]:
    """What measures for ``target``, a dictionary.

    ``builder``: ``engine``, the default, is our own, on devices of a tracker too; ``local`` is
    TVM's, with ``cores`` processes and its own runner, which knows one limit for all runs of a
    candidate and gets several times ``run_timeout_seconds``. ``rpc``: ``HOST:PORT/KEY`` of a TVM
    tracker and the devices at it. What takes longer than its limit has failed. Raises
    ``InvalidInputError``, and ``MeasureError`` where the tracker or its devices are not there.
    """
    if builder not in ("engine", "local", None):
        raise InvalidInputError(f"builder {builder!r} is neither engine nor local")
    tracker = None if rpc is None else Tracker.parse(rpc)
    if builder == "local":
        if tracker is not None:
            raise InvalidInputError("rpc: our own engine measures there; leave out builder local")
        from wmhub.measure import stock

        use_threads(cores)
        lock = MachineLock()
        with stock.uninterrupted_workers(), compiling_for(target["kind"]):
            yield Means(
                stock.LockedBuilder(target, cores, lock, build_timeout_seconds),
                stock.LockedRunner(target, lock, run_timeout_seconds),
                lambda: None,
            )
        return
    from wmhub.measure.metaschedule import builder_and_runner

    if tracker is not None:
        tracker.require_device()
    make_engine = Engine if tracker is None else partial(RemoteEngine, tracker=tracker)
    with make_engine(
        target,
        plan=SEARCH_PLAN,
        build_ratio=_BUILD_RATIO,
        build_timeout_seconds=build_timeout_seconds,
        run_timeout_seconds=run_timeout_seconds,
    ) as engine:
        yield Means(*builder_and_runner(engine), engine.wait_ready)


def measure(
    mods: Sequence[Any], target: Any, builder: Any, runner: Any, rounds: int = 1
) -> list[tuple[float | None, str | None]]:
    """Seconds of each ``IRModule`` on ``target``, or ``None`` and why it has none.

    Built once and run in ``rounds``, one program after the other in each; the median counts.
    ``builder`` and ``runner`` are MetaSchedule's interfaces; any implementation does.
    """
    device = device_name(str(target.kind.name))
    built = builder.build([ms.builder.BuilderInput(mod, target) for mod in mods])
    artifacts = [result.artifact_path for result in built]
    inputs = [
        ms.runner.RunnerInput(artifact, device, entry_arguments(mod))
        for mod, artifact in zip(mods, artifacts, strict=True)
        if artifact is not None
    ]
    try:
        ran = [
            [future.result() for future in runner.run(inputs)] if inputs else []
            for _ in range(rounds)
        ]
    finally:
        discard(artifacts)
    results = iter(zip(*ran, strict=True))
    return [
        (None, failure_reason(result.error_msg)) if result.artifact_path is None
        else _median(next(results))
        for result in built
    ]  # fmt: skip


def _median(results: Sequence[Any]) -> tuple[float | None, str | None]:
    """Median seconds over the rounds of one program; a reason where it never ran."""
    times = [seconds for result in results if not math.isnan(seconds := latency_of(result))]
    if not times:
        return None, failure_reason(results[-1].error_msg)
    return statistics.median(times), None


def discard(artifacts: Sequence[Any]) -> None:
    """Removes the folder of each artifact path, where it is one that a builder made to that end."""
    temporary = Path(tempfile.gettempdir()).resolve()
    for artifact in artifacts:
        if artifact is None:
            continue
        folder = Path(str(artifact)).parent
        # Builders make one folder for each artifact, right in the temporary folder.
        if folder.is_absolute() and folder.resolve().parent == temporary:
            shutil.rmtree(folder, ignore_errors=True)


def failure_reason(message: Any) -> str:
    """Why a candidate failed, from the error message of a builder or runner."""
    return last_line(message)[:300] or "failed without a message"
