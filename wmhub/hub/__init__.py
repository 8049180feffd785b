"""Publish, find, pin and verify models and datasets.

``from_pretrained`` loads an evaluator; ``resolve_model`` and ``resolve_dataset`` turn a name into a
verified folder; ``nearest_model`` chooses for a machine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wmhub.hub.listing import Listed, Listing, datasets, models
from wmhub.hub.locking import lock
from wmhub.hub.nearest import Nearest, nearest_model
from wmhub.hub.resolve import Locked, Resolved, resolve_dataset, resolve_model
from wmhub.hub.unknown import known_hardware

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator

__all__ = [
    "Listed",
    "Listing",
    "Nearest",
    "Resolved",
    "datasets",
    "from_pretrained",
    "known_hardware",
    "lock",
    "models",
    "nearest_model",
    "resolve_dataset",
    "resolve_model",
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
