from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from datasetmaking import Make, interrupted, lines_of

import wmhub
from wmhub.dataset.manifest import read_manifest
from wmhub.dataset.rewrite import credit, render_again
from wmhub.dataset.verify import verify
from wmhub.dataset.working import working, working_folder
from wmhub.errors import OutputExistsError


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A log of twelve records, of which ``cut`` has nine."""
    path = tmp_path / "more.log"
    path.write_text("\n".join(lines_of(12)))
    return path


@pytest.fixture
def cut(make: Make, more: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a dataset whose replacement was killed between its two renames."""
    output = make("data", lines_of(9), contributor="")
    rename = Path.replace

    def kill(path: Path, target: Path) -> Path:
        if path.name == "writing":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            wmhub.collect(more, output, update=True)
    assert not output.exists()
    assert (working_folder(output) / "older/manifest.json").exists()
    return output


@pytest.mark.parametrize("made", [False, True], ids=["absent", "made empty"])
@pytest.mark.parametrize(
    ("write", "records"),
    [
        (lambda data, more: wmhub.collect(more, data, update=True), 12),
        (lambda data, _: credit(data, contributor="ann"), 9),
        (lambda data, _: render_again(data), 9),
    ],
    ids=["collect", "credit", "card"],
)
def test_a_replacement_that_was_cut_is_undone(
    cut: Path, more: Path, made: bool, write: Callable[[Path, Path], object], records: int
) -> None:
    if made:
        cut.mkdir()
    write(cut, more)
    manifest, faults = verify(cut)
    assert (manifest.counts.records, faults) == (records, [])
    assert not (working_folder(cut) / "older").exists()


def test_a_new_dataset_is_not_put_over_one_that_was_put_aside(cut: Path, more: Path) -> None:
    cut.mkdir()
    with pytest.raises(OutputExistsError, match="a dataset is here already"):
        wmhub.collect(more, cut, hardware="cuda-v100")
    assert read_manifest(cut).counts.records == 9


@pytest.mark.parametrize("what", ["a note", "a dataset"])
def test_what_was_put_into_its_place_since_is_not_overwritten(
    cut: Path, more: Path, make: Make, what: str
) -> None:
    cut.mkdir()
    if what == "a dataset":
        shutil.copytree(make("other", lines_of(3)), cut, dirs_exist_ok=True)
    (cut / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"data\.wmhub/older holds it; move elsewhere"):
        wmhub.collect(more, cut, update=True)
    assert (cut / "notes.txt").read_text() == "mine"
    cut.rename(cut.with_name("elsewhere"))
    wmhub.collect(more, cut, update=True)
    assert read_manifest(cut).counts.records == 12


def test_a_removal_that_was_cut_loses_nothing_of_the_users(make: Make) -> None:
    output = make("data", lines_of(9))
    older = interrupted(output, "older")
    shutil.copytree(output, older, dirs_exist_ok=True)
    (older / "notes.txt").write_text("mine")
    with working(output):
        assert (output / "notes.txt").read_text() == "mine"
        assert not older.exists()


def test_what_is_left_of_a_removal_is_no_dataset(
    make: Make, more: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = make("data", lines_of(9))
    remove = shutil.rmtree

    def kill(path: Path, **options: bool) -> None:
        if Path(path).name == "older":
            (path / "workloads-00000.parquet").unlink()
            raise KeyboardInterrupt
        remove(path, **options)

    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", kill)
        with pytest.raises(KeyboardInterrupt):
            wmhub.collect(more, output, update=True)
    remove(output)
    with working(output):
        assert not output.exists()
        assert not (working_folder(output) / "older").exists()
