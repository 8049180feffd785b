"""``collect_live``: measures candidates on this machine, or on devices elsewhere, into a dataset.

Every finished batch is in a journal beside the output (``OUTPUT.wmhub/live``) before the next
begins. The dataset is made of the journal at the end; a run that was killed goes on where it was,
and one that finds a dataset adds to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmhub.dataset.assemble import COLLECTOR, Part, assemble, part_of
from wmhub.dataset.manifest import MANIFEST, Manifest
from wmhub.dataset.placing import destination, refuse_existing
from wmhub.dataset.reader import Dataset
from wmhub.dataset.schema import Provenance
from wmhub.dataset.spool import to_table, write_run
from wmhub.dataset.verify import open_verified
from wmhub.dataset.version import Version
from wmhub.dataset.working import finish_work, working, working_folder
from wmhub.dataset.writer import Description
from wmhub.errors import HardwareMismatchError, InvalidInputError, MeasureError
from wmhub.hardware.profile import HardwareProfile
from wmhub.logs.chunks import ReadCounts
from wmhub.measure.journal import Journal, JournalHead, read_journal
from wmhub.measure.live import LivePlan, LiveProgress, measure_live
from wmhub.measure.timing import TimingPlan
from wmhub.names import HardwareKey
from wmhub.records import MeasureRecord, Workload

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator
    from wmhub.measure.sampling import MakeGuide

#: Records of a run file, that is of what is sorted in memory at once.
_RUN_RECORDS = 20_000


@dataclass(frozen=True)
class LiveReport:
    """What a live collection measured and wrote."""

    output: Path
    manifest: Manifest
    """Of the dataset, with what was there before."""
    progress: LiveProgress
    """Of this run."""
    interrupted: bool
    """Whether Ctrl-C ended it before its budget did."""


class NoisyMachineWarning(UserWarning):
    """Something about this machine makes latencies less sure."""


def collect_live(
    output: str | Path,
    *,
    workloads: Sequence[str] = ("zoo",),
    hardware: HardwareKey | str | None = None,
    target: dict[str, Any] | None = None,
    plan: LivePlan | None = None,
    timing: TimingPlan | None = None,
    workers: int | None = None,
    build_timeout_seconds: float = 30.0,
    run_timeout_seconds: float = 10.0,
    rpc_tracker: str | None = None,
    device_key: str | None = None,
    model: str | os.PathLike[str] | Evaluator | None = None,
    contributor: str = "",
    licence: str = "",
    version: Version | str | None = None,
    progress: Callable[[LiveProgress], None] | None = None,
) -> LiveReport:
    """Measures candidates of ``workloads`` into the dataset ``output``, new or grown.

    ``workloads`` are what ``wmhub.measure.sources`` reads: zoo names, networks, files (a ``.py``
    file is executed). ``hardware`` is what is measured on; without it, this machine, probed.
    ``target`` is derived from it unless given. ``rpc_tracker`` (``host:port``) and ``device_key``
    measure on the devices of a TVM tracker; ``hardware`` must then say what they are. ``model`` is
    a checkpoint, of any hardware, that proposes what is not random: what it would measure in a
    search.

    Ctrl-C finishes the batch and the dataset; a second one leaves only the journal, which the next
    call takes up. Raises ``MeasureError``, ``HardwareMismatchError``, ``OutputExistsError``,
    ``DatasetError`` (an older dataset that was changed), ``UnknownNameError``,
    ``MissingInputError`` and ``InvalidInputError``.
    """
    if device_key is not None and rpc_tracker is None:
        raise InvalidInputError("a device key is one of a tracker's: name that too")
    number = Version.named(version)
    output = destination(output)
    with working(output):
        older = open_verified(output) if (output / MANIFEST).exists() else None
        if older is None:
            refuse_existing(output)
        key, profile = _hardware(hardware, older, remote=rpc_tracker is not None)
        head, target = _head(key, profile, target)
        plan = plan or LivePlan()
        from wmhub.measure.sources import extract

        found = extract(workloads, target)
        limits = {
            "workers": workers,
            "plan": timing,
            "build_timeout_seconds": build_timeout_seconds,
            "run_timeout_seconds": run_timeout_seconds,
        }
        with (
            Journal(working_folder(output) / "live" / "journal.jsonl", head) as journal,
            _interruptible() as stop,
        ):
            with _engine(target, rpc_tracker, device_key, limits) as engine:
                engine.wait_ready()
                state = measure_live(
                    journal,
                    found.workloads,
                    engine,
                    plan,
                    known=_known(older),
                    make_guide=None if model is None else _guided_by(model),
                    progress=progress,
                    stop=stop,
                )
                state.skipped.update(found.skipped)
            provenance = Provenance(contributor, licence, COLLECTOR)
            try:
                manifest = _finish(journal, output, older, provenance, number)
            except MeasureError as error:
                reasons = [f"\n  {name}: {reason}" for name, reason in state.skipped.items()]
                raise MeasureError(str(error) + "".join(reasons)) from error
        finish_work(output, "live")
    return LiveReport(output, manifest, state, stop())


def _hardware(
    hardware: HardwareKey | str | None, older: Dataset | None, *, remote: bool
) -> tuple[HardwareKey, HardwareProfile | None]:
    from wmhub.hardware.probe import examine
    from wmhub.hardware.table import lookup

    key = HardwareKey.parse(str(hardware)) if hardware is not None else None
    if remote:
        key = key or (older.hardware if older is not None else None)
        if key is None:
            raise InvalidInputError(
                "what the devices of the tracker are must be told, as hardware (--hardware): "
                "it cannot be probed from here"
            )
        profile = lookup(key)
    else:
        probed = examine("llvm" if key is None else key.backend)
        for sentence in probed.warnings:
            warnings.warn(sentence, NoisyMachineWarning, stacklevel=3)
        if key not in (None, probed.profile.key):
            raise HardwareMismatchError(
                f"this machine is {probed.profile.key}, not {key}; measure there, or leave out the "
                "hardware"
            )
        key, profile = probed.profile.key, probed.profile
    if older is not None and older.hardware != key:
        raise HardwareMismatchError(
            f"{older.path}: measured on {older.hardware}, so records of {key} cannot be added"
        )
    return key, profile


def _head(
    key: HardwareKey, profile: HardwareProfile | None, target: dict[str, Any] | None
) -> tuple[JournalHead, dict[str, Any]]:
    from wmhub.measure.targets import target_of
    from wmhub.tvm_compat import full_target, plain, use_target

    target = target_of(key) if target is None else full_target(target)
    exported = plain(use_target(target).export())
    return JournalHead(key, json.dumps(exported, separators=(",", ":")), profile), target


def _engine(
    target: dict[str, Any],
    rpc_tracker: str | None,
    device_key: str | None,
    limits: dict[str, Any],
) -> contextlib.AbstractContextManager[Any]:
    from wmhub.measure.engine import Engine

    if rpc_tracker is None:
        return Engine(target, **limits)
    from wmhub.measure.remote import RemoteEngine, Tracker

    return RemoteEngine(target, Tracker.parse(rpc_tracker, device_key), **limits)


def _guided_by(model: str | os.PathLike[str] | Evaluator) -> MakeGuide:
    from wmhub.hub import from_pretrained
    from wmhub.search.guide import ModelGuide
    from wmhub.search.learner import Learner

    evaluator = from_pretrained(model) if isinstance(model, (str, os.PathLike)) else model
    return partial(ModelGuide, Learner(evaluator))


def _known(older: Dataset | None) -> Mapping[str, list[tuple[str, float | None]]]:
    """Traces of the dataset, so that none is measured twice and the best become parents."""
    known: dict[str, list[tuple[str, float | None]]] = {}
    if older is not None:
        for workload, records in older.iter_workload_records():
            latencies = [float(s) if math.isfinite(s) else None for s in records.latency_seconds]
            known[workload.id] = list(zip(records.traces, latencies, strict=True))
    return known


def _finish(
    journal: Journal,
    output: Path,
    older: Dataset | None,
    provenance: Provenance,
    version: Version | None,
) -> Manifest:
    """The dataset of the journal's records and of what was there before."""
    runs = journal.path.parent / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir()
    part = _part(journal.path, runs, str(journal.head.hardware), provenance)
    if not part.workloads:
        if older is not None:
            return older.manifest
        raise MeasureError(f"{output}: nothing was measured, so there is no dataset to write")
    description = Description(
        journal.head.hardware,
        journal.head.profile,
        COLLECTOR,
        version=version,
        test_workloads=_held_out(journal.path),
    )
    settled = None
    parts = [part]
    if older is not None:
        parts.insert(0, part_of(older, runs, "older"))
        settled = older.split_of
        chosen = {*older.manifest.test_workloads, *description.test_workloads}
        description = dataclasses.replace(
            description,
            # Another probe of the same hardware gives other numbers, and with them other features.
            profile=older.manifest.profile or description.profile,
            older=older.manifest,
            test_workloads=tuple(sorted(chosen)),
        )
    return assemble(parts, output, description, settled=settled, replace=older is not None)


