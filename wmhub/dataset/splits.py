"""Which workloads train, validate and test: by the hash of the workload, never within one."""

from __future__ import annotations

import bisect
from collections.abc import Collection

#: In the order in which they are written and shown.
SPLITS = ("train", "validation", "test")

#: Where on the line of hashes, from 0 to 1, validation and test begin.
_VALIDATION_FROM, _TEST_FROM = 0.8, 0.9


def assign_splits(
    workloads: Collection[str], test_workloads: Collection[str] = ()
) -> dict[str, str]:
    """The split of each workload id: about 80, 10 and 10 in a hundred.

    The id, itself a digest, decides, so a workload is in the same split of every dataset: a model
    that trained on one hardware has not seen the test workloads of another. Where
    ``test_workloads`` are given, they and no others are the test split. Three workloads or more
    leave no split empty: the borders move as far as it takes.
    """
    chosen = set(test_workloads) & set(workloads)
    order = sorted(set(workloads) - chosen, key=_place)
    places = [_place(id_) for id_ in order]
    validation = bisect.bisect_left(places, _TEST_FROM if chosen else _VALIDATION_FROM)
    test = len(order) if chosen else bisect.bisect_left(places, _TEST_FROM)
    if len(order) >= 3 or (chosen and len(order) == 2):
        if not chosen:
            validation = max(1, min(validation, len(order) - 2))
            test = max(validation + 1, min(test, len(order) - 1))
        else:
            validation = max(1, min(validation, len(order) - 1))
    splits = dict.fromkeys(order[:validation], "train")
    splits |= dict.fromkeys(order[validation:test], "validation")
    splits |= dict.fromkeys(order[test:], "test")
    return splits | dict.fromkeys(chosen, "test")


def _place(id_: str) -> float:
    return int(id_[1:9], 16) / 2**32
