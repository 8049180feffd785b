"""The processes that train together, as torch's launcher (``torchrun``) started them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from wmhub.errors import InvalidInputError
from wmhub.training.metrics import Metrics

#: How long the others wait for the first process to encode or to validate; one that died is no
#: matter of time, for the launcher ends the others.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    """Its number; 0 writes and prints."""
    size: int = 1
    """How many there are."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where it trains."""
    local_rank: int = 0
    """Its number among those of its machine."""

    @property
    def is_first_here(self) -> bool:
        """Whether this process encodes, for all of its machine."""
        return self.local_rank == 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def all_or_none(self, value: bool) -> bool | None:
        """What all processes say; ``None`` where they do not agree."""
        share = self.mean(float(value))
        return bool(share) if share in (0.0, 1.0) else None

    def mean(self, value: float) -> float:
        """The mean of what each process gives."""
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        if self.size > 1:
            distributed.all_reduce(told)
        return float(told) / self.size

    def agreed(self, values: Sequence[float]) -> list[float]:
        """What process 0 says; the others give as many values, which are dropped."""
        told = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.size > 1:
            distributed.broadcast(told, src=0)
        return [float(v) for v in told.tolist()]

    def agreed_metrics(self, metrics: Metrics) -> Metrics:
        """The same for metrics."""
        values: dict[str, Any] = dict(
            zip((f.name for f in fields(Metrics)), self.agreed(astuple(metrics)), strict=True)
        )
        return Metrics(**{**values, "workloads": int(values["workloads"])})


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Joins the processes of the launcher, if there is one; leaves them at the end.

    ``device`` is ``cpu``, ``cuda`` or ``auto`` (a GPU where there is one). Raises
    ``InvalidInputError`` for a device that is not there.
    """
    rank, size, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    where = _device(device)
    if size == 1:
        yield World(device=where)
        return
    if where.type == "cuda":
        torch.cuda.set_device(where)
    gpu = where if where.type == "cuda" else None
    distributed.init_process_group(
        "gloo" if gpu is None else "nccl", timeout=_PATIENCE, device_id=gpu
    )
    try:
        yield World(rank, size, where, local)
    finally:
        # Modules of torch's own that still know the group stand in cycles.
        gc.collect()
        distributed.destroy_process_group()


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise InvalidInputError(f"device {name!r} is none of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError("device cuda: torch sees no GPU; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local, seen = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= seen:
        raise InvalidInputError(
            f"process {local + 1} of this machine sees {seen} GPU(s): start one process for each "
            "(--nproc-per-node), or use --device cpu"
        )
    return torch.device("cuda", local)
