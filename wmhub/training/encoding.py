"""Encodes a dataset once, in processes over its workloads, into the files that ``store`` reads."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from wmhub.dataset.reader import Dataset
from wmhub.dataset.splits import SPLITS
from wmhub.dataset.verify import require_verified
from wmhub.dataset.workers import in_order
from wmhub.flushing import flush_folder
from wmhub.hardware.machine import read_cpu
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.encode import ACTION_COLUMNS
from wmhub.records import Scheduler, Workload
from wmhub.replay.operators import original_stages
from wmhub.replay.state import REFUSED
from wmhub.training.packing import PackedGroup, encode_workload, sound
from wmhub.training.store import ARRAYS, INDEX, UNREADABLE, EncodedStore, store_key
from wmhub.trajectory import group_by

#: Encoded datasets that are kept; of more, those unused for longest go.
MOST_KEPT = 16
_TEMPORARY = ".encoding-"
#: Age in seconds at which a temporary folder belongs to no one any more.
_ABANDONED_S = 24 * 3600
#: Below this many records a second process does not pay: starting one takes a second.
_FEW_RECORDS = 20_000

OnEncoded = Callable[[int, int], None]
"""Called after each workload: workloads encoded, and workloads in all."""


@dataclass(frozen=True)
class _Job:
    of: Rankable
    split: str


def open_store(
    dataset: Dataset,
    profile: HardwareProfile,
    cache: Path,
    processes: int | None = None,
    on_encoded: OnEncoded | None = None,
) -> EncodedStore:
    """The encoded candidates of ``dataset``, made in the folder ``cache`` if they are not there.

    ``processes`` is the number of cores by default; the files are the same for any.
    """
    folder = cache / store_key(dataset, profile)
    if (folder / INDEX).exists():
        # A file that was cut short or meddled with is made anew.
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(folder)
        with contextlib.suppress(*UNREADABLE):
            return EncodedStore(folder, dataset, profile)
        shutil.rmtree(folder, ignore_errors=True)
    # The cache goes by the manifest: what it names has to be what is there.
    require_verified(dataset.path)
    cache.mkdir(parents=True, exist_ok=True)
    _forget_old(cache)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=cache))
    try:
        _write(temporary, dataset, profile, processes, on_encoded or _silent)
        flush_folder(temporary)
        try:
            temporary.replace(folder)
        except OSError:
            # Whoever was first to encode the same wins, as the content is equal; what is no store
            # makes room.
            if not (folder / INDEX).exists():
                shutil.rmtree(folder, ignore_errors=True)
                temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return EncodedStore(folder, dataset, profile)


def _silent(_done: int, _total: int) -> None:
    pass


def _forget_old(cache: Path) -> None:
    """Makes room for one more, and clears away what a killed process left."""
    used: dict[Path, float] = {}
    for path in cache.iterdir():
        with contextlib.suppress(OSError):  # Another process has just moved or removed it.
            used[path] = path.stat().st_mtime
    left = [path for path in used if path.name.startswith(_TEMPORARY)]
    kept = sorted(
        (path for path in used if (path / INDEX).exists() and path not in left),
        key=used.__getitem__,
        reverse=True,
    )
    abandoned = (path for path in left if time.time() - used[path] > _ABANDONED_S)
    for path in (*abandoned, *kept[MOST_KEPT - 1 :]):
        shutil.rmtree(path, ignore_errors=True)


def _write(
    folder: Path,
    dataset: Dataset,
    profile: HardwareProfile,
    processes: int | None,
    on_encoded: OnEncoded,
) -> None:
    total = sum(len(ids) for ids in dataset.splits.values())
    if processes is None:
        small = dataset.manifest.counts.records < _FEW_RECORDS
        processes = 1 if small else read_cpu().usable_threads
    jobs = (_Job(one, split) for split in SPLITS for one in rankable(dataset, split))
    index: list[dict[str, object]] = []
    done: set[str] = set()
    candidates = groups = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("w+b")) for name in ARRAYS}
        for job, encoded in _encoded(jobs, profile, processes):
            count = len(job.of.latency)
            kept, found = sound(job.of.workload, count, [members for members, _ in encoded])
            latency = job.of.latency[kept]
            if np.isfinite(latency).sum() < 2:
                continue
            places = np.zeros((len(kept), 2), dtype=np.int64)
            parts = zip(found, [group for _, group in encoded], strict=True)
            for number, (members, group) in enumerate(parts, start=groups):
                places[members, 0] = number
                places[members, 1] = np.arange(len(members))
                _append_group(files, group)
            groups += len(encoded)
            files["places"].write(places.tobytes())
            files["latency"].write(latency.astype(np.float64).tobytes())
            where = {"start": candidates, "count": len(kept)}
            ids = {"id": job.of.program, "of": job.of.workload.id}
            index.append({**ids, "split": job.split, **where})
            candidates += len(kept)
            done.add(job.of.workload.id)
            on_encoded(len(done), total)
        shapes = {"data": (-1,), "groups": (-1, 6), "places": (-1, 2), "latency": (-1,)}
        for name, file in files.items():
            _finish(folder / name, file, shapes[name])
    on_encoded(total, total)
    bytes_ = {name: (folder / f"{name}.npy").stat().st_size for name in ARRAYS}
    index_text = json.dumps({"workloads": index, "bytes": bytes_})
    (folder / INDEX).write_text(index_text, encoding="utf-8")


@dataclass(frozen=True)
class Rankable:
    """The records of one program."""

    workload: Workload
    program: str
    """The workload's id; of Ansor, where a key may stand for several programs, with the number of
    stages behind it."""
    rows: np.ndarray
    """int64 [N]: places among the workload's records; of a candidate with several, the first."""
    traces: list[str]
    """Each once."""
    latency: np.ndarray
    """float64 [N] in seconds, the median where a candidate was measured more than once; ``inf`` for
    failed candidates."""


