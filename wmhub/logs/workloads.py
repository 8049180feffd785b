"""The file of a MetaSchedule database that holds its workloads, one a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wmhub.logs.chunks import MOST_REJECTIONS_KEPT, Rejection
from wmhub.logs.lines import MOST_WORKLOAD_BYTES, decompressed, open_raw, read_chunks
from wmhub.logs.meta_schedule import parse_workload
from wmhub.logs.text import RejectedLineError
from wmhub.records import Workload

#: A file with so many damaged lines is no workload file from there on.
_MOST_DAMAGED = 100_000


@dataclass
class WorkloadFile:
    """What a workload file holds."""

    source: str
    """The file, as the dataset names it."""
    ids: list[str | None] = field(default_factory=list)
    """Of each line the id of its workload; ``None`` of a damaged one."""
    workloads: dict[str, Workload] = field(default_factory=dict)
    """By id."""
    rejections: list[Rejection] = field(default_factory=list)
    """The first ``MOST_REJECTIONS_KEPT`` of the damaged lines."""
    damaged: int = 0
    """How many damaged lines there are."""

    def reject(self, line: int, reason: str) -> None:
        """Notes a damaged line."""
        self.damaged += 1
        self.ids.append(None)
        if len(self.rejections) < MOST_REJECTIONS_KEPT:
            self.rejections.append(Rejection(self.source, line, reason))


def read_workload_file(path: Path, source: str) -> WorkloadFile:
    """Reads ``path``, which the dataset names ``source``.

    Raises ``MissingInputError`` and ``LogFormatError`` where it cannot be opened.
    """
    found = WorkloadFile(source)
    with open_raw(path) as raw:
        for chunk in read_chunks(decompressed(raw), most_line=MOST_WORKLOAD_BYTES):
            if chunk.fault is not None:
                found.reject(chunk.first_line, chunk.fault)
            for number, line in chunk.lines():
                if not line.strip():
                    continue
                if found.damaged >= _MOST_DAMAGED:
                    found.rejections.pop()
                    found.reject(number, f"after {found.damaged:,} damaged lines no more is read")
                    return found
                try:
                    workload = parse_workload(line)
                except RejectedLineError as error:
                    found.reject(number, str(error))
                    continue
                found.workloads[workload.id] = workload
                found.ids.append(workload.id)
    return found
