"""Whole networks of PyTorch: as they are, and compiled by PyTorch, by TVM's tuner and by ours.

Every step is a process of its own, one after the other; libraries are kept, so that an interrupted
benchmark goes on where it was. At the end all are timed in turns, round after round, and the output
of each library is compared with PyTorch's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmhub.bench.network_run import Request
from wmhub.bench.search_spec import run_code
from wmhub.code_digest import code_digest
from wmhub.errors import InvalidInputError, MeasureError
from wmhub.flushing import write_file
from wmhub.measure.network_timing import answer_of, time_network
from wmhub.measure.targets import cores_for

#: Method -> what it is, in the order of the table.
METHODS = {
    "torch": "PyTorch as it is",
    "inductor": "torch.compile, with weights as constants",
    "tvm": "TVM's own tuner, static_shape_tuning_pipeline with cpu_weight_prepack",
    "zero": "the checkpoint's own choice, nothing measured",
    "wmhub": "our tuner",
}
#: Those that leave a library.
_COMPILED = ("tvm", "zero", "wmhub")
#: What decides how they do.
_CODE = ("bench/network_run.py", "bench/torch_networks.py")
#: Rounds of timing.
_ROUNDS = 5
#: A run of one method is given up after so many seconds.
_TIMING_SECONDS = 600.0


@dataclass(frozen=True)
class MethodResult:
    """What one method made of a network."""

    latency_s: float
    """Median over rounds of the median run time, in seconds."""
    least_s: float
    """Of the fastest round."""
    most_s: float
    """Of the slowest round."""
    wall_s: float | None
    """Wall time of tuning and compiling in a fresh process, in seconds; ``None`` for PyTorch."""
    difference: float | None
    """Largest difference of an output to PyTorch's, as a share of the largest output."""


@dataclass(frozen=True)
class NetworkBench:
    """The outcome of the benchmark for one network."""

    network: str
    """Key of `torch_networks.NETWORKS`."""
    hardware: str
    """Key of this CPU."""
    model: str
    """Checkpoint."""
    trials: int
    """Measurements of TVM's tuner, and of ours."""
    threads: int
    """Of each run."""
    methods: dict[str, MethodResult]
    """By name, as ``METHODS``."""

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return dataclasses.asdict(self)


def bench_network(
    output: str | Path,
    network: str,
    *,
    model: str,
    trials: int,
    methods: Iterable[str] = METHODS,
    on_run: Callable[[str], None] | None = None,
) -> NetworkBench:
    """Makes what is missing in the folder ``output`` and times all of it on this CPU.

    Raises ``InvalidInputError`` for an unknown network or method, and ``MeasureError`` where a step
    fails.
    """
    from wmhub.bench.torch_networks import NETWORKS
    from wmhub.hardware.probe import measured_here
    from wmhub.hub import resolve_model
    from wmhub.search.choose import target_for
    from wmhub.tvm_compat import tvm

    chosen = [method for method in METHODS if method in {*methods}]
    if network not in NETWORKS or not chosen or {*methods} - {*METHODS} or trials < 1:
        raise InvalidInputError(
            f"networks are {', '.join(NETWORKS)}; methods are {', '.join(METHODS)}; and trials "
            "must be positive"
        )
    here = measured_here(None)
    target = target_for(here, None, runs_here=True)
    threads = cores_for(target)
    digest = resolve_model(model).manifest.digest
    tell = on_run or (lambda _: None)
    requests = {}
    for method in chosen:
        # What one does not depend on is not part of what it is asked.
        used = model if method in ("zero", "wmhub") else ""
        count = trials if method in ("tvm", "wmhub") else 0
        folder = str(Path(output, network, f"{method}-{count}" if count else method))
        requests[method] = Request(network, method, used, target, count, threads, folder)
    made: dict[str, tuple[Path, float]] = {}
    for method in _COMPILED:
        if method in requests:
            ours = [] if method == "tvm" else [digest, run_code("wmhub")]
            by = [code_digest(*_CODE), str(tvm.__version__), str(here), *ours]
            made[method] = _made(requests[method], by, tell)
    differences = {
        method: float(_step("compare", requests[method], str(library)))
        for method, (library, _) in made.items()
    }
    times = _timed(requests, {method: library for method, (library, _) in made.items()}, tell)
    results = {
        method: MethodResult(
            statistics.median(seconds),
            min(seconds),
            max(seconds),
            made[method][1] if method in made else None,
            differences.get(method),
        )
        for method, seconds in times.items()
    }
    return NetworkBench(network, str(here), model, trials, threads, results)


def _made(request: Request, by: list[str], tell: Callable[[str], None]) -> tuple[Path, float]:
    """A library and the wall time it took: an earlier benchmark's, by the same request and means,
    or one that is made now."""
    folder = Path(request.folder)
    note = folder.with_suffix(".json")
    wanted = {"request": dataclasses.asdict(request), "by": by}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(note.read_text())
        library = Path(known["library"])
        if {key: known[key] for key in wanted} == wanted and library.is_file():
            return library, float(known["seconds"])
    tell(f"{request.network}: {METHODS[request.method]}, {request.trials} trials")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    library = Path(_step("make", request))
    seconds = time.monotonic() - began
    write_file(note, json.dumps({**wanted, "library": str(library), "seconds": seconds}).encode())
    return library, seconds


def _timed(
    requests: dict[str, Request], libraries: dict[str, Path], tell: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds of each method in each round."""
    from wmhub.bench.torch_networks import exported

    times: dict[str, list[float]] = {method: [] for method in requests}
    shape = list(exported(next(iter(requests.values())).network)[1].shape)
    arguments = [["TENSOR", "float32", shape]]
    for number in range(1, _ROUNDS + 1):
        tell(f"round {number} of {_ROUNDS}: {', '.join(requests)}")
        for method, request in requests.items():
            library = libraries.get(method)
            times[method].append(
                float(_step("time", request))
                if library is None
                else time_network(
                    library, "main", arguments, "cpu", request.threads, _TIMING_SECONDS
                )
            )
    return times


def _step(step: str, request: Request, *arguments: str) -> Any:
    """What a process of its own found."""
    text = json.dumps(dataclasses.asdict(request))
    try:
        said = answer_of(["wmhub.bench.network_run", step, text, *arguments], request.threads)
    except MeasureError as error:
        raise MeasureError(f"{request.network}, {request.method}: {error}") from None
    return json.loads(said)
