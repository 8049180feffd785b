"""TVM's ``TuneContext`` of each task, and where what it says goes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wmhub.measure.programs import workload_of
from wmhub.measure.rules import space_generator
from wmhub.measure.sources import NamedWorkload
from wmhub.records import Workload
from wmhub.tvm_compat import meta_schedule as ms


def make_contexts(
    tasks: Sequence[NamedWorkload],
    target: Any,
    strategy: Any,
    *,
    cores: int,
    seed: int,
    log: Path | None,
    packing: bool = True,
) -> list[Any]:
    """One ``TuneContext`` for each task; TVM's own messages go to the file ``log`` while that is
    `logged`.

    Without ``packing`` there is none of our own sketches, see `wmhub.measure.rules`.
    """
    logger = _logger(log)
    seeds = ms.utils.fork_seed(seed, n=len(tasks))
    return [
        ms.TuneContext(
            mod=task.mod,
            target=target,
            space_generator=space_generator(target) if packing else "post-order-apply",
            search_strategy=strategy,
            task_name=task.name,
            rand_state=task_seed,
            num_threads=cores,
            logger=logger,
        ).clone()
        for task, task_seed in zip(tasks, seeds, strict=True)
    ]


def workload_in(context: Any) -> Workload:
    """The workload of ``context``, another for each target: what was learned of one target tells
    nothing of another."""
    workload = workload_of(context.mod)
    return dataclasses.replace(workload, id=f"{workload.id} {context.target}")


def _logger(log: Path | None) -> logging.Logger:
    logger = logging.getLogger(f"wmhub.search.tvm.{log}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        # Without any, Python would print what is a warning.
        logger.addHandler(logging.NullHandler())
    return logger


@contextmanager
def logged(log: Path) -> Iterator[None]:
    """Meanwhile the file ``log`` takes what TVM says of contexts that name it, and what its
    scheduler would print."""
    scheduler, contexts = logging.getLogger("tvm.s_tir.meta_schedule"), _logger(log)
    before = scheduler.handlers[:], scheduler.propagate, scheduler.level
    handler = logging.FileHandler(log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    contexts.addHandler(handler)
    scheduler.handlers, scheduler.propagate = [handler], False
    scheduler.setLevel(logging.INFO)
    try:
        yield
    finally:
        contexts.removeHandler(handler)
        handler.close()
        scheduler.handlers, scheduler.propagate = before[:2]
        scheduler.setLevel(before[2])
