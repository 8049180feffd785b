"""``collect_live``: measures candidates on this machine, or on devices elsewhere, into a dataset.

Every finished batch is in a journal beside the output (``OUTPUT.wmhub/live``) before the next
begins. The dataset is made of the journal at the end; a run that was killed goes on where it was,
and one that finds a dataset adds to it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmhub.dataset.assemble import COLLECTOR
from wmhub.dataset.growing import (
    older_in,
    require_same_clock,
    require_same_hardware,
    told_hardware,
)
from wmhub.dataset.manifest import COLD, Manifest
from wmhub.dataset.placing import destination
from wmhub.dataset.reader import Dataset
from wmhub.dataset.schema import Provenance
from wmhub.dataset.version import Change, Version
from wmhub.dataset.working import finish_work, working, working_folder
from wmhub.errors import InvalidInputError, MeasureError
from wmhub.hardware.profile import HardwareProfile
from wmhub.interrupts import interruptible
from wmhub.live_dataset import dataset_of, put_aside
from wmhub.logs.chunks import Rejection
from wmhub.measure.engine import Engine
from wmhub.measure.journal import Journal, JournalHead
from wmhub.measure.live import Known, LivePlan, LiveProgress, measure_live
from wmhub.measure.remote import RemoteEngine, Tracker
from wmhub.measure.timing import TimingPlan
from wmhub.names import HardwareKey

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator
    from wmhub.measure.sampling import MakeGuide


@dataclass(frozen=True)
class LiveReport:
    """What a live collection measured and wrote."""

    output: Path
    manifest: Manifest
    """Of the dataset, with what was there before."""
    progress: LiveProgress
    """Of this run."""
    rejections: list[Rejection]
    """Lines of the journal that were damaged, and records without the workload on such a line."""
    journal: Path | None
    """Where the journal is kept, if any of its lines was rejected."""
    interrupted: bool
    """Whether Ctrl-C ended it before its budget did."""


def collect_live(
    output: str | Path,
    *,
    workloads: Sequence[str] = ("zoo",),
    hardware: HardwareKey | str | None = None,
    profile: HardwareProfile | None = None,
    target: dict[str, Any] | None = None,
    plan: LivePlan | None = None,
    timing: TimingPlan | None = None,
    workers: int | None = None,
    build_timeout_seconds: float = 30.0,
    run_timeout_seconds: float = 10.0,
    rpc: str | None = None,
    model: str | os.PathLike[str] | Evaluator | None = None,
    contributor: str = "",
    licence: str = "",
    version: Version | str | None = None,
    progress: Callable[[LiveProgress], None] | None = None,
) -> LiveReport:
    """Measures candidates of ``workloads`` into the dataset ``output``, new or grown.

    ``workloads`` are what ``wmhub.measure.sources`` reads: zoo names, networks, files (a ``.py``
    file is executed). ``hardware`` is what is measured on; without it, this machine, probed.
    ``profile`` has the numbers of a tracker's devices where no table does. ``target`` is derived
    from it unless given. ``rpc`` (``HOST:PORT/KEY``) measures on the devices of a TVM tracker;
    ``hardware`` must then say what they are. ``model`` is a checkpoint, of any hardware, that
    proposes what is not random: half of it what it would measure in a search, half what it takes
    for fast before anything is measured.

    Ctrl-C finishes the batch and the dataset; a second one leaves only the journal, which the next
    call takes up; lines of it that were damaged meanwhile are in the report. Raises
    ``MeasureError``, ``HardwareMismatchError``, ``OutputExistsError``, ``DatasetError`` (an older
    dataset that was changed), ``LogFormatError`` (a journal with a damaged head),
    ``UnknownNameError``, ``MissingInputError`` and ``InvalidInputError``.
    """
    tracker = None if rpc is None else Tracker.parse(rpc)
    number = Version.named(version)
    provenance = Provenance(contributor, licence, COLLECTOR)
    output = destination(output)
    with working(output):
        older = older_in(output, number, Change.MINOR)
        at_hand = _elsewhere if tracker is not None else _here
        key, profile = at_hand(hardware, profile, older)
        if tracker is not None:
            # Before anything is prepared for devices that are not there.
            tracker.require_device()
        is_cold = timing is not None and timing.flush_cache
        if older is not None:
            require_same_clock(older, is_cold, "what is to be added")
        head, target = _head(key, profile, target, (COLD,) if is_cold else ())
        plan = plan or LivePlan()
        from wmhub.measure.sources import extract

        found = extract(workloads, target)
        make_engine = Engine if tracker is None else partial(RemoteEngine, tracker=tracker)
        with (
            Journal(working_folder(output) / "live" / "journal.jsonl", head) as journal,
            interruptible() as stop,
        ):
            with make_engine(
                target,
                workers=workers,
                plan=timing,
                build_timeout_seconds=build_timeout_seconds,
                run_timeout_seconds=run_timeout_seconds,
            ) as engine:
                engine.wait_ready()
                state = measure_live(
                    journal,
                    found.workloads,
                    engine,
                    plan,
                    known=partial(_known, older),
                    make_guide=None if model is None else _guided_by(model),
                    progress=progress,
                    stop=stop,
                )
                state.skipped.update(found.skipped)
            try:
                finished = dataset_of(journal, output, older, provenance, number)
            except MeasureError as error:
                if stop():  # Nothing is kept, and nothing is wrong.
                    raise KeyboardInterrupt from error
                reasons = [f"\n  {name}: {reason}" for name, reason in state.skipped.items()]
                raise MeasureError(str(error) + "".join(reasons)) from error
        kept = put_aside(journal.path, output) if finished.rejections else None
        finish_work(output, "live")
    return LiveReport(output, finished.manifest, state, finished.rejections, kept, stop())


def _here(
    hardware: HardwareKey | str | None, profile: HardwareProfile | None, older: Dataset | None
) -> tuple[HardwareKey, HardwareProfile]:
    """This machine, or its GPU if that is ``hardware``; it must be that of ``older``.

    Warns of what makes latencies less sure. Raises ``HardwareMismatchError`` where it is another,
    and ``InvalidInputError`` for a ``profile``, whose numbers are probed.
    """
    from wmhub.hardware.probe import calibrated_here

    if profile is not None:
        raise InvalidInputError("a profile is for devices of a tracker: this machine is probed")
    found = calibrated_here(hardware)
    if older is not None:
        require_same_hardware(older, found.key)
    return found.key, found


def _elsewhere(
    hardware: HardwareKey | str | None, profile: HardwareProfile | None, older: Dataset | None
) -> tuple[HardwareKey, HardwareProfile]:
    """What the devices of a tracker are, which nothing here can probe, and their numbers.

    Raises ``InvalidInputError`` where either is not told, and what `told_hardware` raises.
    """
    key, numbers = told_hardware(hardware, profile, older)
    if key is None:
        raise InvalidInputError(
            "what the devices of the tracker are must be told, as hardware (--hardware): "
            "it cannot be probed from here"
        )
    if numbers is None:
        raise InvalidInputError(
            f"no table knows {key}: give its numbers as profile (--profile FILE), or nothing could "
            "be trained on what is measured"
        )
    return key, numbers


def _head(
    key: HardwareKey,
    profile: HardwareProfile | None,
    target: dict[str, Any] | None,
    limits: tuple[str, ...],
) -> tuple[JournalHead, dict[str, Any]]:
    from wmhub.measure.targets import given_target, target_of
    from wmhub.tvm_compat import plain, use_target

    target = target_of(key) if target is None else given_target(target, key)
    exported = plain(use_target(target).export())
    return JournalHead(key, json.dumps(exported, separators=(",", ":")), profile, limits), target


def _guided_by(model: str | os.PathLike[str] | Evaluator) -> MakeGuide:
    from wmhub.hub import evaluator_of
    from wmhub.search.guide import ModelGuide
    from wmhub.search.learner import Learner

    return partial(ModelGuide, Learner(evaluator_of(model)))


def _known(older: Dataset | None, ids: Collection[str]) -> Known:
    """What the dataset has of the workloads ``ids``, so that none is measured twice and the best
    become parents."""
    known: dict[str, list[tuple[str, float | None]]] = {}
    columns = ("trace", "run_seconds", "failure")
    for workload, records in older.iter_workload_records(columns=columns) if older else ():
        if workload.id in ids:
            latencies = [float(s) if math.isfinite(s) else None for s in records.latency_seconds]
            known[workload.id] = list(zip(records.traces, latencies, strict=True))
    return known
