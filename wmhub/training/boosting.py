"""Fits the trees of a checkpoint: XGBoost on the structured features, one workload at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from wmhub.errors import InvalidInputError, MissingDependencyError
from wmhub.model.config import MOST
from wmhub.model.features import directions_of
from wmhub.model.forest import ALWAYS_LEFT, DEPTH, Forest, TreeTables
from wmhub.model.losses import speed_weight
from wmhub.names import HardwareKey
from wmhub.training.config import TrainConfig
from wmhub.training.data import Examples, by_group

#: Between 0, the logarithm of a speed, and 1, the speed itself.
_POWER = 1 / 3
#: The column that estimates how many times the least a GPU's candidate takes, in powers of two; and
#: up to which that is told apart. Where it says less than the least it is no bound, and tells
#: nothing: folds of V100's workloads rank worse by a tree that tells those apart, too.
_ROOFLINE, _MOST_SLOWDOWN = "gpu.ratio.total", 8.0
#: Share of what trees of another GPU say that others go on from.
_INHERITED = 0.5


def require_xgboost(what: str = "this baseline", extra: str = "bench") -> None:
    """Raises ``MissingDependencyError`` where XGBoost, which ``what`` needs, is not installed."""
    try:
        import xgboost  # noqa: F401
    except ImportError:
        raise MissingDependencyError.named("xgboost", what, extra) from None


def fit_forest(
    training: Sequence[Sequence[Examples]],
    config: TrainConfig,
    base: Forest | None = None,
    threads: int = 1,
    grown: Callable[[int, int], None] = lambda _done, _trees: None,
) -> Forest:
    """``config.trees`` trees fitted to the gains of ``training``, by dataset and workload.

    They learn what `latency_loss` asks of the networks: ratios within a workload, those of fast
    candidates first; how slow a slow one is matters less to them. A workload weighs by the mean
    speed of its candidates, not by how many there are. They go on from the trees of ``base``, and
    without one on a GPU from one more tree, the `roofline`; those are in the result, too. What the
    new trees say goes with a feature as `directions_of` has it. Nothing is chosen here: neither a
    validation nor a test workload is looked at. ``grown`` is told of each tree.

    Raises ``InvalidInputError`` where that comes to more trees than a model may have.
    """
    import xgboost

    workloads = [examples for dataset in training for examples in dataset]
    start = base if base is not None and base.trees else _start(workloads)
    if start.trees + config.trees > MOST["trees"]:
        raise InvalidInputError(
            f"training: {config.trees} trees and the {start.trees} that they go on from are more "
            f"than {MOST['trees']}"
        )
    data = xgboost.QuantileDMatrix(_iterator(workloads, start), max_bin=256, nthread=threads)
    options = {
        "eta": config.tree_rate, "max_depth": DEPTH, "subsample": 0.8, "colsample_bytree": 0.5,
        "min_child_weight": 2.0, "tree_method": "hist", "seed": config.seed, "nthread": threads,
        "monotone_constraints": tuple(directions_of(workloads[0].store.columns)),
    }  # fmt: skip
    sizes = np.asarray([len(examples.gains) for examples in workloads])
    booster = xgboost.Booster(options, [data])
    objective = _objective(sizes)
    for done in range(config.trees):
        booster.update(data, done, objective)
        grown(done + 1, config.trees)
    return start.grown(tables_of(booster))


def _objective(sizes: np.ndarray) -> Callable[[np.ndarray, Any], tuple[np.ndarray, np.ndarray]]:
    """Gradient and second derivative of the squared error whose mean in each workload is taken out.

    ``sizes`` is int64 [W]: the workloads' rows follow each other.
    """
    workload = np.repeat(np.arange(len(sizes)), sizes)

    def derivatives(scores: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        weight = data.get_weight()
        error = scores - data.get_label()
        total = np.bincount(workload, weight)
        error = error - (np.bincount(workload, weight * error) / total)[workload]
        return (weight * error).astype(np.float32), weight

    return derivatives


def structured_of(examples: Examples, rows: np.ndarray) -> np.ndarray:
    """Structured features float32 [R, F] of the examples at positions ``rows``."""
    found: np.ndarray | None = None
    for members, _, structured in by_group(examples, rows):
        if found is None:
            found = np.empty((len(rows), structured.shape[1]), np.float32)
        found[members] = structured
    assert found is not None
    return found


def _label(gains: np.ndarray) -> np.ndarray:
    """What the trees are to say of gains, in nats near the best: their Box and Cox transform.

    A tree spends its leaves where errors are large, which in logarithms is among the slowest.
    """
    return np.asarray(np.expm1(_POWER * gains) / _POWER)


def roofline(columns: Sequence[str]) -> TreeTables:
    """The tree that says of a GPU's candidate what `wmhub.model.gpu_time` estimates: that it takes
    as many times what the program needs at least as its units do together.

    Trees that begin with nothing learn this where there are candidates, and nothing beyond: one of
    another structure, which starts a hundred times as many blocks, they may take for the fastest.
    """
    leaves = 2**DEPTH
    width = _MOST_SLOWDOWN / leaves
    # Level by level, as the nodes are numbered: a level's thresholds halve its parts.
    thresholds = [
        (2 * np.arange(2**level) + 1) * 2 ** (DEPTH - level - 1) * width for level in range(DEPTH)
    ]
    slowdown = (np.arange(leaves) + 0.5) * width
    return TreeTables(
        np.full((1, leaves - 1), list(columns).index(_ROOFLINE), np.int32),
        np.concatenate(thresholds).astype(np.float32)[None, :],
        _label(-np.log(2.0) * slowdown).astype(np.float32)[None, :],
    )


def inherited(forest: Forest, of: HardwareKey, hardware: HardwareKey) -> Forest:
    """The trees of a model of ``of`` that one of ``hardware`` begins with.

    Another GPU's say half of what they say beside the roofline, their first: that tells how the two
    differ, and on the rest they agree in part. CPUs are so much alike that all of it is worth
    having; of the other kind of device nothing is.
    """
    cpus = (of.backend == "llvm") + (hardware.backend == "llvm")
    if of == hardware or cpus == 2:
        return forest
    return Forest(0, forest.features) if cpus == 1 else forest.faded(_INHERITED, kept=1)


def _start(workloads: Sequence[Examples]) -> Forest:
    """What trees go on from: the mean gain, and of GPUs the `roofline`."""
    store = workloads[0].store
    forest = Forest(0, len(store.columns))
    if any(examples.store.is_gpu for examples in workloads):
        forest = forest.grown(roofline(store.columns))
    rest = [_label(examples.gains).mean() - _mean_of(forest, examples) for examples in workloads]
    forest.bias.fill_(float(np.mean(rest)))
    return forest


def _mean_of(forest: Forest, examples: Examples) -> float:
    """What ``forest`` says of ``examples`` on average."""
    if not forest.trees:
        return 0.0
    return float(forest.predict(structured_of(examples, np.arange(len(examples.gains)))).mean())


def _iterator(workloads: Sequence[Examples], start: Forest) -> Any:
    """XGBoost's view of the workloads, which come one by one and are binned at once."""
    import xgboost

    most = np.mean([len(examples.gains) for examples in workloads])

    class Workloads(xgboost.DataIter):
        def __init__(self) -> None:
            super().__init__()
            self.at = 0

        def next(self, input_data: Callable[..., None]) -> bool:
            if self.at == len(workloads):
                return False
            examples = workloads[self.at]
            count = len(examples.gains)
            table = structured_of(examples, np.arange(count))
            input_data(
                data=table,
                label=_label(examples.gains),
                weight=speed_weight(torch.from_numpy(examples.gains)).numpy() * (most / count),
                base_margin=start.predict(table),
            )
            self.at += 1
            return True

        def reset(self) -> None:
            self.at = 0

    return Workloads()


