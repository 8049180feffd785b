"""Which workloads train, validate and test: by the hash of the workload, never within one."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from wmhub.records import Workload

if TYPE_CHECKING:
    from wmhub.records import ProgramKey

#: In the order in which they are written and shown.
SPLITS = ("train", "validation", "test")

#: Where on the line of hashes, from 0 to 1, validation and test begin.
_VALIDATION_FROM, _TEST_FROM = 0.8, 0.9


def split_workloads(
    workloads: Mapping[str, Workload],
    test_workloads: Collection[str] = (),
    settled: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The split of each of ``workloads``, as `assign_splits` has it, programs kept together.

    Two versions of TVM may serialise one program differently: its workloads have two ids and one
    key. They are placed as the least of their ids, or where one of them is settled, so that none
    of them is trained on while another is tested.
    """
    first: dict[ProgramKey, str] = {}
    for id_ in sorted(workloads):
        first.setdefault(workloads[id_].program_key, id_)
    of = {id_: first[workload.program_key] for id_, workload in workloads.items()}
    kept = {id_: split for id_, split in (settled or {}).items() if id_ in of}
    chosen = {of[id_] for id_ in test_workloads if id_ in of}
    places = assign_splits(set(of.values()), chosen, {of[id_]: kept[id_] for id_ in kept})
    return {id_: kept.get(id_) or places[of[id_]] for id_ in workloads}


def assign_splits(
    workloads: Collection[str],
    test_workloads: Collection[str] = (),
    settled: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The split of each workload id: about 80, 10 and 10 in a hundred.

    The id, itself a digest, decides, so a workload is in the same split of every dataset that names
    no test workloads and has more than a few: a model that trained on one hardware has not seen the
    test workloads of another. Where ``test_workloads`` are given, they and no others are the test
    split, and one in ten of the rest validates. Three workloads or more leave no split empty: the
    borders move as far as it takes. Workloads in ``settled`` stay where they are: a dataset that
    grows keeps its test split.
    """
    present = set(workloads)
    settled = {id_: split for id_, split in (settled or {}).items() if id_ in present}
    chosen = present & set(test_workloads)
    if settled:
        return {id_: settled.get(id_) or _by_hash(id_, chosen) for id_ in workloads}
    order = sorted(present - chosen)  # Ids of one length: in the order of their places.
    places = [_place(id_) for id_ in order]
    if chosen:
        train = bisect.bisect_left(places, _TEST_FROM)
        if len(order) >= 2:
            train = max(1, min(train, len(order) - 1))
        test = len(order)
    else:
        train = bisect.bisect_left(places, _VALIDATION_FROM)
        test = bisect.bisect_left(places, _TEST_FROM)
        if len(order) >= len(SPLITS):
            train = max(1, min(train, len(order) - 2))
            test = max(train + 1, min(test, len(order) - 1))
    splits = dict.fromkeys(order[:train], "train")
    splits |= dict.fromkeys(order[train:test], "validation")
    splits |= dict.fromkeys(order[test:], "test")
    return splits | dict.fromkeys(sorted(chosen), "test")


def _by_hash(id_: str, chosen: Collection[str]) -> str:
    if chosen:
        return "test" if id_ in chosen else "train" if _place(id_) < _TEST_FROM else "validation"
    if _place(id_) < _VALIDATION_FROM:
        return "train"
    return "validation" if _place(id_) < _TEST_FROM else "test"


def _place(id_: str) -> float:
    return int(id_[1:9], 16) / 2**32
