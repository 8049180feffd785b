"""Programs of records, made again from their traces, and how their latencies repeat."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence

import numpy as np

from wmhub.dataset.manifest import Repeatability
from wmhub.measure.candidate import Program
from wmhub.measure.programs import save_program
from wmhub.measure.sketch import REFUSALS, unchecked_schedule
from wmhub.names import HardwareKey
from wmhub.records import MeasureRecord, Workload
from wmhub.tvm_compat import Trace
from wmhub.tvm_compat import meta_schedule as ms


def target_on(hardware: HardwareKey, text: str) -> str | None:
    """The target of a record, one text for all texts of it; ``None`` where ``hardware`` cannot run
    it, or where it is no object: TVM's texts of old tell an engine nothing."""
    try:
        target = json.loads(text)
    except ValueError:
        return None
    if not isinstance(target, dict) or not isinstance(target.get("kind"), str):
        return None
    return json.dumps(target, sort_keys=True) if hardware.runs(target["kind"]) else None


def rebuilt(workload: Workload, record: MeasureRecord, group: str = "") -> Program | None:
    """The program of a record, its post-processing as it was, as one of ``group``.

    ``None`` where this TVM refuses. ``workload`` must have its program.
    """
    try:
        base = ms.database.Workload.from_json([workload.key, workload.program])
        schedule = unchecked_schedule(base.mod)
        Trace.apply_json_to_schedule(json.loads(record.trace), schedule)
        return Program(save_program(schedule.mod), group)
    except REFUSALS:
        return None


def repeatability(ratios: Sequence[float], records: int, day: datetime.date) -> Repeatability:
    """What ``ratios`` (new latency / recorded one) of ``records`` repeated records say."""
    logs = np.log(np.asarray(ratios))
    middle = float(np.median(logs))

    def within(share: float, of: float = 0.0) -> float:
        return round(float((np.abs(logs - of) <= np.log(1 + share)).mean()), 4)

    return Repeatability(
        day=day.isoformat(),
        records=records,
        failed=records - len(ratios),
        median_ratio=round(float(np.exp(middle)), 4),
        within_5_percent=within(0.05),
        within_10_percent=within(0.10),
        within_25_percent=within(0.25),
        scaled_within_10_percent=within(0.10, middle),
        scaled_within_25_percent=within(0.25, middle),
    )
