from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from datasetmaking import Make, lines_of
from logmaking import ansor_log

import wmhub
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.rewrite import merge, split
from wmhub.dataset.working import begin_work, finish_work, working_folder
from wmhub.errors import InvalidInputError, OutputExistsError


@pytest.mark.parametrize("name", ["runs", "older", "writing", "live"])
def test_what_lies_beside_an_output_stays(make: Make, tmp_path: Path, name: str) -> None:
    data = make("data", lines_of(3))
    beside = tmp_path / f"data.{name}"
    beside.mkdir()
    (beside / "raw.log").write_text(ansor_log())
    wmhub.collect(beside, data, hardware="cuda-v100", update=True)
    assert open_dataset(data).manifest.counts.records == 43
    assert (beside / "raw.log").read_text() == ansor_log()


def test_a_backup_beside_a_dataset_stays_when_it_grows(make: Make, tmp_path: Path) -> None:
    data = make("data", lines_of(3))
    shutil.copytree(data, tmp_path / "data.older")
    (tmp_path / "b.log").write_text(ansor_log())
    wmhub.collect(tmp_path / "b.log", data, hardware="cuda-v100", update=True)
    assert open_dataset(tmp_path / "data.older").manifest.counts.records == 3


def test_a_folder_of_that_name_that_wmhub_did_not_make_is_refused(
    make: Make, tmp_path: Path
) -> None:
    data = make("data", lines_of(3))
    new = tmp_path / "new"
    taken = tmp_path / "new.wmhub"
    taken.mkdir()
    (taken / "runs").write_text("mine")
    for write in (
        lambda: wmhub.collect(tmp_path / "data-log", new, hardware="cuda-v100"),
        lambda: merge([data], new),
        lambda: split(data, new),
        lambda: begin_work(new, "live"),
    ):
        with pytest.raises(OutputExistsError, match="did not make this one"):
            write()
    assert [path.name for path in taken.iterdir()] == ["runs"]
    taken.rename(tmp_path / "elsewhere")
    taken.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExistsError, match="did not make this one"):
        working_folder(new)


def test_an_input_that_would_be_removed_is_refused(make: Make, tmp_path: Path) -> None:
    data, new = make("data", lines_of(3)), tmp_path / "new"
    inside = begin_work(new, "runs")
    inside.mkdir()
    (inside / "a.log").write_text(ansor_log())
    shutil.copytree(data, inside / "data")
    for write in (
        lambda: wmhub.collect(inside, new, hardware="cuda-v100"),
        lambda: merge([data, inside / "data"], new),
        lambda: split(inside / "data", new),
    ):
        with pytest.raises(InvalidInputError, match="would be removed"):
            write()
    assert (inside / "a.log").exists()


def test_the_working_folder_goes_with_its_last_part(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for part in ("runs", "live"):
        begin_work(output, part).mkdir()
    finish_work(output, "runs")
    assert (working_folder(output) / "live").is_dir()
    finish_work(output, "live")
    assert not list(tmp_path.iterdir())
    # What a kill leaves between making the folder and marking it.
    working_folder(output).mkdir()
    begin_work(output, "runs")
    finish_work(output, "runs")
    assert not list(tmp_path.iterdir())
