"""Publish, find, pin and verify models and datasets.

``from_pretrained`` loads an evaluator; ``resolve_model`` and ``resolve_dataset`` turn a name into a
verified folder; ``nearest_model`` chooses for a machine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wmhub.hub.nearest import Nearest, nearest_model
from wmhub.hub.resolve import Resolved, known_hardware, resolve_dataset, resolve_model

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator

__all__ = [
    "Nearest",
    "Resolved",
    "from_pretrained",
    "known_hardware",
    "nearest_model",
    "resolve_dataset",
    "resolve_model",
]


def from_pretrained(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    hub: str | None = None,
) -> Evaluator:
    """Loads the evaluator that a name or a path means; see ``resolve_model`` for names and errors.

    >>> evaluator = from_pretrained("wm-llvm-emeraldrapids-2c")  # doctest: +SKIP
    """
    resolved = resolve_model(name_or_path, revision=revision, offline=offline, hub=hub)
    from wmhub.evaluator import load_evaluator

    return load_evaluator(resolved.folder)
