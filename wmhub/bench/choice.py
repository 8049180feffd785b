"""How good the programs are that models choose for themselves, measured on this machine.

A recorded dataset holds what others have chosen. A search goes where a model errs in a program's
favour, and no ranking of records shows that: here each model evolves candidates on its own, its
best are measured, and all models are compared with the fastest that any of them has found.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmhub.bench.search_spec import workload_module
from wmhub.errors import InvalidInputError, MeasureError
from wmhub.evaluator import Evaluator
from wmhub.hardware.probe import measured_here
from wmhub.hub import from_pretrained
from wmhub.measure.candidate import Program
from wmhub.measure.engine import Engine
from wmhub.measure.programs import save_program
from wmhub.measure.sources import NamedWorkload
from wmhub.measure.targets import cores_for
from wmhub.names import HardwareKey
from wmhub.search.choose import target_for
from wmhub.search.job import Job
from wmhub.search.latent_config import LatentSearchConfig
from wmhub.search.learner import Learner
from wmhub.tvm_compat import use_target

#: Of the zoo, and none that is held out: what is learned here may be used.
WORKLOADS = (
    "conv2d-n1-h7-w7-ci512-co512-k3-s1-p1-bn-relu",
    "conv2d-n1-h56-w56-ci64-co64-k3-s1-p1-nchw",
    "conv2d-n1-h56-w56-ci256-co256-k3-s2-p1-g32-bn-relu",
    "dense-m32-n768-k3072-bias",
    "depthwise2d-n1-h112-w112-c96-k3-s2-p1-bn-silu",
    "depthwise2d-n1-h29-w29-c72-k3-s2-p1-bias-relu",
    "deconv2d-n1-h4-w4-ci512-co256-k4-s2-p1-bn-relu",
    "deconv2d-n1-h10-w10-ci96-co48-k3-s1-p1-nhwc-bias-relu",
    "layernorm-m128-n4096",
    "softmax-m196-n196",
    "conv3d-n1-t4-h4-w4-ci256-co256-kt3-k3-st1-s1-pt1-p1-nchw",
    "conv3d-n1-t13-h10-w10-ci216-co96-kt1-k1-st1-s1-pt0-p0-bn",
    "bmm-b12-m200-n200-k40-nt",
    "matmul-m101-n509-k64",
    "capsule2d-n1-h14-w14-ci16-co32-c4-k3-s2-p1",
)
#: The best alone, and what would be chosen without a trial first.
_GREEDY = LatentSearchConfig(exploration=0.0, greedy=1.0)


@dataclass(frozen=True)
class Choice:
    """What one model chose for one workload; ratios of latencies to the fastest that any found."""

    workload: str
    """Name."""
    seed: int
    model: str
    """Name of the checkpoint."""
    first: float
    """Of what it would give without a trial."""
    typical: float
    """Geometric mean of its best."""
    best: float
    """Of the fastest of them."""
    failed: int
    """Those of its best that could not be built or run: in none of the ratios but ``first``, which
    is infinite then."""


@dataclass(frozen=True)
class ModelChoices:
    """One model's over all workloads and seeds."""

    model: str
    """Name of the checkpoint."""
    first: float
    """Geometric mean; see `Choice`."""
    worst_first: float
    """The largest."""
    typical: float
    """Geometric mean."""
    best: float
    """Geometric mean."""


def choice(
    models: Sequence[str],
    workloads: Sequence[str] = WORKLOADS,
    *,
    count: int = 12,
    seeds: int = 1,
    hardware: HardwareKey | str | None = None,
    told: Callable[[Choice], None] = lambda _: None,
) -> list[ModelChoices]:
    """Measures the ``count`` best of each of ``models`` for each of ``workloads``.

    ``hardware``: a device of this machine, by default its CPU. ``told`` hears of each result.
    Raises ``InvalidInputError`` for a workload that there is not, ``MeasureError`` where nothing
    runs.
    """
    if not models or count < 1 or seeds < 1:
        raise InvalidInputError("there must be a model, a candidate and a seed at least")
    here = measured_here(hardware)
    target = target_for(here, None, runs_here=True)
    evaluators = {model: from_pretrained(model) for model in models}
    tasks = [NamedWorkload(name, workload_module(name)) for name in workloads]
    found: list[Choice] = []
    with tempfile.TemporaryDirectory() as folder, Engine(target) as engine:
        for task in tasks:
            for seed in range(seeds):
                chosen = {
                    model: _chosen(evaluator, task, target, here, seed, count, Path(folder))
                    for model, evaluator in evaluators.items()
                }
                for one in _measured(engine, task.name, seed, chosen):
                    found.append(one)
                    told(one)
    return [_summary(model, [one for one in found if one.model == model]) for model in models]


def _chosen(
    evaluator: Evaluator,
    task: NamedWorkload,
    target: dict[str, object],
    here: HardwareKey,
    seed: int,
    count: int,
    folder: Path,
) -> list[str]:
    """The best programs for ``task``, as ``save_program`` has them."""
    job = Job(
        name=task.name, hardware=here, measured_on=(), search="latent", notes=(), tasks=[task],
        target=use_target(target), learner=Learner(evaluator, adapt=False), config=_GREEDY,
        cores=cores_for(target), seed=seed, trials=0, batch=count, folder=folder,
    )  # fmt: skip
    search = job.search_of(job.context(task))
    return [save_program(schedule.mod) for _, schedule in search.batch(count)]


def _measured(
    engine: Engine, workload: str, seed: int, chosen: dict[str, list[str]]
) -> list[Choice]:
    """What each model's programs are worth; of several models each program is measured once."""
    programs = list(dict.fromkeys(text for texts in chosen.values() for text in texts))
    results = engine.measure([Program(text, f"{workload} {seed}") for text in programs])
    seconds = {
        text: statistics.median(result.run_seconds) if result.failure is None else np.inf
        for text, result in zip(programs, results, strict=True)
    }
    fastest = min(seconds.values(), default=np.inf)
    if not np.isfinite(fastest):
        raise MeasureError(f"{workload}: none of {len(programs)} programs runs")
    found = []
    for model, texts in chosen.items():
        ratios = np.asarray([seconds[text] for text in texts]) / fastest
        ran = ratios[np.isfinite(ratios)]
        if not len(ran):
            raise MeasureError(f"{workload}: no program of {model} runs")
        typical = float(np.exp(np.log(ran).mean()))
        failed = len(ratios) - len(ran)
        found.append(
            Choice(workload, seed, model, float(ratios[0]), typical, float(ran.min()), failed)
        )
    return found


def _summary(model: str, choices: Sequence[Choice]) -> ModelChoices:
    """Means over what one model chose."""
    columns = np.asarray([(one.first, one.typical, one.best) for one in choices])
    first, typical, best = np.exp(np.log(columns).mean(axis=0)).tolist()
    return ModelChoices(model, first, float(columns[:, 0].max()), typical, best)
