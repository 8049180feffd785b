"""The collect loop: candidates of many workloads, built, timed and written down batch by batch."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure.candidate import Measurement, Program, mostly_failed
from wmhub.measure.journal import Journal
from wmhub.measure.programs import argument_info, workload_of
from wmhub.measure.sampling import MakeGuide, Sampled, Sampler, mixed, require_seed
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.sources import NamedWorkload
from wmhub.records import MeasureRecord, Scheduler
from wmhub.tvm_compat import last_line

#: Traces by workload id, each with its latency in seconds, ``None`` for a failure.
Known = Mapping[str, Sequence[tuple[str, float | None]]]


class Measures(Protocol):
    """What builds and times programs: ``Engine`` here, ``RemoteEngine`` elsewhere."""

    target: dict[str, Any]

    def measure(
        self, programs: Sequence[Program], done: Callable[[int, Measurement], None] | None = None
    ) -> list[Measurement]:
        """One measurement for each program; ``done`` hears of each as it is final."""
        ...

    def require_sound(self) -> None:
        """Raises ``MeasureError`` where not even a trivial program runs now."""
        ...


@dataclass(frozen=True)
class LivePlan:
    """How much is collected, and of what."""

    candidates: int = 64
    """Candidates of each workload in this run; fewer where its design space is smaller."""
    batch: int = 32
    """Candidates that are built and timed together; what a killed run may lose."""
    random_share: float = 0.4
    """Share of random candidates after a workload's first batch, which is all random; the rest are
    good ones with one to three decisions changed, or what a guide proposes."""
    count: int | None = None
    """Records after which no batch begins; ``None`` for no limit."""
    seconds: float | None = None
    """Wall time after which no batch begins; ``None`` for no limit."""
    seed: int = 0
    """Of everything that is drawn here."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.candidates < 1 or self.batch < 1:
            raise InvalidInputError("candidates and batch must be at least 1")
        if not 0 <= self.random_share <= 1:
            raise InvalidInputError(f"random_share must be between 0 and 1: {self.random_share}")
        if (self.count is not None and self.count < 1) or (
            self.seconds is not None and not self.seconds > 0
        ):
            raise InvalidInputError("a budget must be positive")


@dataclass
class LiveProgress:
    """How far a collection is."""

    workload: str = ""
    """The workload of the latest batch."""
    records: int = 0
    """Candidates measured in this run, failed ones included."""
    failures: Counter[str] = field(default_factory=Counter)
    """Failed candidates by kind."""
    last_failure: str = ""
    """Why the latest failed candidate failed, for people."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Workloads of which nothing can be drawn, and why."""
    expected: int = 0
    """Records when all workloads are done, at most."""
    best_seconds: dict[str, float] = field(default_factory=dict)
    """Best latency of each workload."""
    elapsed_seconds: float = 0.0
    """Wall time of this run."""

    @property
    def rate(self) -> float:
        """Candidates per second."""
        return self.records / self.elapsed_seconds if self.elapsed_seconds else 0.0


class _Measured(NamedTuple):
    """A candidate and what came of it."""

    candidate: Sampled
    result: Measurement
    time: float
    """When that was final, Unix seconds."""


class _Collecting:
    """One workload while it is collected."""

    def __init__(
        self,
        named: NamedWorkload,
        target: dict[str, Any],
        seed: int,
        make_guide: MakeGuide | None,
    ) -> None:
        self.name = named.name
        self.workload = workload_of(named.mod)
        self.context = json.dumps(argument_info(named.mod), separators=(",", ":"))
        self._mod, self._target, self._seed = named.mod, target, seed
        self._make_guide = make_guide
        self._sampler: Sampler | None = None
        #: Latency, or ``None`` for a failure, of traces from before this run.
        self.known: list[tuple[str, float | None]] = []
        self.measured = 0
        """Records in the journal."""
        self.older = 0
        """Records from elsewhere."""
        self.exhausted = False

    @property
    def sampler(self) -> Sampler:
        """Made when it is first needed: there are hundreds of workloads."""
        if self._sampler is None:
            self._sampler = Sampler(self._mod, self._target, self._seed, self._make_guide)
            for trace, seconds in self.known:
                self._sampler.learn(trace, seconds)
            self.known.clear()
        return self._sampler


