"""A small run of ``tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scorers import FakeEvaluator

WORKLOAD = "dense-m32-n48-k64-bias-relu"


def tune(output: Path, **options: Any) -> Any:
    """`wmhub.tune` of six trials unless ``options`` say otherwise."""
    from wmhub.search.evolve import Evolution
    from wmhub.search.latent_config import LatentSearchConfig
    from wmhub.search.tune import tune as really_tune

    small = Evolution(population=64, generations=2)
    config = LatentSearchConfig(evolution=small, later=small)
    options = {"trials": 6, "batch": 3, "model": FakeEvaluator(), "config": config, **options}
    return really_tune(options.pop("workload", WORKLOAD), output=output, **options)