def rankable(dataset: Dataset, split: str | None) -> Iterator[Rankable]:
    """The programs of a split with two measured candidates or more.

    Those that are unknown (MetaSchedule without its workload file) are left out.
    """
    for workload, records in dataset.iter_workload_records(
        split, ["trace", "run_seconds", "failure"]
    ):
        if not _is_known(workload):
            continue
        traces = records.traces
        first, latency = _candidates(traces, records.latency_seconds)
        for program, rows in _programs(workload, [traces[row] for row in first]):
            if np.isfinite(latency[rows]).sum() >= 2:
                chosen = [traces[row] for row in first[rows]]
                yield Rankable(workload, program, first[rows], chosen, latency[rows])


def unresolved(dataset: Dataset, split: str) -> int:
    """How many workloads of a split are left out because their programs are unknown."""
    workloads = dataset.workloads()
    ids = dataset.splits.get(split, ())
    return sum(not _is_known(workloads[id_]) for id_ in ids)


def nothing_to_rank(dataset: Dataset, split: str) -> str:
    """Why a split has no program for `rankable`, as the end of a message."""
    if not dataset.splits.get(split):
        sizes = (f"{name} {len(ids):,}" for name, ids in dataset.splits.items() if ids)
        return f"its {split} split has no workload (there are: {', '.join(sizes) or 'none'})"
    said = f"its {split} split has no workload with two measured candidates"
    bare = unresolved(dataset, split)
    told = f" and a program: {bare:,} of {len(dataset.splits[split]):,} came without their "
    return said + (f"{told}database_workload.json" if bare else "")


def _is_known(workload: Workload) -> bool:
    return workload.scheduler is not Scheduler.META_SCHEDULE or workload.program is not None


def _candidates(traces: Sequence[str], latency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each candidate, int64 [N], and its latency, float64 [N] in seconds: the
    median of its measurements that succeeded. Else one program would be several candidates, and
    the luckiest time of many would be the best."""
    rows_of: dict[str, list[int]] = {}
    for row, trace in enumerate(traces):
        rows_of.setdefault(trace, []).append(row)
    first = np.array([rows[0] for rows in rows_of.values()], dtype=np.int64)
    if len(first) == len(latency):
        return first, latency
    ran = [[seconds for seconds in latency[rows] if seconds < np.inf] for rows in rows_of.values()]
    return first, np.array([np.median(times) if times else np.inf for times in ran])


def _programs(workload: Workload, traces: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The programs that a workload's records are of, and the rows of each.

    Damaged traces stand with the first, where they are refused and counted.
    """
    if workload.scheduler is Scheduler.META_SCHEDULE:
        yield workload.id, np.arange(len(traces))
        return
    found = dict(group_by([_stages(trace) for trace in traces]))
    damaged = found.pop(None, np.arange(0))
    found = found or {0: damaged[:0]}
    for stages, rows in found.items():
        yield f"{workload.id}.{stages}", np.sort(np.concatenate([rows, damaged]))
        damaged = damaged[:0]


def _stages(trace: str) -> int | None:
    """`original_stages`; None of a damaged trace."""
    try:
        return original_stages(orjson.loads(trace))
    except REFUSED:
        return None


def _encoded(
    jobs: Iterator[_Job], profile: HardwareProfile, processes: int
) -> Iterator[tuple[_Job, list[tuple[np.ndarray, PackedGroup]]]]:
    """Encodes all jobs; yields in their order, so that the files are the same for any number."""
    return in_order(
        encode_workload,
        ((job, (job.of.workload, job.of.traces, profile)) for job in jobs),
        processes,
        "a process that encoded candidates died: for want of memory (--workers 1 takes "
        'less), or because a script calls train outside `if __name__ == "__main__":`',
    )


def _append_group(files: Mapping[str, IO[bytes]], group: PackedGroup) -> None:
    count, varying = group.rows.shape
    start = files["data"].tell() // 4
    structured = len(group.template) - len(group.kinds) * len(ACTION_COLUMNS)
    row = [start, count, len(group.blocks), len(group.kinds), varying, structured]
    files["groups"].write(np.array(row, dtype=np.int64).tobytes())
    for part in astuple(group):
        files["data"].write(np.ascontiguousarray(part, dtype=np.float32).tobytes())


def _finish(raw: Path, file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Turns raw numbers into a ``.npy`` file, now that their count is known."""
    kind = np.dtype(ARRAYS[raw.name])
    size = file.tell() // kind.itemsize
    whole = (size // max(1, int(np.prod(shape[1:]))), *shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": whole}
    with raw.with_suffix(".npy").open("wb") as target:
        np.lib.format.write_array_header_1_0(target, header)
        file.seek(0)
        shutil.copyfileobj(file, target, 1 << 20)
    raw.unlink()
