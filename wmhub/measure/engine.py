"""``Engine``: builds and times programs in long-lived workers, and loses none of them.

Workers import TVM once, and of its intrinsics none. A batch is compiled by all of them at
once; then programs are timed one after the other while every builder waits. See ``worker`` for what
a failing program can touch.
"""

from __future__ import annotations

import contextlib
import math
import select
import statistics
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

from typing_extensions import Self

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.hardware.machine import read_cpu
from wmhub.measure.building import Build, Building, Patience
from wmhub.measure.candidate import InFlight, Measurement, Program
from wmhub.measure.crew import Crew, end_ahead, most_workers
from wmhub.measure.lock import MachineLock
from wmhub.measure.messages import Ran, RunRequest, WorkerSettings
from wmhub.measure.process import START_SECONDS, WorkerProcess
from wmhub.measure.programs import device_here, device_name, save_program, trivial_program
from wmhub.measure.targets import cores_for, kernel_threads
from wmhub.measure.timing import TimingPlan
from wmhub.tvm_compat import cuda_compiler, use_target

#: Workers whose programs are on a GPU at once: each has a context there, of up to half a GB.
_MOST_ON_GPU = 8
#: A time limit that select() and JSON can hold.
_LONGEST_SECONDS = 24 * 3600


class Engine:
    """Builds and times programs for one target; a context manager.

    ``measure`` does both. ``build`` and ``run`` are its halves, for MetaSchedule's builder and
    runner; programs stay linked between them until ``release``.
    """

    #: Whether workers run what they compiled, in a process that they fork.
    _forks = True

    def __init__(
        self,
        target: dict[str, Any],
        *,
        workers: int | None = None,
        plan: TimingPlan | None = None,
        build_timeout_seconds: float = 30.0,
        build_ratio: float = math.inf,
        run_timeout_seconds: float = 10.0,
        memory_bytes: int | None = None,
        check: bool = True,
        lock: MachineLock | None = None,
    ) -> None:
        """``target``: as ``tvm.target.Target`` takes it, with its kind. ``workers``: processes that
        build, by default as many as this process may use and has memory for, and no more than the
        target has cores where it is here; they start when the engine is entered, and are waited for
        when there is something to build.
        ``build_ratio``: how many times the median build a build may take. ``memory_bytes``: what
        one program may allocate, by default half of the memory. ``check``: whether a new worker
        first runs a trivial program, and ``MeasureError`` is raised where not even that works.
        Raises ``MissingDependencyError`` for a GPU of NVIDIA without nvcc."""
        machine = read_cpu()
        cores = cores_for(target)
        self.plan = plan or TimingPlan()
        self.target = target
        # Of another machine's target the cores say nothing about who builds here.
        most = min(cores, machine.usable_threads) if self._forks else machine.usable_threads
        count = min(most, most_workers()) if workers is None else workers
        if count < 1:
            raise InvalidInputError(f"workers must be at least 1, not {workers}")
        limits = (build_timeout_seconds, run_timeout_seconds)
        if not all(0 < limit <= _LONGEST_SECONDS for limit in limits):
            raise InvalidInputError(
                f"time limits must be positive, and at most {_LONGEST_SECONDS} seconds"
            )
        # A GPU is timed by its own clock while others compile; its workers still take turns.
        self._on_cpu = device_name(str(target["kind"])) == "cpu"
        self._build_patience = Patience(build_timeout_seconds, build_ratio)
        self._run_timeout = run_timeout_seconds
        self._lock = lock or MachineLock()
        compiler = cuda_compiler(self._forks) if target["kind"] == "cuda" else {}
        memory = memory_bytes or machine.memory_bytes // 2
        turn = str(self._lock.turn(device_here(target)))
        environment = {**kernel_threads(cores), **compiler}
        self._crew = Crew(count, WorkerSettings(target, memory, check, turn, environment))
        self.closing = contextlib.ExitStack()
        """What ends when this does."""
        self._candidates: dict[int, InFlight] = {}
        self._best: dict[str, float] = {}
        self._next_id = 0

    def __enter__(self) -> Self:
        self._crew.start()
        end_ahead()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers at once, whatever they do."""
        self._crew.close()
        self._candidates.clear()
        self.closing.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._crew.workers]

    def wait_ready(self) -> None:
        """Waits until all workers serve, which the first build does by itself.

        Raises ``MeasureError`` where one cannot, or where not even a trivial program runs.
        """
        self._crew.wait_ready()

    def know_best(self, group: str, seconds: float) -> None:
        """Tells the best latency of ``group`` that was measured elsewhere, in seconds."""
        self._best[group] = min(seconds, self._best.get(group, seconds))

    def measure(
        self,
        programs: Sequence[Program],
        done: Callable[[int, Measurement], None] | None = None,
    ) -> list[Measurement]:
        """Builds and times ``programs``; one measurement each, in their order.

        ``done`` is called with each index and measurement as it is final.
        """
        ids = self.build(programs)
        report = {id_: index for index, id_ in enumerate(ids)}
        try:
            return self.run(ids, done and (lambda id_, result: done(report[id_], result)))
        finally:
            self.release(ids)

    def require_sound(self) -> None:
        """Builds and times a trivial program; raises ``MeasureError`` where not even that works."""
        target = use_target(self.target, intrinsics=False)
        program = Program(save_program(trivial_program(target)), "trivial")
        (result,) = self.measure([program])
        if result.failure is not None:
            raise MeasureError(
                f"not even a trivial program can be run: {result.failure}: {result.message}"
            )

    def build(self, programs: Iterable[Program]) -> list[int]:
        """Compiles and links ``programs`` with all workers; returns a handle for each."""
        ids = []
        for program in programs:
            self._candidates[self._next_id] = InFlight(program)
            ids.append(self._next_id)
            self._next_id += 1
        self._build_all(ids)
        return ids

    def outcome(self, id_: int) -> Measurement | None:
        """What became of a program; ``None`` for one that is built and not yet timed."""
        return self._candidates[id_].outcome

    def run(
        self,
        ids: Sequence[int],
        done: Callable[[int, Measurement], None] | None = None,
    ) -> list[Measurement]:
        """Times built programs, one at a time and nothing else beside; see ``measure``."""
        reported: set[int] = set()

        def report() -> None:
            for id_ in ids:
                outcome = self._candidates[id_].outcome
                if outcome is not None and id_ not in reported:
                    reported.add(id_)
                    if done is not None:
                        done(id_, outcome)

        while True:
            report()
            waiting = [id_ for id_ in ids if self._candidates[id_].outcome is None]
            if not waiting:
                return [self._finished(id_) for id_ in ids]
            # A worker that died took its linked programs with it: they are built again.
            self._build_all([id_ for id_ in waiting if not self._candidates[id_].is_built])
            report()
            self._time_built(waiting, report)

    def forget_timings(self, ids: Iterable[int]) -> None:
        """Lets ``run`` time programs once more; failures stay."""
        for id_ in ids:
            candidate = self._candidates[id_]
            if candidate.outcome is not None and candidate.outcome.failure is None:
                candidate.outcome = None

    def release(self, ids: Iterable[int]) -> None:
        """Forgets built programs, and replaces workers that have grown too large."""
        gone = [id_ for id_ in ids if self._candidates.pop(id_, None) is not None]
        if gone:
            self._crew.drop(gone)

    def _finished(self, id_: int) -> Measurement:
        outcome = self._candidates[id_].outcome
        assert outcome is not None
        return outcome

    def _build_all(self, ids: Sequence[int]) -> None:
        builds = [
            Build(id_, self._candidates[id_], self._archive_path(id_))
            for id_ in ids
            if self._candidates[id_].outcome is None
        ]
        if builds:
            with self._lock.building():
                Building(self._crew, self._build_patience).run(builds)

    def _archive_path(self, id_: int) -> str | None:
        """Where to export a program to; ``None`` to keep it linked in the worker."""
        return None

    def _time_built(self, ids: Sequence[int], report: Callable[[], None]) -> None:
        """Times those of ``ids`` that are built; may leave some to be tried again."""
        groups: dict[str, list[int]] = {}
        for id_ in ids:
            if self._candidates[id_].outcome is None:
                groups.setdefault(self._candidates[id_].program.group, []).append(id_)
        with self._lock.timing() if self._on_cpu else self._lock.building():
            for group, members in groups.items():
                for some in self._at_once():
                    self._run_group(group, members, some, report)

    def _at_once(self) -> list[list[WorkerProcess]]:
        """The workers, parted into those whose programs may be loaded at the same time."""
        workers = list(self._crew.workers)
        most = max(1, len(workers)) if self._on_cpu else _MOST_ON_GPU
        return [workers[start : start + most] for start in range(0, len(workers), most)]

    def _run_group(
        self,
        group: str,
        ids: Sequence[int],
        workers: Sequence[WorkerProcess],
        report: Callable[[], None],
    ) -> None:
        """Times programs of one group, whose ``workers`` take turns from round to round."""
        shares = {
            worker: [id_ for id_ in ids if self._candidates[id_].home is worker]
            for worker in workers
        }
        for worker, share in shares.items():
            # A worker that is gone shows in the answer that does not come.
            with contextlib.suppress(OSError):
                self._start_runs(worker, group, share)
        # The workers themselves kill what runs too long; this only guards against their death.
        steps = 1 + self.plan.rounds + self.plan.extra_rounds
        patience = self._run_timeout * steps * len(ids) + START_SECONDS
        while busy := {worker.channel: worker for worker, share in shares.items() if share}:
            readable, _, _ = select.select(list(busy), [], [], patience)
            for channel in readable or busy:
                worker = busy[channel]
                answer = channel.receive() if readable else None
                if answer is None:
                    for id_ in shares.pop(worker):
                        self._candidates[id_].lost_with_worker()
                    self._crew.bury(worker)
                elif isinstance(answer, Ran) and answer.id in shares[worker]:
                    # Anything else has a call left behind that was broken off.
                    shares[worker].remove(answer.id)
                    self._take_run(answer)
            report()

    def _start_runs(self, worker: WorkerProcess, group: str, ids: Sequence[int]) -> None:
        if ids:
            worker.channel.send(
                RunRequest([*ids], self.plan, self._best.get(group), self._run_timeout)
            )

    def _take_run(self, ran: Ran) -> bool:
        """Notes what became of one program; whether it is to be tried again."""
        candidate = self._candidates[ran.id]
        if ran.failure is not None:
            candidate.lost_process(ran.failure, ran.message, ran.is_innocent, ran.wall_seconds)
            return candidate.outcome is None
        seconds = tuple(ran.run_seconds)
        candidate.outcome = Measurement(
            seconds, None, "", candidate.build_seconds, ran.wall_seconds
        )
        self.know_best(candidate.program.group, statistics.median_high(seconds))
        return False
