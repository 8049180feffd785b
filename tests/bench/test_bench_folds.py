from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from dealing import Named

from wmhub.bench.folds import dealt, parts_of
from wmhub.errors import DatasetError


def store_of(**parts: str) -> Any:
    """A store with workloads by split, separated by blanks."""
    held = {
        split: [types.SimpleNamespace(workload=Named(name)) for name in names.split()]
        for split, names in parts.items()
    }
    return types.SimpleNamespace(folder=Path("store"), split=lambda name: held.get(name, []))


def names(workloads: Any) -> list[str]:
    return sorted(one.workload.id for one in workloads)


def test_a_split_is_one_part() -> None:
    store = store_of(train="a b c@0.25 d@0.25", validation="c@0.27 e@0.25", test="d@0.27 e@0.27 f")
    for split, held in (("validation", ["c@0.27"]), ("test", ["d@0.27", "e@0.27", "f"])):
        (part,) = parts_of(store, "the dataset", split, 3)
        # Of another version of TVM, too, nobody trains on what judges.
        assert (part.name, names(part.training), names(part.held_out)) == ("", ["a", "b"], held)


def test_folds_hold_out_each_workload_once_and_never_touch_what_is_tested() -> None:
    store = store_of(train="a@0.25 a@0.27 b c d e@0.25", validation="f g", test="x e@0.27")
    parts = parts_of(store, "the dataset", "folds", 3)
    assert [part.name for part in parts] == ["fold 0", "fold 1", "fold 2"]
    whole = ["a@0.25", "a@0.27", "b", "c", "d", "f", "g"]
    assert sorted(name for part in parts for name in names(part.held_out)) == whole
    for part in parts:
        assert sorted(names(part.training) + names(part.held_out)) == whole
        # One program of two versions of TVM is one.
        apart = [{one.workload.program_key for one in side}
                 for side in (part.training, part.held_out)]  # fmt: skip
        assert not apart[0] & apart[1]


def test_too_few_workloads_are_told() -> None:
    with pytest.raises(DatasetError, match=r"the dataset has 3 workloads .* 2 folds need 4"):
        parts_of(store_of(train="a b", validation="c", test="d"), "the dataset", "folds", 2)
    with pytest.raises(DatasetError, match=r"^the dataset: .* train has 1, validation 0"):
        parts_of(store_of(train="a", test="b"), "the dataset", "validation", 3)
    with pytest.raises(DatasetError, match="the two share 0"):
        list(dealt({}, 2, "the two share"))
