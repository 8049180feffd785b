"""Classic AutoScheduler (Ansor) logs: one JSON object a line, formats v0.2 to v0.6.

``{"i": [[workload_key, target, hardware_params, target_host, layout_rewrite, input_names],
[[], steps]], "r": [seconds, error_no, all_cost, timestamp], "v": "v0.6"}``; older versions have
fewer items after the target. Format: ``src/auto_scheduler/measure_record.cc`` of TVM 0.8.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wmhub.logs.text import (
    RejectedLineError,
    check_target,
    compact,
    finite,
    first_names,
    parse,
    shortest_number,
)
from wmhub.records import FailureKind, MeasureRecord, Scheduler, Workload, workload_id

if TYPE_CHECKING:
    from wmhub.records import Row

#: Failed candidates carry this many seconds.
FAILED_SECONDS = 1e10

#: ``MeasureErrorNo`` of ``include/tvm/auto_scheduler/measure.h``.
FAILURES = {
    1: FailureKind.INSTANTIATION,
    2: FailureKind.COMPILE_HOST,
    3: FailureKind.COMPILE_DEVICE,
    4: FailureKind.RUNTIME_DEVICE,
    5: FailureKind.WRONG_ANSWER,
    6: FailureKind.BUILD_TIMEOUT,
    7: FailureKind.RUN_TIMEOUT,
    8: FailureKind.UNKNOWN,
}
_ERROR_NUMBERS = {kind: number for number, kind in FAILURES.items()}


class AnsorReader:
    """Parses the lines of one Ansor log."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._ids: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        #: Workloads met so far, by id.
        self.workloads: dict[str, Workload] = {}

    def read(self, line: bytes, number: int, exact: bool = False) -> tuple[MeasureRecord, set[str]]:
        """The record on ``line`` and the names of its steps; raises ``RejectedLineError``."""
        row, names = self.read_row(line, number, exact)
        return MeasureRecord(*row), names

    def read_row(self, line: bytes, number: int, exact: bool = False) -> tuple[Row, set[str]]:
        """``read``, with the record as a row."""
        value = parse(line, exact)
        if type(value) is not dict or "i" not in value or "r" not in value:
            raise RejectedLineError('no Ansor record: an object with "i" and "r" is expected')
        task, steps, names = _input(value["i"])
        key = task[0]
        seconds, failure, measure_seconds, timestamp = _result(value["r"])
        version = value.get("v", "")
        if type(version) is not str:
            raise RejectedLineError('"v" is no text')
        row = (
            self._ids.get(key) or self._add_workload(key),
            Scheduler.AUTO_SCHEDULER,
            compact(steps),
            self._target(task[1]),
            seconds,
            failure,
            measure_seconds,
            timestamp,
            version,
            compact(task[2:]),
            self._source,
            number,
        )
        return row, names

    def _target(self, target: Any) -> str:
        # All lines of a log say the same one.
        if type(target) is not str:
            return compact(target)
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = compact(target)
        return known

    def _add_workload(self, key: str) -> str:
        id_ = workload_id(Scheduler.AUTO_SCHEDULER, key, None)
        self._ids[key] = id_
        self.workloads[id_] = Workload(id_, Scheduler.AUTO_SCHEDULER, key, None)
        return id_


def check_form(trace: Any, target: Any, context: Any) -> None:
    """Raises ``RejectedLineError`` for parsed fields of a record that no line can have given."""
    _step_names(trace)
    check_target(target)
    if type(context) is not list:
        raise RejectedLineError("the context is no list")


def format_line(record: MeasureRecord, workload: Workload) -> str:
    """The line, without its newline, as TVM writes it. Inverse of ``AnsorReader.read``."""
    target, context = json.loads(record.target), json.loads(record.context)
    task = json.dumps([workload.key, target, *context], ensure_ascii=False)
    steps = json.dumps(json.loads(record.trace), ensure_ascii=False)
    seconds = ", ".join(map(shortest_number, record.run_seconds))
    error = 0 if record.failure is None else _ERROR_NUMBERS.get(record.failure, 8)
    result = f"[{seconds}], {error}"
    if record.measure_seconds is not None:
        result += f", {shortest_number(record.measure_seconds)}"
    if record.timestamp is not None:
        missing = ", null" if record.measure_seconds is None else ""
        result += f"{missing}, {repr(record.timestamp).removesuffix('.0')}"
    version = f', "v": {json.dumps(record.log_version)}' if record.log_version else ""
    return f'{{"i": [{task}, [[], {steps}]], "r": [{result}]{version}}}'


def _input(value: Any) -> tuple[list[Any], list[Any], set[str]]:
    """The task's items, the transform steps, and the names of these in ``"i"``."""
    if type(value) is not list or len(value) != 2:
        raise RejectedLineError('"i" is not [task, state]')
    task, state = value
    if type(task) is not list or len(task) < 2 or type(task[0]) is not str or not task[0]:
        raise RejectedLineError("the task is not [workload key, target, ...]")
    check_target(task[1])
    if type(state) is not list or len(state) != 2 or state[0] != []:
        raise RejectedLineError("the state is not [[], steps]")
    steps = state[1]
    return task, steps, _step_names(steps)


def _step_names(steps: Any) -> set[str]:
    if type(steps) is not list:
        raise RejectedLineError("the steps are no list")
    return first_names(steps, "a transform step is not [name, ...]")


def _result(
    value: Any,
) -> tuple[tuple[float, ...], FailureKind | None, float | None, float | None]:
    """Run seconds, failure, wall seconds and timestamp of ``"r"``."""
    if type(value) is not list or len(value) < 2 or type(value[0]) is not list:
        raise RejectedLineError('"r" is not [seconds, error number, ...]')
    error = value[1]
    if type(error) is not int:
        raise RejectedLineError("the error number is no integer")
    seconds = []
    for item in value[0]:
        number = finite(item)
        if number is None or number <= 0:
            raise RejectedLineError(
                f"a run time of {item!r} seconds is not positive and finite"[:120]
            )
        seconds.append(number)
    failure = None if error == 0 else FAILURES.get(error, FailureKind.UNKNOWN)
    if failure is None:
        if not seconds:
            raise RejectedLineError("a candidate without error has no run time")
        if max(seconds) >= FAILED_SECONDS:
            failure = FailureKind.UNKNOWN
    measure_seconds = finite(value[2]) if len(value) > 2 else None
    timestamp = finite(value[3]) if len(value) > 3 else None
    return tuple(seconds), failure, measure_seconds, timestamp
