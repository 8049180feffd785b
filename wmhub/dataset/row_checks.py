"""Checks of the rows of one workload: ids, times that cannot be, and repeats."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wmhub.dataset.manifest import Manifest
from wmhub.dataset.reader import WorkloadRecords
from wmhub.dataset.spool import measurement_digests
from wmhub.errors import InvalidInputError
from wmhub.hardware.profile import HardwareProfile
from wmhub.logs import ansor, meta_schedule
from wmhub.logs.text import RejectedLineError, has_long_number, parse, target_kind
from wmhub.program import OPERATIONS, Access, Index, Program
from wmhub.records import FailureKind, Scheduler, Workload, candidate_id, workload_id
from wmhub.tvm_json import parse_program

_LONGEST_SECONDS = 600.0
_SHORTEST_SECONDS = 1e-8
#: By how much a device may exceed the peak of its profile. A CPU's data sheet has the sustained
#: clock, and servers turbo to 1.9 times that while few cores work; a calibration ran at the clock
#: of its day and does not reach the peak by itself; a GPU's data sheet has the boost clock already.
_MOST_ABOVE_PEAK = {"cpu": 2.0, "probed": 1.5, "gpu": 1.1}
#: So many candidates do not all take the very same time.
_MANY_CANDIDATES = 8
#: Class -> its place in a block's operations.
_INDEX = {name: place for place, name in enumerate(OPERATIONS)}
#: What findings are about, those of ``check`` as well; CONTRIBUTING.md says what to do about each.
Kind = Literal[
    "contributor",
    "counts",
    "damage",
    "form",
    "hardware",
    "id",
    "identical",
    "licence",
    "nothing-new",
    "order",
    "profile",
    "program",
    "published",
    "rejected",
    "scheduler",
    "split",
    "target",
    "time",
    "too-fast",
    "unknown-action",
    "unresolved",
]
_FAILURES = frozenset(str(kind) for kind in FailureKind)


@dataclass(frozen=True)
class RowFault:
    """What is wrong with a row or a workload."""

    kind: Kind
    where: str
    reason: str
    doubtful: bool = False
    """Whether it may be right after all."""


def check_workload(
    workload: Workload,
    rows: WorkloadRecords,
    manifest: Manifest,
    published: Sequence[WorkloadRecords] = (),
) -> Iterator[RowFault]:
    """All faults of the rows of ``workload``; ``published`` are its rows in other datasets."""
    yield from _id_faults(workload, rows)
    where = _places(workload, rows)
    told: dict[Kind, str] = {
        "hardware": str(manifest.hardware),
        "scheduler": str(workload.scheduler),
    }
    for column, right in told.items():
        for row, value in enumerate(rows.column(column)):
            if value != right:
                yield RowFault(column, where[row], f"{value}, and the dataset says {right}")
    kind_of = functools.lru_cache(target_kind)  # targets are a few
    for row, target in enumerate(map(kind_of, rows.column("target"))):
        if not manifest.hardware.runs(target):
            reason = f"compiled for {target}, which {manifest.hardware} cannot have run"
            yield RowFault("target", where[row], reason)
    for row, reason in form_faults(workload.scheduler, rows):
        yield RowFault("form", where[row], reason)
    possible = np.ones(len(rows), dtype=bool)
    for row, reason in _time_faults(rows):
        possible[row] = False
        yield RowFault("time", where[row], reason)
    latency = np.where(possible, rows.latency_seconds, np.inf)
    yield from _latency_faults(workload, rows, latency, manifest.profile, where)
    known = {key for other in published for key in _keys(other)}
    for row, key in enumerate(_keys(rows) if known else ()):
        if key in known:
            reason = "this measurement is published already"
            yield RowFault("published", where[row], reason, doubtful=True)


def least_flops(workload: Workload, trace: str) -> float:
    """A lower bound of the floating-point operations of ``workload``; 0 where nothing is known,
    ``inf`` where it is beyond floats.

    MetaSchedule: those of the program, but for what is multiplied with zeros that it fills in
    itself, which a compiler may leave out: three quarters of a transposed convolution with a stride
    of two. Ansor: one for each iteration of the largest stage that
    ``trace`` tiles before it does anything else to it: these are the stages with a reduction.
    """
    if workload.scheduler is Scheduler.META_SCHEDULE:
        try:
            return _flops(parse_program(workload.program)) if workload.program else 0.0
        except InvalidInputError:
            return 0.0
        except OverflowError:
            return math.inf
    try:
        return _tiled_trips(json.loads(trace))
    except OverflowError:
        return math.inf
    except (ValueError, TypeError, IndexError, RecursionError):  # not steps as Ansor writes them
        return 0.0


def _flops(program: Program) -> float:
    """Operations of ``program``, of each block the share that is of more than filled-in zeros."""
    #: Of each buffer that holds such zeros, the share of the rest.
    given: dict[str, float] = {}
    total = 0.0
    for block in program.blocks:
        chooses = any(block.operations[_INDEX[name]] for name in ("select", "special"))
        share = math.prod(given.get(buffer, 1.0) for buffer in {r.buffer for r in block.reads})
        if chooses:
            # One of so many elements between those that are read is theirs, the others are zeros.
            steps = (math.prod(map(_divisor, read.indices)) for read in block.reads)
            share /= max(steps, default=1)
        total += share * block.trips * sum(block.operations[: _INDEX["integer"]])
        if chooses and not block.is_reduction:
            read = max((_elements(program, access) for access in block.reads), default=0)
            for access in block.writes:
                # What is larger than all that it is made of is filled up.
                filled = max(_elements(program, access), 1)
                given[access.buffer] = share * min(1.0, read / filled)
    return total


def _divisor(index: Index) -> int:
    """By what ``index`` is divided with the remainder dropped; 1 for any other."""
    is_divided = index.op == "//" and index.args[1].op == "const"
    return max(index.args[1].value, 1) if is_divided else 1


def _elements(program: Program, access: Access) -> int:
    buffer = program.buffers.get(access.buffer)
    return math.prod(buffer.shape) if buffer is not None else 0


def most_flops(profile: HardwareProfile) -> float:
    """An upper bound of the FLOP/s of a device: its peak, with what the clock may be above it."""
    kind = "gpu" if profile.is_gpu else "probed" if profile.origin == "probed" else "cpu"
    return max(profile.peak_flops, profile.matrix_flops) * _MOST_ABOVE_PEAK[kind]


def _tiled_trips(steps: list[Any]) -> float:
    """Iterations of the largest stage whose iterators are split before anything else, in order."""
    trips: dict[int, float] = {}
    untouched: dict[int, float] = {}
    tiled: set[int] = set()
    for name, stage, *arguments in steps:
        if name == "SP" and arguments[0] >= untouched.get(stage, 0) and arguments[1]:
            # An iterator that no earlier step has made.
            trips[stage] = trips.get(stage, 1.0) * arguments[1]
            untouched[stage] = arguments[0] + len(arguments[2]) + 1
        else:
            tiled |= {stage} if name == "RE" and stage in trips else set()
            untouched[stage] = math.inf
    return max((trips[stage] for stage in tiled), default=0.0)


def _id_faults(workload: Workload, rows: WorkloadRecords) -> Iterator[RowFault]:
    try:
        program = base64.b64decode(workload.program, validate=True) if workload.program else None
    except (binascii.Error, ValueError):
        yield RowFault("program", workload.id, "the program is no base64")
        return
    if workload_id(workload.scheduler, workload.key, program) != workload.id:
        yield RowFault("id", workload.id, "the workload's id is not that of its key and program")
    pairs = zip(rows.column("candidate_id"), rows.traces, strict=True)
    for row, (id_, trace) in enumerate(pairs):
        if candidate_id(workload.id, trace) != id_:
            yield RowFault("id", f"row {row} of {workload.id}", f"{id_} is not that of its trace")


def form_faults(scheduler: Scheduler, rows: WorkloadRecords) -> Iterator[tuple[int, str]]:
    """Traces, targets and contexts that no line of a log can have given."""
    reader = ansor if scheduler is Scheduler.AUTO_SCHEDULER else meta_schedule
    parsed = functools.lru_cache(_parsed)  # targets and contexts are a few
    columns = (rows.traces, rows.column("target"), rows.column("context"))
    for row, (trace, target, context) in enumerate(zip(*columns, strict=True)):
        try:
            reader.check_form(_parsed(trace), parsed(target), parsed(context))
        except RejectedLineError as error:
            yield row, f"trace, target or context: {error}"


def _parsed(text: str) -> Any:
    return parse(text.encode(), has_long_number(text.encode()))


def _time_faults(rows: WorkloadRecords) -> Iterator[tuple[int, str]]:
    failures = rows.table["failure"].to_pylist()
    for row, (seconds, failure) in enumerate(
        zip(rows.table["run_seconds"].to_pylist(), failures, strict=True)
    ):
        if failure is not None:
            if failure not in _FAILURES:
                yield row, f"{failure!r} is no kind of failure"
        elif not seconds or None in seconds:
            yield row, "neither a time nor a failure"
        elif not all(np.isfinite(seconds)) or min(seconds) <= 0:
            yield row, f"run times of {seconds} seconds are not positive and finite"
        elif max(seconds) > _LONGEST_SECONDS:
            yield row, f"{max(seconds):g} seconds: too long; are these seconds?"
        elif min(seconds) < _SHORTEST_SECONDS:
            yield row, f"{min(seconds):g} seconds: too short; are these seconds?"


def _latency_faults(
    workload: Workload,
    rows: WorkloadRecords,
    latency: np.ndarray,
    profile: HardwareProfile | None,
    where: Sequence[str],
) -> Iterator[RowFault]:
    ran = np.flatnonzero(np.isfinite(latency))
    if not len(ran):
        return
    candidates = rows.column("candidate_id")
    if len({candidates[row] for row in ran}) >= _MANY_CANDIDATES and np.ptp(latency[ran]) == 0:
        reason = f"all {len(ran)} candidates took {latency[ran[0]]:g} seconds"
        yield RowFault("identical", workload.id, reason)
    if profile is None:
        return
    flops = least_flops(workload, rows.traces[int(ran[0])])
    peak = most_flops(profile)
    for row in ran[latency[ran] < flops / peak]:
        reason = (
            f"{flops / 1e9:.3g} GFLOP in {latency[row]:g} s is {flops / latency[row] / 1e12:.3g} "
            f"TFLOP/s, and {profile.key} reaches {peak / 1e12:.3g} at the most"
        )
        yield RowFault("too-fast", where[row], reason)


def _places(workload: Workload, rows: WorkloadRecords) -> list[str]:
    lines: list[Any] = rows.table["line"].to_pylist()
    sources = rows.column("source")
    return [
        f"row {row} of {workload.id} ({source}:{line})"
        for row, (source, line) in enumerate(zip(sources, lines, strict=True))
    ]


def _keys(rows: WorkloadRecords) -> list[str]:
    digests = measurement_digests(rows.table)
    return [c + d for c, d in zip(rows.column("candidate_id"), digests, strict=True)]