def _part(path: Path, folder: Path, hardware: str, provenance: Provenance) -> Part:
    counts = ReadCounts()
    workloads: dict[str, Workload] = {}
    runs: list[Path] = []
    waiting: list[MeasureRecord] = []

    def flush() -> None:
        if waiting:
            runs.append(folder / f"live-{len(runs):06d}.run")
            write_run(runs[-1], to_table(waiting, hardware, provenance), b"")
            waiting.clear()

    for entry in read_journal(path):
        if isinstance(entry, Workload):
            workloads[entry.id] = entry
            continue
        counts.lines += 1
        if entry.failure is None:
            counts.measured += 1
        else:
            counts.failed += 1
            counts.failures[str(entry.failure)] += 1
        waiting.append(entry)
        if len(waiting) >= _RUN_RECORDS:
            flush()
    flush()
    return Part(runs, workloads, counts, [])


def _held_out(path: Path) -> tuple[str, ...]:
    """Workloads of the zoo's held-out part: they must be in the test split."""
    from wmhub.measure.zoo import HELD_OUT

    return tuple(
        sorted(
            {
                entry.workload_id
                for entry in read_journal(path)
                if isinstance(entry, MeasureRecord)
                and entry.source.removeprefix("live/") in HELD_OUT
            }
        )
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks for an end after the batch at work; a second one ends at once."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # Not the main thread: whoever started it decides what Ctrl-C means.
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