def tables_of(booster: Any) -> TreeTables:
    """The trees of an XGBoost model as complete ones of depth ``DEPTH``.

    Format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
    """
    model = json.loads(booster.save_raw("json"))
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    tables = TreeTables(
        np.zeros((len(trees), 2**DEPTH - 1), np.int32),
        np.full((len(trees), 2**DEPTH - 1), ALWAYS_LEFT, np.float32),
        np.zeros((len(trees), 2**DEPTH), np.float32),
    )
    for number, tree in enumerate(trees):
        _fill(tables, number, tree)
    return tables


def _fill(tables: TreeTables, number: int, tree: dict[str, Any]) -> None:
    left, right = tree["left_children"], tree["right_children"]
    waiting = [(0, 0, 0)]
    while waiting:
        node, place, depth = waiting.pop()
        if left[node] == -1:
            # A leaf holds its value where another node holds its threshold.
            for _ in range(DEPTH - depth):
                place = 2 * place + 1
            tables.leaf[number, place - (2**DEPTH - 1)] = tree["split_conditions"][node]
            continue
        tables.feature[number, place] = tree["split_indices"][node]
        tables.threshold[number, place] = tree["split_conditions"][node]
        waiting.append((left[node], 2 * place + 1, depth + 1))
        waiting.append((right[node], 2 * place + 2, depth + 1))
