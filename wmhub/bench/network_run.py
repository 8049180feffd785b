"""One step of ``wmhub bench network``, in a process of its own: ``python -m ... STEP REQUEST``.

``REQUEST`` is a JSON object with the fields of `Request`; what the step found is the last line of
standard output.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmhub.bench.search_spec import STOCK_BUILD_SECONDS
from wmhub.children import safely_started

#: Runs of a network whose median counts, after some that warm it up.
_RUNS, _WARM_RUNS = 50, 10


@dataclass(frozen=True)
class Request:
    """What a step is about."""

    network: str
    """Key of `torch_networks.NETWORKS`."""
    method: str
    """Key of `network.METHODS`."""
    model: str
    """Checkpoint, as ``from_pretrained`` takes it; empty where none is used."""
    target: dict[str, Any]
    """TVM's target dictionary."""
    trials: int
    """Measurements, of all operators together; 0 where nothing is measured."""
    threads: int
    """Of each run."""
    folder: str
    """Where what is made is written."""


def make(request: Request) -> str:
    """Tunes and compiles a network; the path of its library."""
    return _made_by_tvm(request) if request.method == "tvm" else _made_by_us(request)


def _made_by_us(request: Request) -> str:
    from wmhub.bench.torch_networks import exported
    from wmhub.search.tune import tune

    result = tune(
        exported(request.network)[0],
        model=request.model,
        trials=request.trials,
        output=request.folder,
        target=request.target,
        allow_other_hardware=True,
    )
    (network,) = result.networks
    if network.library is None:
        raise RuntimeError("; ".join(result.notes))
    return str(network.library)


def _made_by_tvm(request: Request) -> str:
    """As its ``static_shape_tuning_pipeline`` with ``cpu_weight_prepack`` does it, with its
    defaults; but for the builder's time limit, see `wmhub.bench.search_run`, and with batches so
    small that every operator gets one: of 64 each, the last ones would go without."""
    import importlib

    importlib.import_module("tvm.s_tir.tensor_intrin")
    import tvm
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program
    from tvm.s_tir import meta_schedule as ms

    from wmhub.bench.torch_networks import exported

    target, passes = tvm.target.Target(request.target), relax.transform
    with target, safely_started():
        before = (
            passes.DecomposeOpsForInference(),
            passes.CanonicalizeBindings(),
            relax.get_pipeline("zero"),
            passes.AttachAttrLayoutFreeBuffers(),
        )
        module = from_exported_program(exported(request.network)[0])
        module = tvm.transform.Sequential(list(before))(module)
        tasks = len(ms.relax_integration.extract_tasks(module, target))
        ms.relax_integration.tune_relax(
            mod=module,
            params={},
            target=target,
            work_dir=request.folder,
            max_trials_global=request.trials,
            num_trials_per_iter=max(1, min(64, request.trials // tasks)),
            builder=ms.builder.LocalBuilder(
                max_workers=ms.utils.cpu_count(logical=False), timeout_sec=STOCK_BUILD_SECONDS
            ),
        )
        after = (
            passes.MetaScheduleApplyDatabase(request.folder),
            passes.SplitLayoutRewritePreproc(),
            passes.LiftTransformParams(),
            passes.FoldConstant(),
        )
        module = tvm.transform.Sequential(list(after))(module)
        library = Path(request.folder, "network.so")
        tvm.compile(module, target=target).export_library(str(library))
    return str(library)


def compare(request: Request, library: str) -> float:
    """The largest difference between the outputs of a library and of PyTorch, as a share of the
    largest output."""
    import torch

    from wmhub.bench.torch_networks import exported
    from wmhub.tvm_compat import relax, tvm

    program, example = exported(request.network)
    with torch.no_grad():
        right = program.module()(example).numpy()
    machine = relax.VirtualMachine(tvm.runtime.load_module(library), tvm.runtime.device("cpu", 0))
    (output,) = machine["main"](tvm.runtime.tensor(example.numpy()))
    return float(abs(output.numpy() - right).max() / abs(right).max())


def time_torch(request: Request) -> float:
    """Median seconds of a run by PyTorch, as it is or compiled with its weights as constants."""
    import torch

    from wmhub.bench.torch_networks import exported

    torch.set_num_threads(request.threads)
    program, example = exported(request.network)
    network: Callable[..., Any] = program.module()
    if request.method == "inductor":
        from torch._inductor import config

        config.freezing = True
        network = torch.compile(network)
    with torch.no_grad():
        for _ in range(_WARM_RUNS):
            network(example)
        times = []
        for _ in range(_RUNS):
            began = time.perf_counter()
            network(example)
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def main(step: str, text: str, library: str = "") -> None:
    """Does one step and prints what it found, as JSON."""
    request = Request(**json.loads(text))
    if step == "make":
        print(json.dumps(make(request)))
    elif step == "compare":
        print(json.dumps(compare(request, library)))
    elif step == "time":
        print(json.dumps(time_torch(request)))
    else:
        raise ValueError(f"no step is named {step}")


if __name__ == "__main__":
    main(*sys.argv[1:])
