"""TVM's own cost model as a baseline: its per-store features and its ``XGBModel``.

The features are those of the scheduled program, so every trace is replayed in TVM: 10 to 30 ms a
candidate, and 100 or more where much is unrolled. They are kept on disk.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.dataset.workers import in_order
from wmhub.errors import InvalidInputError
from wmhub.flushing import write_file
from wmhub.records import Scheduler
from wmhub.training.baselines import Setting, relative_speed
from wmhub.training.boosting import require_xgboost
from wmhub.training.data import Candidates, even_shares

#: Most training candidates; of more, workloads give shares as even as their counts allow.
MOST_CANDIDATES = 50_000
#: Candidates whose schedules are held at once.
_BATCH = 32
#: What TVM raises for a trace that cannot be replayed, or a program that it does not read.
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)
#: Score of what could not be replayed.
_WORST = -1e9


class TvmModel:
    """TVM's ``XGBModel``: its features, its objective, its labels, over all training workloads."""

    def __init__(self, setting: Setting) -> None:
        require_xgboost()
        if setting.profile.is_gpu:
            raise InvalidInputError("TVM's model is compared on CPU targets only")
        schedulers = {one.scheduler for one in setting.dataset.workloads().values()}
        if schedulers != {Scheduler.META_SCHEDULE}:
            raise InvalidInputError(
                "TVM's model reads MetaSchedule records alone, and some are Ansor's"
            )
        from wmhub.tvm_compat import meta_schedule as ms

        self._features = Features(setting)
        self._model: Any = ms.cost_model.XGBModel(num_tuning_cores=setting.threads)
        self._setting = setting

    def fit(self, train: Iterable[Candidates]) -> None:
        """See `Baseline`; failed candidates, whose weight in TVM's loss is 0, are left out."""
        counts = [int(np.isfinite(one.latency).sum()) for one in train]
        shares = even_shares(counts, MOST_CANDIDATES).tolist()
        asked = (
            (one, _share(np.flatnonzero(np.isfinite(one.latency)), most))
            for one, most in zip(train, shares, strict=True)
        )
        tables: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        processes = max(1, min(self._setting.threads, len(counts)))
        found = self._features.of_many(asked, processes)
        for number, ((candidates, chosen), mine) in enumerate(found):
            usable = [i for i, table in enumerate(mine) if len(table)]
            tables += [mine[i] for i in usable]
            labels.append(relative_speed(candidates.latency)[chosen[usable]])
            self._setting.progress("xgb_model: features", number + 1, len(counts))
        if not tables:
            raise InvalidInputError("no trace of the training workloads can be replayed in TVM")
        # Its training as ``update`` ends in it; that one takes schedules, which are gone by now.
        self._model._train(tables, np.concatenate(labels).astype(np.float32))

    def score(self, candidates: Candidates) -> np.ndarray:
        """See `Baseline`; what cannot be replayed comes last."""
        every = np.arange(len(candidates.latency))
        ((_, tables),) = self._features.of_many([(candidates, every)], 1)
        usable = [i for i, table in enumerate(tables) if len(table)]
        score = np.full(len(tables), _WORST)
        if usable:
            score[usable] = self._model._predict([tables[i] for i in usable])
        return score


class Features:
    """TVM's per-store features of a dataset's candidates.

    They are kept by what they are made from, so those of workloads that a growing dataset leaves as
    they were are not made again.
    """

    def __init__(self, setting: Setting) -> None:
        from wmhub.tvm_compat import tvm

        self._dataset = setting.dataset
        self._folder = setting.cache / "per-store-features" / f"tvm-{tvm.__version__}"

    def of_many(
        self, asked: Iterable[tuple[Candidates, np.ndarray]], processes: int
    ) -> Iterator[tuple[tuple[Candidates, np.ndarray], list[np.ndarray]]]:
        """Each workload and chosen candidates (int64 [C]), with float32 [stores, 164] of each.

        In their order; empty where a replay failed. Few workloads wait in memory.
        """
        jobs = ((pair, self._job(*pair)) for pair in asked)
        died = "a process that replays traces died, perhaps for want of memory"
        return in_order(_features, jobs, processes, died)

    def _job(
        self, candidates: Candidates, chosen: np.ndarray
    ) -> tuple[Path, str, list[str], list[str]]:
        workload = candidates.workload
        records = self._dataset.workload_records(workload.id, ["trace", "target"])
        rows = candidates.positions[chosen].tolist()
        every, targets = records.traces, records.column("target")
        made_from = (str(workload.program), [every[i] for i in rows], [targets[i] for i in rows])
        digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:32]
        return self._folder / f"{digest}.npz", *made_from


def _features(
    path: Path, program: str, traces: Sequence[str], targets: Sequence[str]
) -> list[np.ndarray]:
    """What the file ``path`` keeps, or what is made and kept there."""
    kept = _read(path)
    if kept is None:
        kept = _extract(program, traces, targets)
        _write(path, kept)
    return kept


def _extract(program: str, traces: Sequence[str], targets: Sequence[str]) -> list[np.ndarray]:
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import tvm, use_target

    found = [np.zeros((0, 0), np.float32)] * len(traces)
    try:
        module = tvm.ir.load_json(_module_text(program))
    except _REFUSALS:
        return found
    extractor = ms.feature_extractor.PerStoreFeature()
    for start in range(0, len(traces), _BATCH):
        # Before the replay, which refuses Tensorize without the target's intrinsics.
        target = use_target(json.loads(targets[start]))
        ready = []
        for place in range(start, min(start + _BATCH, len(traces))):
            candidate = _replayed(module, traces[place])
            if candidate is not None:
                ready.append((place, candidate))
        context = ms.TuneContext(mod=module, target=target, num_threads=1)
        extracted = extractor.extract_from(context, [one for _, one in ready])
        for (place, _), table in zip(ready, extracted, strict=True):
            found[place] = table.numpy().astype(np.float32)
    return found


def _replayed(module: Any, trace: str) -> Any | None:
    from wmhub.measure.programs import measure_candidate
    from wmhub.measure.sketch import unchecked_schedule
    from wmhub.tvm_compat import Trace

    schedule = unchecked_schedule(module, 1)
    try:
        Trace.apply_json_to_schedule(json.loads(trace), schedule)
        return measure_candidate(schedule)
    except _REFUSALS:
        return None


def _module_text(program: str) -> str:
    """The JSON that TVM reads: databases hold it in base64 behind an 8-byte length."""
    program = program.strip()
    return program if program.startswith("{") else base64.b64decode(program)[8:].decode()


def _share(rows: np.ndarray, most: int) -> np.ndarray:
    """``most`` of the rows, drawn without regard to anything; always the same ones."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])


def _read(path: Path) -> list[np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            rows, lengths = kept["rows"], kept["lengths"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        # Not there, or damaged.
        return None
    return np.split(rows, np.cumsum(lengths)[:-1])


def _write(path: Path, tables: Sequence[np.ndarray]) -> None:
    full = [table for table in tables if len(table)]
    archive = io.BytesIO()
    np.savez_compressed(
        archive,
        rows=np.concatenate(full) if full else np.zeros((0, 0), np.float32),
        lengths=np.array([len(table) for table in tables], np.int64),
    )
    write_file(path, archive.getvalue())
