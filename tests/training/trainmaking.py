"""A small dataset on which a network can learn something: latency follows from one tile size."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import wmhub
from wmhub.model.config import ModelConfig
from wmhub.training.config import TrainConfig

SMALL = TrainConfig(
    model=ModelConfig(latent=16, hidden=32, layers=1, members=2),
    steps=40,
    workloads_per_step=4,
    candidates_per_list=16,
    validate_every=10,
    learning_rate=5e-3,
    trees=3,
)


def steps(extent: int, tile: int, unroll: int) -> list[Any]:
    """Transform steps of a small CPU schedule."""
    return [
        ["SP", 2, 0, extent, [tile, 4], 1],
        ["SP", 2, 3, 32, [8], 1],
        ["RE", 2, [0, 3, 1, 4, 2]],
        ["AN", 2, 0, 3],
        ["PR", 2, 0, f"auto_unroll_max_step${unroll}"],
    ]


def line(workload: int, tile: int, unroll: int) -> str:
    """A tile of 16 is best; unrolling helps a little."""
    seconds = 1e-4 * (workload + 1) * (1 + abs(math.log2(tile) - 4)) * (1.1 - unroll / 10000)
    value = {
        "i": [
            [json.dumps(["matmul", 256, 32, workload]), "llvm -keys=cpu", [2, 64, 64], "", 0, []],
            [[], steps(256, tile, unroll)],
        ],
        "r": [[seconds], 0, 0.5, 1637575039 + tile],
        "v": "v0.6",
    }
    return json.dumps(value) + "\n"


def make_dataset(
    folder: Path, workloads: int = 12, hardware: str = "llvm-emeraldrapids-2c"
) -> Path:
    """A dataset of ``workloads`` with 28 candidates each."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.json"
    log.write_text(
        "".join(
            line(w, 2**t, u) for w in range(workloads) for t in range(7) for u in (0, 16, 64, 512)
        )
    )
    wmhub.collect([log], hardware=hardware, output=folder / "dataset", workers=1)
    return folder / "dataset"
