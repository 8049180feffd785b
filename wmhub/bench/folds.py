"""What models of one benchmark are trained on and compared on: a split, or folds.

Where few workloads are set apart, folds tell more: each is held out once. Test workloads take no
part in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from wmhub.errors import DatasetError
from wmhub.training.corpus import identities_of
from wmhub.training.store import EncodedStore, StoredWorkload

if TYPE_CHECKING:
    from wmhub.records import ProgramKey

#: The one of ``SPLITS`` that no dataset has.
FOLDS = "folds"
SPLITS = ("validation", "test", FOLDS)

_T = TypeVar("_T")
#: Of which random order workloads are dealt into folds.
_DEAL = 7


@dataclass(frozen=True)
class Part:
    """What one model is trained on, and what it is compared on."""

    name: str
    """Empty where it is the only one."""
    training: list[StoredWorkload]
    held_out: list[StoredWorkload]


def parts_of(store: EncodedStore, what: str, split: str, folds: int) -> list[Part]:
    """The parts of one of ``SPLITS``, of which the last has so many ``folds``; ``what`` names the
    dataset in errors.

    Raises ``DatasetError`` where there are too few workloads.
    """
    tested = identities_of(store.split("test"))
    fit = [one for one in store.split("validation") if not one.workload.identities & tested]
    if split != FOLDS:
        held = fit if split == "validation" else store.split("test")
        judges = tested | identities_of(fit)
        training = [w for w in store.split("train") if not w.workload.identities & judges]
        if not (held and training):
            raise DatasetError(
                f"{what}: training needs workloads with two measured candidates or more in "
                f"each split; train has {len(training)}, {split} {len(held)}"
            )
        return [Part("", training, held)]
    programs: dict[ProgramKey, list[StoredWorkload]] = {}
    for one in (*store.split("train"), *fit):
        if not one.workload.identities & tested:
            programs.setdefault(one.workload.program_key, []).append(one)
    return [
        Part(f"fold {number}", rest, held)
        for number, (held, rest) in enumerate(dealt(programs, folds, f"{what} has"))
    ]


def dealt(
    programs: Mapping[ProgramKey, Sequence[_T]], folds: int, what: str
) -> Iterator[tuple[list[_T], list[_T]]]:
    """Of each fold what is held out, and what is not; all of one key are in one fold.

    Raises ``DatasetError`` where there are fewer than two keys a fold; ``what`` has them.
    """
    keys = sorted(programs)
    if len(keys) < 2 * folds:
        raise DatasetError(
            f"{what} {len(keys)} workloads outside of their test splits; {folds} folds need "
            f"{2 * folds}"
        )
    order = np.random.default_rng(_DEAL).permutation(len(keys))
    for number in range(folds):
        chosen = {keys[i] for i in order[number::folds]}
        held = [one for key in keys if key in chosen for one in programs[key]]
        rest = [one for key in keys if key not in chosen for one in programs[key]]
        yield held, rest
