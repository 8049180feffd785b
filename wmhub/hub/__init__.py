"""Publish, find, pin and verify models and datasets.

``from_pretrained`` loads an evaluator; ``resolve_model`` and ``resolve_dataset`` turn a name into a
verified folder; ``nearest_model`` chooses for a machine. The rest is imported when first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from wmhub.errors import InvalidInputError
from wmhub.hub.nearest import Nearest, nearest_model
from wmhub.hub.resolve import Locked, Resolved, resolve_dataset, resolve_model
from wmhub.hub.unknown import known_hardware

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator
    from wmhub.hub.contributing import (
        contribute,
        create_community,
        merge_contribution,
        review_contribution,
    )
    from wmhub.hub.listing import datasets, models
    from wmhub.hub.locking import lock
    from wmhub.hub.pushing import push

#: Name -> module that defines it, for those that load more than a name needs.
_LAZY = {
    "contribute": "wmhub.hub.contributing",
    "create_community": "wmhub.hub.contributing",
    "datasets": "wmhub.hub.listing",
    "lock": "wmhub.hub.locking",
    "merge_contribution": "wmhub.hub.contributing",
    "models": "wmhub.hub.listing",
    "push": "wmhub.hub.pushing",
    "review_contribution": "wmhub.hub.contributing",
}

__all__ = [
    "Nearest",
    "Resolved",
    "contribute",
    "create_community",
    "datasets",
    "evaluator_of",
    "from_pretrained",
    "known_hardware",
    "lock",
    "merge_contribution",
    "models",
    "nearest_model",
    "push",
    "resolve_dataset",
    "resolve_model",
    "review_contribution",
]


def from_pretrained(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    locked: Locked = None,
    hub: str | None = None,
) -> Evaluator:
    """Loads the evaluator that a name or a path means; see ``resolve_model`` for names and errors.

    >>> evaluator = from_pretrained("wm-llvm-emeraldrapids-2c")  # doctest: +SKIP
    """
    resolved = resolve_model(
        name_or_path, revision=revision, offline=offline, locked=locked, hub=hub
    )
    from wmhub.evaluator import load_evaluator

    return load_evaluator(resolved.folder)


def evaluator_of(model: str | os.PathLike[str] | Evaluator, locked: Locked = None) -> Evaluator:
    """``from_pretrained`` of a name or a path, or the evaluator that is given.

    Raises ``InvalidInputError`` for a lock with an evaluator, which is loaded already.
    """
    if isinstance(model, (str, os.PathLike)):
        return from_pretrained(model, locked=locked)
    if locked is not None:
        raise InvalidInputError("a lock names models that are yet to be loaded: give the name")
    return model


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'wmhub.hub' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
