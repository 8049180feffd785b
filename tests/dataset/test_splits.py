from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from wmhub.dataset.splits import SPLITS, assign_splits, split_workloads
from wmhub.records import Scheduler, Workload

ids = st.sets(st.integers(0, 2**80 - 1).map(lambda n: f"w{n:020x}"), max_size=60)


def test_golden() -> None:
    names = {f"w{place:08x}{0:012x}": split for place, split in PLACES.items()}
    assert assign_splits(names) == names


PLACES = {0: "train", 0xCCCCCCCC: "train", 0xCCCCCCCD: "validation", 0xE6666667: "test"}


@given(ids)
def test_every_workload_is_in_one_split_and_three_leave_none_empty(names: set[str]) -> None:
    splits = assign_splits(names)
    assert splits.keys() == names
    assert set(splits.values()) <= set(SPLITS)
    if len(names) >= 3:
        assert set(splits.values()) == set(SPLITS)


@given(ids, st.randoms())
def test_explicit_test_workloads_and_no_others(names: set[str], chance: object) -> None:
    chosen = {name for name in names if chance.random() < 0.3}  # type: ignore[attr-defined]
    splits = assign_splits(names, chosen)
    assert splits.keys() == names
    if chosen:
        assert {name for name, split in splits.items() if split == "test"} == chosen
        if len(names - chosen) >= 2:
            assert {"train", "validation"} <= set(splits.values())


@given(ids, ids)
def test_a_dataset_that_grows_keeps_its_splits(old: set[str], new: set[str]) -> None:
    before = assign_splits(old)
    after = assign_splits(old | new, settled=before)
    assert after.keys() == old | new
    assert all(after[name] == before[name] for name in old)


def test_fractions_of_many() -> None:
    import hashlib

    names = {"w" + hashlib.sha256(str(n).encode()).hexdigest()[:20] for n in range(5000)}
    counts = Counter(assign_splits(names).values())
    assert 0.77 < counts["train"] / 5000 < 0.83
    assert 0.08 < counts["validation"] / 5000 < 0.12


def test_many_workloads_are_not_gone_through_for_each_of_them() -> None:
    class Watched(list[str]):
        times = 0

        def __iter__(self) -> Iterator[str]:
            self.times += 1
            return super().__iter__()

    workloads = Watched(f"w{number:020x}" for number in range(100))
    assign_splits(workloads, settled=dict.fromkeys(list(workloads), "train"))
    assert workloads.times < 10


def _workload(id_: str, key: str, scheduler: Scheduler = Scheduler.META_SCHEDULE) -> Workload:
    return Workload(id_, scheduler, key, None)


@given(ids, st.integers(1, 10))
def test_what_one_key_names_is_in_one_split(names: set[str], programs: int) -> None:
    workloads = {name: _workload(name, str(int(name[1:], 16) % programs)) for name in names}
    splits = split_workloads(workloads)
    assert splits.keys() == names
    found: dict[str, set[str]] = {}
    for name, workload in workloads.items():
        found.setdefault(workload.key, set()).add(splits[name])
    assert all(len(where) == 1 for where in found.values())


@given(ids)
def test_workloads_with_keys_of_their_own_are_placed_by_their_ids(names: set[str]) -> None:
    workloads = {name: _workload(name, name) for name in names}
    assert split_workloads(workloads) == assign_splits(names)


def test_another_serialisation_follows_the_settled_and_the_chosen_one() -> None:
    low, high = f"w{0:020x}", "w" + "f" * 20  # By themselves one would train, the other test.
    same = {name: _workload(name, "1") for name in (low, high)}
    others = {f"w{n:020x}": _workload(f"w{n:020x}", f"k{n}") for n in range(1, 6)}
    grown = split_workloads(same | others, settled={high: "test"} | dict.fromkeys(others, "train"))
    assert grown[low] == grown[high] == "test"
    chosen = split_workloads(same | others, test_workloads=[high])
    assert {name for name, split in chosen.items() if split == "test"} == {low, high}
    # A key means nothing from one scheduler to the other.
    ansor = {high: _workload(high, "1", Scheduler.AUTO_SCHEDULER)}
    assert (
        split_workloads({low: same[low]} | ansor | others, settled={low: "train"})[high] == "test"
    )
