"""wmhub: datasets and pretrained evaluators for compiler world models.

Importing this package loads none of torch, tvm, datasets or huggingface_hub; each public name is
imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

#: Public name -> module that defines it. ``tests/test_init.py`` asserts this surface.
_PUBLIC = {
    "DatasetId": "wmhub.names",
    "HardwareKey": "wmhub.names",
    "MeasureRecord": "wmhub.records",
    "ModelId": "wmhub.names",
    "WmhubError": "wmhub.errors",
    "collect": "wmhub.collection",
    "contribute": "wmhub.hub",
    "datasets": "wmhub.hub",
    "evaluate": "wmhub.training.evaluation",
    "from_pretrained": "wmhub.hub",
    "demo": "wmhub.search.demo",
    "load_dataset": "wmhub.load",
    "lock": "wmhub.hub",
    "models": "wmhub.hub",
    "push": "wmhub.hub",
    "schedule": "wmhub.search.tune",
    "train": "wmhub.training.run",
    "tune": "wmhub.search.tune",
}

__all__ = ["__version__", *sorted(_PUBLIC)]

if TYPE_CHECKING:
    from wmhub.collection import collect
    from wmhub.errors import WmhubError
    from wmhub.hub import contribute, datasets, from_pretrained, lock, models, push
    from wmhub.load import load_dataset
    from wmhub.names import DatasetId, HardwareKey, ModelId
    from wmhub.records import MeasureRecord
    from wmhub.search.demo import demo
    from wmhub.search.tune import schedule, tune
    from wmhub.training.evaluation import evaluate
    from wmhub.training.run import train


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'wmhub' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
