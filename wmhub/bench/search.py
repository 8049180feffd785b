"""``search``: our search against TVM's own, all methods in one run, with paired seeds.

Every run is a process of its own, one after the other, and its result a file: an interrupted
benchmark goes on where it was. At the end the best programs of all methods and seeds of a workload
are measured again together, in shuffled rounds, and only those numbers are compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.bench.ratios import FinalKey, Ratio, WorkloadOutcome, compare, summarize
from wmhub.bench.search_spec import (
    CHECKPOINT_METHODS,
    METHODS,
    XGBOOST_METHODS,
    RunResult,
    RunSpec,
    run_code,
)
from wmhub.children import module_command
from wmhub.errors import InvalidInputError, MeasureError
from wmhub.flushing import write_file
from wmhub.measure.targets import cores_for
from wmhub.names import HardwareKey
from wmhub.training.boosting import require_xgboost

#: Shapes that are in no training data: held-out zoo entries, and TVM's own ``te_workload``.
WORKLOADS = (
    "dense-m197-n3072-k768-bias-gelu",
    "matmul-m480-n480-k480",
    "bmm-b6-m150-n64-k150",
    "scores-b12-m197-n197-d64",
    "conv2d-n1-h35-w35-ci64-co96-k3-s1-p1-bn-relu",
    "conv2d-n1-h17-w17-ci768-co192-k1-s1-p0-bn-relu",
    "conv2d-n1-h14-w14-ci160-co160-k3-s1-p1-g10-bn-relu",
    "depthwise2d-n1-h28-w28-c192-k7-s1-p3-bias",
    "te:GMM:2",
    "te:C1D:1",
    "te:C2D:2",
    "te:DIL:2",
    "te:GRP:2",
    "te:T2D:1",
    "te:CBR:1",
    "te:TBG:1",
)
#: Rounds over all final programs, and timings of each in every round: of all alike, or the one with
#: the most would be the likeliest to meet a moment in which the machine is twice as fast.
_FINAL_ROUNDS, _FINAL_TIMINGS = 5, 5


@dataclass(frozen=True)
class SearchBench:
    """The outcome of the benchmark."""

    model: str
    hardware: str
    trials: int
    stock_trials: int
    seeds: tuple[int, ...]
    ratios: dict[str, Ratio]
    """``latency_64_vs_stock_64`` and the like."""
    workloads: tuple[WorkloadOutcome, ...]

    def to_json(self) -> dict[str, Any]:
        """``geomean`` with one number a ratio, ``spread`` with all of each, and ``workloads``."""
        return {
            "model": self.model,
            "hardware": self.hardware,
            "trials": self.trials,
            "stock_trials": self.stock_trials,
            "seeds": list(self.seeds),
            "geomean": {name: ratio.geomean for name, ratio in self.ratios.items()},
            "spread": {name: dataclasses.asdict(ratio) for name, ratio in self.ratios.items()},
            "workloads": [dataclasses.asdict(outcome) for outcome in self.workloads],
        }


def search(
    output: str | Path,
    *,
    model: str,
    workloads: Sequence[str] = WORKLOADS,
    methods: Iterable[str] = METHODS,
    seeds: int = 3,
    trials: int = 64,
    stock_trials: int = 640,
    hardware: HardwareKey | str | None = None,
    target: dict[str, Any] | None = None,
    on_run: Callable[[str], None] | None = None,
) -> SearchBench:
    """Runs what is missing in the folder ``output`` and compares everything there.

    Missing is, too, what another checkpoint, another TVM or, but for TVM's own search, other code
    of ours than this has left there.

    ``stock_trials`` is how far TVM's own search goes; its state after ``trials`` is compared too.
    ``hardware``: a device of this machine, by default its CPU; ``target`` is derived from it.
    Raises ``InvalidInputError`` for an unknown method, and ``MeasureError`` where a run fails.
    """
    from wmhub.bench.search_spec import workload_module
    from wmhub.hardware.probe import measured_here
    from wmhub.hub import resolve_model
    from wmhub.search.choose import target_for
    from wmhub.tvm_compat import tvm

    chosen = list(dict.fromkeys(methods))
    unknown = [method for method in chosen if method not in METHODS]
    if unknown or seeds < 1 or trials < 1 or stock_trials < trials:
        raise InvalidInputError(
            f"methods are {', '.join(METHODS)}, not {', '.join(unknown)}"
            if unknown
            else "seeds and trials must be positive, and stock_trials at least trials"
        )
    here = measured_here(hardware)
    target = target_for(here, target, runs_here=True)
    digest = resolve_model(model).manifest.digest if CHECKPOINT_METHODS & {*chosen} else ""
    if XGBOOST_METHODS & {*chosen}:
        require_xgboost("TVM's own cost model")
    version = str(tvm.__version__)
    for workload in workloads:
        workload_module(workload)
    outcomes = []
    for workload in workloads:
        folder = Path(output) / workload.replace(":", "_")
        folder.mkdir(parents=True, exist_ok=True)
        runs = []
        for seed in range(seeds):
            for method in chosen:
                count = {"stock": stock_trials, "zero": 0}.get(method, trials)
                # What looks at no checkpoint goes on under another one.
                used = (model, digest) if method in CHECKPOINT_METHODS else ("", "")
                spec = RunSpec(
                    workload, method, seed, count, used[0], target, str(here), used[1], version,
                    run_code(method),
                )  # fmt: skip
                marks = sorted({min(trials, count), count})
                runs.append(_run(folder, spec, marks, on_run))
        finals = _final_latencies(folder, runs, target, on_run)
        outcomes.append(compare(workload, runs, finals, trials, stock_trials))
    return SearchBench(
        model=model,
        hardware=str(here),
        trials=trials,
        stock_trials=stock_trials,
        seeds=tuple(range(seeds)),
        ratios=summarize(outcomes),
        workloads=tuple(outcomes),
    )


def _run(
    folder: Path, spec: RunSpec, marks: list[int], on_run: Callable[[str], None] | None
) -> RunResult:
    """The result of ``spec``: of an earlier benchmark with the same spec, or of a new process."""
    file = folder / f"{spec.method}-{spec.trials}-seed{spec.seed}.json"
    given = {"spec": dataclasses.asdict(spec), "marks": marks}
    result = _read(file)
    if result is not None and result.spec == spec and set(marks) <= set(result.seconds_at):
        return result
    if on_run is not None:
        on_run(f"{spec.workload}: {spec.method}, seed {spec.seed}, {spec.trials} trials")
    request = file.with_suffix(".spec")
    request.write_text(json.dumps(given))
    # TVM counts each CPU as half a core: without this, its own runner would use half of them.
    threads = {"TVM_NUM_THREADS": str(cores_for(spec.target))}
    try:
        done = subprocess.run(
            module_command("wmhub.bench.search_run", str(request), str(file)),
            env={**os.environ, **threads},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        request.unlink()
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise MeasureError(f"{spec.workload}, {spec.method}, seed {spec.seed}: {lines[-1][:300]}")
    made = _read(file)
    if made is None:
        raise MeasureError(f"{file}: the run left no result that can be read")
    return made


def _read(file: Path) -> RunResult | None:
    """The result in a file; None of one that is not there, of an earlier format, or damaged."""
    try:
        data = json.loads(file.read_text())
        return RunResult(
            spec=RunSpec(**data["spec"]),
            curve=[(int(n), float(t), float(latency)) for n, t, latency in data["curve"]],
            checkpoints={int(mark): str(program) for mark, program in data["checkpoints"].items()},
            failed=int(data["failed"]),
            seconds=float(data["seconds"]),
            seconds_at={int(mark): float(at) for mark, at in data["seconds_at"].items()},
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _final_latencies(
    folder: Path,
    runs: Sequence[RunResult],
    target: dict[str, Any],
    on_run: Callable[[str], None] | None,
) -> dict[FinalKey, float | None]:
    """Seconds of every best program, all built and measured together in shuffled rounds."""
    from wmhub.measure.candidate import Program
    from wmhub.measure.engine import Engine
    from wmhub.measure.timing import ANY_RATIO, TimingPlan

    programs = {
        (run.spec.method, mark, run.spec.seed): program
        for run in runs
        for mark, program in run.checkpoints.items()
    }
    file = folder / "final.json"
    # Every program alike: none is timed less because it is slower than another.
    plan = TimingPlan(
        rounds=_FINAL_TIMINGS, extra_rounds=0, slow_ratio=ANY_RATIO, close_ratio=ANY_RATIO
    )
    spec = runs[0].spec
    how = f"{spec.hardware}\n{spec.tvm}\n{sorted(target.items())}\n{_FINAL_ROUNDS} of {plan}\n"
    digests = {
        key: hashlib.blake2b((how + program).encode(), digest_size=8).hexdigest()
        for key, program in programs.items()
    }
    with contextlib.suppress(OSError, ValueError, TypeError):  # None yet, or a damaged one.
        rows = json.loads(file.read_text())
        if {(method, mark, seed): digest for method, mark, seed, digest, _ in rows} == digests:
            return {(method, mark, seed): _settled(times) for method, mark, seed, _, times in rows}
    if on_run is not None:
        on_run(f"{folder.name}: {len(programs)} best programs measured together")
    seconds: dict[FinalKey, list[tuple[float, ...]]] = {key: [] for key in programs}
    order = np.random.default_rng(0)
    with Engine(target, workers=1, plan=plan, run_timeout_seconds=60.0) as engine:
        for _ in range(_FINAL_ROUNDS):
            keys = [list(programs)[i] for i in order.permutation(len(programs))]
            measured = engine.measure([Program(programs[key], folder.name) for key in keys])
            for key, result in zip(keys, measured, strict=True):
                seconds[key].append(result.run_seconds)
    rows = [[*key, digests[key], seconds[key]] for key in programs]
    write_file(file, (json.dumps(rows) + "\n").encode())
    return {key: _settled(times) for key, times in seconds.items()}


def _settled(rounds: Sequence[Sequence[float]]) -> float | None:
    """Median over the rounds of the median of each.

    Programs of one workload are timed in turns, so that what slows the machine slows all of them;
    where its buffers lie in memory, each round draws anew. Not the least of each: some programs
    are twice as fast for a moment, and the ratio of two medians repeats within 6 %, that of the
    two least within 9 % (one standard deviation, of pairs measured in several hours).
    """
    ran = [statistics.median(times) for times in rounds if times]
    return statistics.median(ran) if ran else None