def measure_live(
    journal: Journal,
    workloads: Iterable[NamedWorkload],
    engine: Measures,
    plan: LivePlan,
    *,
    known: Callable[[Collection[str]], Known] = lambda ids: {},
    make_guide: MakeGuide | None = None,
    progress: Callable[[LiveProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> LiveProgress:
    """Measures candidates of ``workloads`` into ``journal`` until ``plan`` or ``stop`` ends it.

    One batch of each workload after the other, and again: an early end leaves many workloads with
    few candidates, not few with many. What the journal has already is not measured again and
    counts; ``known``, asked for the ids of the workloads, gives what elsewhere has of them, which
    does not count.
    With ``make_guide``, each workload has a guide that proposes what is not random.
    """
    began = time.monotonic()
    state = LiveProgress()
    by_id: dict[str, _Collecting] = {}
    for named in workloads:
        try:
            begun = _Collecting(named, engine.target, plan.seed, make_guide)
        except REFUSALS as error:
            state.skipped[named.name] = f"TVM cannot run it: {last_line(error)}"
        else:
            by_id[begun.workload.id] = begun
    for id_, traces in known(by_id.keys()).items():
        by_id[id_].known.extend(traces)
        by_id[id_].older = len(traces)
    state.expected = len(by_id) * plan.candidates
    for record in journal.records():
        if item := by_id.get(record.workload_id):
            item.measured += 1
            item.known.append((record.trace, record.latency_seconds))
            state.expected -= 1
    for item in by_id.values():
        if item.measured and item.workload.id not in journal.workloads:
            # Its line was damaged, and without it the records would be worth nothing.
            journal.append(item.workload, ())
    active = list(by_id.values())
    while active:
        active = [item for item in active if item.measured < plan.candidates and not item.exhausted]
        for item in active:
            state.elapsed_seconds = time.monotonic() - began
            if stop() or _spent(state, plan):
                return state
            _measure_batch(item, journal, engine, plan, state)
            state.elapsed_seconds = time.monotonic() - began
            if progress is not None:
                progress(state)
    return state


def _spent(state: LiveProgress, plan: LivePlan) -> bool:
    by_count = plan.count is not None and state.records >= plan.count
    by_time = plan.seconds is not None and state.elapsed_seconds >= plan.seconds
    return by_count or by_time


def _measure_batch(
    item: _Collecting, journal: Journal, engine: Measures, plan: LivePlan, state: LiveProgress
) -> None:
    wanted = min(plan.batch, plan.candidates - item.measured)
    if plan.count is not None:
        wanted = min(wanted, plan.count - state.records)
    seen = item.older + item.measured
    candidates: Sequence[Sampled] = ()
    try:
        candidates = mixed(item.sampler, wanted, plan.random_share, seen, plan.batch)
        if not candidates and not seen:
            state.skipped[item.name] = "none of the candidates drawn is valid on this target"
    except (MeasureError, InvalidInputError) as error:  # TVM, or the model, cannot take it.
        state.skipped[item.name] = str(error)
    item.exhausted = len(candidates) < wanted
    programs = [Program(candidate.module, item.workload.id) for candidate in candidates]
    results: dict[int, _Measured] = {}

    def done(index: int, result: Measurement) -> None:
        results[index] = _Measured(candidates[index], result, time.time())

    try:
        if programs:
            engine.measure(programs, done)
            if _mostly_failed(results):
                engine.require_sound()
    except BaseException:
        # The machine may be to blame: what failed of that would be the candidates' own failure.
        for index in _mostly_failed(results):
            del results[index]
        raise
    finally:
        # Also when the devices are gone or the user has lost patience: what is measured is kept.
        if results:
            _keep(item, journal, [results[index] for index in sorted(results)], state)
    if item.exhausted:
        state.expected -= max(0, plan.candidates - item.measured)


def _mostly_failed(results: Mapping[int, _Measured]) -> list[int]:
    """Those of a batch that failed, where they are most of it; else none."""
    if not mostly_failed([one.result for one in results.values()]):
        return []
    return [index for index, one in results.items() if one.result.failure is not None]


def _keep(
    item: _Collecting,
    journal: Journal,
    measured: Sequence[_Measured],
    state: LiveProgress,
) -> None:
    records = [
        _record(item, journal.head.target, one, number)
        for number, one in enumerate(measured, item.measured + 1)
    ]
    journal.append(item.workload, records)
    state.workload = item.name
    state.records += len(records)
    item.measured += len(records)
    for record, one in zip(records, measured, strict=True):
        seconds = record.latency_seconds
        item.sampler.learn(record.trace, seconds)
        if seconds is None:
            state.failures[str(record.failure)] += 1
            state.last_failure = one.result.message
        else:
            best = state.best_seconds.get(item.name, seconds)
            state.best_seconds[item.name] = min(best, seconds)


def _record(item: _Collecting, target: str, one: _Measured, number: int) -> MeasureRecord:
    result = one.result
    return MeasureRecord(
        workload_id=item.workload.id,
        scheduler=Scheduler.META_SCHEDULE,
        trace=one.candidate.trace,
        target=target,
        run_seconds=result.run_seconds,
        failure=result.failure,
        measure_seconds=result.build_seconds + result.wall_seconds,
        timestamp=one.time,
        log_version="",
        context=item.context,
        source=f"live/{item.name}",
        line=number,
    )
