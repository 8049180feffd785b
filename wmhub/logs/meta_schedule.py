"""MetaSchedule databases: a file of workloads and a file of tuning records, one JSON list a line.

Workload: ``["structural hash", "base64 of the serialised IRModule"]``. Record: ``[workload index,
[[instructions, decisions], run seconds, target, argument info]]``. Format:
``src/meta_schedule/database/json_database.cc`` of TVM 0.8 to 0.27.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wmhub.logs.text import RejectedLineError, check_target, compact, finite, first_names, parse
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload, workload_id

if TYPE_CHECKING:
    from wmhub.records import Row

#: Failed candidates carry this many seconds or more, or nothing.
FAILED_SECONDS = 1e9


def parse_workload(line: bytes) -> Workload:
    """The workload on a line of ``database_workload.json``; raises ``RejectedLineError``."""
    value = parse(line, exact=False)
    if type(value) is not list or len(value) != 2:
        raise RejectedLineError('no workload: ["hash", "program"] is expected')
    key, program = value
    if type(key) is not str or type(program) is not str or not key.isdigit():
        raise RejectedLineError("the structural hash or the program of the workload is no text")
    try:
        body = base64.b64decode(program, validate=True)
    except (binascii.Error, ValueError):
        raise RejectedLineError("the program of the workload is no base64") from None
    id_ = workload_id(Scheduler.META_SCHEDULE, key, body)
    return Workload(id_, Scheduler.META_SCHEDULE, key, program)


def unresolved_workload(database: str, index: int) -> Workload:
    """Stands for entry ``index`` of a workload file that is missing.

    ``database`` is a digest that tells this database from others, because an index alone would
    make one workload of two.
    """
    key = f"unresolved:{database}:{index}"
    id_ = workload_id(Scheduler.META_SCHEDULE, key, None)
    return Workload(id_, Scheduler.META_SCHEDULE, key, None)


class MetaScheduleReader:
    """Parses the tuning records of one database."""

    def __init__(self, source: str, database: str, workload_ids: Sequence[str | None]) -> None:
        """``workload_ids``: by index in the workload file; ``None`` where its line is damaged."""
        self._source = source
        self._database = database
        self._workload_ids = workload_ids
        #: Stand-ins for the workloads that the file lacks, by id.
        self.workloads: dict[str, Workload] = {}

    def read(self, line: bytes, number: int, exact: bool = False) -> tuple[MeasureRecord, set[str]]:
        """The record on ``line`` and its instructions' names; raises ``RejectedLineError``."""
        row, names = self.read_row(line, number, exact)
        return MeasureRecord(*row), names

    def read_row(self, line: bytes, number: int, exact: bool = False) -> tuple[Row, set[str]]:
        """``read``, with the record as a row."""
        value = parse(line, exact)
        if (
            type(value) is not list
            or len(value) != 2
            or type(value[0]) is not int
            or type(value[1]) is not list
            or len(value[1]) < 3
        ):
            raise RejectedLineError("no MetaSchedule record: [workload, [trace, seconds, target]]")
        index, (trace, run_seconds, target, *rest) = value
        names = _check_trace(trace)
        check_target(target)
        seconds, failure = _result(run_seconds)
        row = (
            self._workload(index),
            Scheduler.META_SCHEDULE,
            compact(trace),
            compact(target),
            seconds,
            failure,
            None,
            None,
            "",
            compact(rest[0] if rest else None),
            self._source,
            number,
        )
        return row, names

    def _workload(self, index: int) -> str:
        if index < 0:
            raise RejectedLineError(f"the workload index {index} is negative"[:80])
        known = self._workload_ids[index] if index < len(self._workload_ids) else None
        if known is not None:
            return known
        workload = unresolved_workload(self._database, index)
        self.workloads.setdefault(workload.id, workload)
        return workload.id


def check_form(trace: Any, target: Any, context: Any) -> None:
    """Raises ``RejectedLineError`` for parsed fields of a record that no line can have given.

    ``context``, the arguments' info, may be anything.
    """
    _check_trace(trace)
    check_target(target)


def format_workload(workload: Workload) -> str:
    """The workload's line; inverse of ``parse_workload``."""
    return compact([workload.key, workload.program])


def format_line(record: MeasureRecord, index: int) -> str:
    """The record's line for the workload at ``index``; inverse of ``MetaScheduleReader.read``."""
    seconds = json.dumps(record.run_seconds)
    return f"[{index},[{record.trace},{seconds},{record.target},{record.context}]]"


def _check_trace(trace: Any) -> set[str]:
    """The names of the instructions in ``trace``, once its form is right."""
    if type(trace) is not list or len(trace) != 2:
        raise RejectedLineError("the trace is not [instructions, decisions]")
    instructions, decisions = trace
    if type(instructions) is not list or type(decisions) is not list:
        raise RejectedLineError("the trace is not [instructions, decisions]")
    reason = "an instruction is not [name, inputs, attributes, outputs]"
    names = first_names(instructions, reason)
    if not all(len(instruction) == 4 for instruction in instructions):
        raise RejectedLineError(reason)
    for decision in decisions:
        if type(decision) is not list or len(decision) != 2 or type(decision[0]) is not int:
            raise RejectedLineError("a decision is not [instruction index, value]")
    return names


def _result(value: Any) -> tuple[tuple[float, ...], FailureKind | None]:
    """Run seconds and failure."""
    if value is None or value == []:
        return (), FailureKind.UNKNOWN
    if type(value) is not list:
        raise RejectedLineError("the run times are no list")
    seconds = []
    for item in value:
        number = finite(item)
        if number is None or number <= 0:
            raise RejectedLineError(
                f"a run time of {item!r} seconds is not positive and finite"[:120]
            )
        seconds.append(number)
    return tuple(seconds), FailureKind.UNKNOWN if max(seconds) >= FAILED_SECONDS else None
