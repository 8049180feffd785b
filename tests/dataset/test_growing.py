"""What may join a dataset, and what may not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from datasetmaking import Make, lines_of

from wmhub.dataset.growing import (
    older_in,
    require_same_clock,
    require_same_hardware,
    settled_elsewhere,
    told_hardware,
)
from wmhub.dataset.reader import Dataset, open_dataset
from wmhub.dataset.version import Change, Version
from wmhub.errors import DatasetError, HardwareMismatchError, InvalidInputError, OutputExistsError
from wmhub.hardware.table import lookup
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload


def test_what_is_to_grow(make: Make, tmp_path: Path) -> None:
    assert older_in(tmp_path / "nothing", None) is None
    folder = make()
    older = older_in(folder, Version(1, 0, 1))
    assert older is not None
    assert older.manifest.counts.records == 40
    with pytest.raises(InvalidInputError, match=r"must be 1\.1\.0 or later"):
        older_in(folder, Version(1, 0, 1), Change.MINOR)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError):
        older_in(tmp_path / "notes", None)
    (folder / "workloads-00000.parquet").unlink()
    with pytest.raises(DatasetError):
        older_in(folder, None)


def test_other_hardware_and_another_clock_do_not_join(make: Make) -> None:
    older = open_dataset(make())
    require_same_hardware(older, older.hardware)
    with pytest.raises(HardwareMismatchError, match=r"so other/data of cuda-k80 cannot be added"):
        require_same_hardware(older, HardwareKey.parse("cuda-k80"), "other/data")
    require_same_clock(older, False, "other/data")
    with pytest.raises(
        InvalidInputError, match=r"without emptying caches, and other/data with emptied caches"
    ):
        require_same_clock(older, True, "other/data")


def test_a_program_is_where_any_form_of_it_is() -> None:
    def workload(id_: str, key: str) -> Workload:
        return Workload(id_, Scheduler.META_SCHEDULE, key, None)

    forms = {
        "w1": workload("w1", "same"),
        "w2": workload("w2", "same"),
        "w3": workload("w3", "own"),
    }
    assert settled_elsewhere(["w2", "w3", "w9"], forms, {"w1": "train"}) == {"w2": "train"}
    assert settled_elsewhere(["w2"], forms, {"w1": "test"}) == {}


def test_a_profile_of_another_device_joins_no_dataset(make: Make) -> None:
    older = open_dataset(make("data", lines_of(3)))
    bare = Dataset(older.path, dataclasses.replace(older.manifest, profile=None))
    own, other = (lookup(HardwareKey.parse(f"cuda-{name}")) for name in ("v100", "k80"))
    assert told_hardware(None, own, bare) == (bare.hardware, own)
    with pytest.raises(HardwareMismatchError):
        told_hardware(None, other, bare)
