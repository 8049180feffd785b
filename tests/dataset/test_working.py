from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from datasetmaking import Make, interrupted, lines_of
from logmaking import ansor_log

import wmhub
from wmhub.dataset.export import export
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.rewrite import credit, merge, render_again, split
from wmhub.dataset.verify import open_verified
from wmhub.dataset.working import finish_work, working, working_folder
from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.live_collection import collect_live


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
        lambda: export(data, new),
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
    inside = interrupted(new, "runs")
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


def test_a_dataset_keeps_its_folder_to_itself(make: Make, tmp_path: Path) -> None:
    data = make("data", lines_of(3))
    other = make("other", lines_of(4))
    for write in (
        lambda: merge([other, data], data / "new"),
        lambda: split(data, data / "deep" / "new"),
        lambda: export(data, data / "tuning"),
    ):
        with pytest.raises(InvalidInputError, match="lies in the dataset"):
            write()
    open_verified(data)


def test_the_folder_that_the_caller_is_in_is_not_replaced(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make("data", lines_of(3))
    (tmp_path / "b.log").write_text(ansor_log())
    monkeypatch.chdir(data)
    for write in (
        lambda: credit(".", contributor="Ada L."),
        lambda: wmhub.collect(tmp_path / "b.log", ".", hardware="cuda-v100", update=True),
    ):
        with pytest.raises(InvalidInputError, match="from outside of it"):
            write()
    assert Path.cwd() == data
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for write in (
        lambda: split(data, ".", test_workloads=()),
        lambda: export(data, "."),
        lambda: wmhub.collect(tmp_path / "b.log", ".", hardware="cuda-v100"),
    ):
        with pytest.raises(InvalidInputError, match="from outside of it"):
            write()
    assert Path.cwd() == empty


def test_the_working_folder_goes_with_its_last_part(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for part in ("runs", "live"):
        interrupted(output, part)
    with working(output):
        finish_work(output, "runs")
    assert (working_folder(output) / "live").is_dir()
    with working(output):
        finish_work(output, "live")
    assert not list(tmp_path.iterdir())
    # What a kill leaves between making the folder and marking it.
    working_folder(output).mkdir()
    with working(output):
        pass
    assert not list(tmp_path.iterdir())


def test_one_process_at_a_time_works_on_an_output(make: Make, tmp_path: Path) -> None:
    data, new, log = make("data", lines_of(3)), tmp_path / "new", tmp_path / "data-log"
    with working(data), working(new):
        for write in (
            lambda: wmhub.collect(log, data, update=True),
            lambda: render_again(data),
            lambda: merge([data], new),
            lambda: split(data, new),
            lambda: export(data, new),
            lambda: collect_live(data, workloads=["zoo"]),
        ):
            with pytest.raises(OutputExistsError, match=r"\.wmhub: another process is at work"):
                write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data-log"]


def test_one_that_begins_as_another_ends_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, remove = tmp_path / "out", Path.rmdir

    def begin_meanwhile(folder: Path) -> None:
        (folder / "made-by-wmhub").touch()
        remove(folder)

    monkeypatch.setattr(Path, "rmdir", begin_meanwhile)
    with working(output):
        pass
    assert (working_folder(output) / "made-by-wmhub").exists()


def test_what_another_adds_while_a_dataset_grows_is_not_lost(make: Make, tmp_path: Path) -> None:
    data = make("data", lines_of(3))
    refused = []
    for name, lines in (("one", lines_of(9)[3:6]), ("two", lines_of(9)[6:])):
        (tmp_path / f"{name}.log").write_text("\n".join(lines))

    def another(_: object) -> None:
        with pytest.raises(OutputExistsError, match="another process") as refusal:
            wmhub.collect(tmp_path / "two.log", data, update=True)
        refused.append(refusal)

    wmhub.collect(tmp_path / "one.log", data, update=True, progress=another)
    assert refused
    wmhub.collect(tmp_path / "two.log", data, update=True)
    assert open_dataset(data).manifest.counts.records == 9
