"""A dataset that is there and grows by a collection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasetmaking import collect
from logmaking import ansor_line, ansor_log

from wmhub.dataset.reader import open_dataset
from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
)


def test_a_dataset_grows_by_what_it_lacks(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(log, output=out)
    before = open_dataset(out).splits
    files = {path: path.stat() for path in out.iterdir()}
    again = collect(log, output=out, update=True)
    assert (again.added, str(again.manifest.version)) == (0, "1.0.0")
    assert again.is_unchanged
    assert {path: path.stat() for path in out.iterdir()} == files
    asked = collect(log, output=out, update=True, version="1.0.1")
    assert (asked.is_unchanged, str(asked.manifest.version)) == (False, "1.0.1")
    assert str(open_dataset(out).manifest.version) == "1.0.1"
    with log.open("a") as file:
        for number in range(9):
            file.write(ansor_line(key=json.dumps(["new", number])) + "\n")
    more = collect(log, output=out, update=True)
    assert (more.added, str(more.manifest.version)) == (9, "1.1.0")
    after = open_dataset(out).splits
    assert all(set(before[split]) <= set(after[split]) for split in before)
    with pytest.raises(HardwareMismatchError, match="cannot be added"):
        collect(log, output=out, update=True, hardware="cuda-k80")
    assert not list(tmp_path.glob("out.*"))


def test_what_else_lies_in_the_folder_of_a_dataset_stays_when_it_grows(
    log: Path, tmp_path: Path
) -> None:
    real = tmp_path / "disk" / "data"
    real.parent.mkdir()
    link = tmp_path / "data"
    link.symlink_to(real)
    real.mkdir()
    collect(log, output=link)
    (real / "notes.txt").write_text("mine")
    (real / ".git").mkdir()
    (real / ".git" / "HEAD").write_text("ref")
    more = tmp_path / "b.log"
    more.write_text(ansor_log().replace("1637575039", "1737575039"))
    before = open_dataset(link).manifest.counts.records
    collect(more, output=link, update=True)
    assert link.is_symlink()
    assert open_dataset(real).manifest.counts.records > before
    assert (real / "notes.txt").read_text() == "mine"
    assert (real / ".git" / "HEAD").read_text() == "ref"
    assert sorted(path.name for path in real.parent.iterdir()) == ["data"]


def test_test_workloads_of_a_dataset_that_grows(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    collect(log, output=output)
    splits = open_dataset(output).splits
    more = tmp_path / "b.log"
    more.write_text(ansor_line(key='["another", 8]') + "\n")
    # One that only the existing dataset has may be named; one that has trained may not be.
    collect(more, output=output, update=True, test_workloads=splits["test"])
    assert open_dataset(output).manifest.test_workloads == tuple(splits["test"])
    with pytest.raises(InvalidInputError, match=r"train split already.*wmhub dataset split"):
        collect(log, output=output, update=True, test_workloads=splits["train"][:1])


def test_bad_lines_do_not_pile_up_while_a_log_grows(log: Path, tmp_path: Path) -> None:
    for number in range(3):
        log.write_text("broken\n" + ansor_log() + ansor_line(key=f'["more", {number}]') + "\n")
        collect(log, output=tmp_path / "out", update=True)
    assert (tmp_path / "out/rejected.jsonl").read_text().count("\n") == 1


def test_a_profile_that_became_known_is_filled_in(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmhub.hardware.table.lookup", lambda key: None)
    assert collect(log, output=tmp_path / "out").manifest.profile is None
    monkeypatch.undo()
    log.write_text(ansor_log() + ansor_line(key='["more", 1]') + "\n")
    assert collect(log, output=tmp_path / "out", update=True).manifest.profile is not None
