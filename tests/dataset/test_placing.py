from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from datasetmaking import Make, lines_of

import wmhub
from wmhub.dataset.manifest import read_manifest
from wmhub.dataset.placing import destination
from wmhub.dataset.reader import open_dataset
from wmhub.errors import DatasetError, InvalidInputError


@pytest.mark.parametrize("grows", [False, True])
def test_a_dataset_is_on_disk_before_what_it_replaces_is_removed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    flushed: set[str] = set()
    removed: dict[str, set[str]] = {}
    fsync, rmtree = os.fsync, shutil.rmtree

    def note_flush(descriptor: int) -> None:
        flushed.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def note_removal(path: Path, **options: bool) -> None:
        removed.setdefault(Path(path).name, set(flushed))
        rmtree(path, **options)

    output = make("data", lines_of(9)) if grows else tmp_path / "new"
    log = tmp_path / "more.log"
    log.write_text("\n".join(lines_of(12)))
    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(shutil, "rmtree", note_removal)
    wmhub.collect(log, output, hardware="cuda-v100", update=grows)
    files = {"manifest.json", *(entry.name for entry in read_manifest(output).files)}
    for name in ("runs", *(["older"] if grows else [])):
        assert files | {"writing", tmp_path.name} <= removed[name]


def test_a_disk_that_fails_costs_no_older_dataset(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = make("data", lines_of(9))
    log = tmp_path / "more.log"
    log.write_text("\n".join(lines_of(12)))

    def fail(_: int) -> None:
        raise OSError("Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            wmhub.collect(log, output, hardware="cuda-v100", update=True)
    assert read_manifest(output).counts.records == 9
    wmhub.collect(log, output, hardware="cuda-v100", update=True)
    assert read_manifest(output).counts.records == 12


def test_a_mount_point_is_refused_before_the_work(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.log"
    log.write_text("\n".join(lines_of(3)))
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "data")
    with pytest.raises(InvalidInputError, match="a disk is mounted here"):
        wmhub.collect(log, tmp_path / "data", hardware="cuda-v100")
    assert not (tmp_path / "data.wmhub").exists()


def test_the_folder_above_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else wmhub would work in the folder that it is named from."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data" / "sub")
    assert destination("..") == tmp_path / "data"
    assert destination("") == tmp_path / "data" / "sub"


def test_a_name_that_is_no_utf8_is_refused(make: Make, tmp_path: Path) -> None:
    data, latin = make("data", lines_of(3)), tmp_path / os.fsdecode(b"J\xf6rg")
    with pytest.raises(InvalidInputError, match="the name is no UTF-8; choose another"):
        wmhub.collect(tmp_path / "data-log", latin, hardware="cuda-v100")
    data.rename(latin)
    with pytest.raises(DatasetError, match="the name is no UTF-8; rename"):
        open_dataset(latin).splits  # noqa: B018
