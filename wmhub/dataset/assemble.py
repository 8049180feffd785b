"""From parts, fresh from logs or out of older datasets, to one dataset."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import wmhub
from wmhub.dataset.manifest import Manifest
from wmhub.dataset.reader import Dataset
from wmhub.dataset.splits import split_workloads
from wmhub.dataset.spool import KEYED, measurement_digests, read_sorted, write_run
from wmhub.dataset.writer import REJECTED, Description, write_dataset
from wmhub.errors import InvalidInputError
from wmhub.logs.chunks import ReadCounts
from wmhub.records import Workload

#: Program and version that writes, for manifests and rows.
COLLECTOR = f"wmhub {wmhub.__version__}"


@dataclass(frozen=True)
class Part:
    """Sorted rows on disk, and what there is to say about them."""

    runs: list[Path]
    workloads: Mapping[str, Workload]
    """Every workload that occurs in the rows, by id."""
    counts: ReadCounts
    rejections: list[bytes]
    """Lines of ``rejected.jsonl``."""


def part_of(
    dataset: Dataset,
    folder: Path,
    name: str,
    change: Callable[[pa.Table], pa.Table] = lambda table: table,
) -> Part:
    """The rows of ``dataset`` as runs in ``folder``, whose files begin with ``name``.

    ``change`` is made to each table on the way; a row stays one of its workload and candidate.
    """
    runs = []
    for number, table in enumerate(dataset.iter_tables()):
        runs.append(folder / f"{name}-{number:06d}.run")
        write_run(runs[-1], _keyed(change(table)), b"")
    counts = dataset.manifest.counts
    read = ReadCounts(
        lines=counts.lines,
        measured=counts.measured,
        failed=counts.failed,
        rejected=counts.rejected,
        failures=Counter(counts.failures),
        unknown_actions=Counter(counts.unknown_actions),
    )
    # What the manifest does not name may be anything, a link to a private file too.
    lines = [
        line
        for name in dataset.manifest.names(REJECTED)
        for line in (dataset.path / name).read_bytes().splitlines()
    ]
    return Part(runs, dataset.workloads(), read, lines)


def assemble(
    parts: Sequence[Part],
    output: Path,
    description: Description,
    *,
    settled: Mapping[str, str] | None = None,
    replace: bool = False,
) -> Manifest:
    """Writes the rows of all ``parts``, each once, as the dataset ``output``.

    ``settled`` are workloads whose split must stay; ``description`` is completed by the counts of
    the parts.
    """
    workloads: dict[str, Workload] = {}
    counts = ReadCounts()
    for part in parts:
        workloads |= part.workloads
        counts.add(part.counts)
    return write_dataset(
        output,
        read_sorted([part.runs for part in parts]),
        dict(sorted(workloads.items())),
        split_workloads(workloads, description.test_workloads, settled),
        dataclasses.replace(description, counts=counts),
        # A log that has grown has its bad lines again.
        dict.fromkeys(line for part in parts for line in part.rejections),
        replace=replace,
    )


def chosen_workloads(names: Collection[str], workloads: Mapping[str, Workload]) -> tuple[str, ...]:
    """The ids behind a list of workload ids or keys; raises ``InvalidInputError``.

    A key stands for all workloads that have it: those of MetaSchedule are hashes of the structure,
    and two versions of TVM write one program in two ways.
    """
    by_key: dict[str, list[str]] = {}
    for id_, workload in workloads.items():
        by_key.setdefault(workload.key, []).append(id_)
    unknown = [name for name in names if name not in workloads and name not in by_key]
    if unknown:
        raise InvalidInputError(
            f"test workload {unknown[0][:100]!r}: neither the id nor the key of a workload of this "
            f"dataset ({len(unknown)} of {len(names)} are unknown)"
        )
    chosen = (([name] if name in workloads else by_key[name]) for name in names)
    return tuple(sorted({id_ for ids in chosen for id_ in ids}))


def _keyed(table: pa.Table) -> pa.Table:
    """``table`` with the key of ``dataset/spool.py`` before its columns, sorted by it."""
    facts = pa.array(measurement_digests(table), pa.string())
    keys = pc.binary_join_element_wise(
        table["workload_id"].combine_chunks(), table["candidate_id"].combine_chunks(), facts, ""
    )
    return table.add_column(0, "key", keys).sort_by("key").cast(KEYED)
