"""A folder hub as people and their desktops leave it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_making import publish, write_dataset, write_model

from wmhub.errors import HubError, InvalidInputError, UnknownNameError
from wmhub.hub import create_community, models, push, resolve_model
from wmhub.hub.artifact import DATASET, MODEL
from wmhub.hub.folder import FolderHub
from wmhub.hub.place import Repository

REPOSITORY = Repository("acme", "wm-cuda-a100")


def test_what_a_desktop_leaves_among_the_tags_is_none(tmp_path: Path, embedded: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    commit = publish(hub, MODEL, REPOSITORY, write_model(tmp_path / "model"))
    tags = tmp_path / "hub/models/acme/wm-cuda-a100/tags"
    for name in (".DS_Store", "Thumbs.db"):
        (tags / name).write_bytes(b"\0")
    (tags / "@eaDir").mkdir()
    assert hub.tags(MODEL, REPOSITORY) == {"v1.0.0": commit}
    assert resolve_model("acme/wm-cuda-a100", hub=f"folder:{tmp_path / 'hub'}").commit == commit


def test_a_pointer_that_the_system_refuses_is_named(tmp_path: Path, embedded: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    publish(hub, MODEL, REPOSITORY, write_model(tmp_path / "model"))
    pointer = tmp_path / "hub/models/acme/wm-cuda-a100/tags/v1.0.0/points.json"
    pointer.unlink()
    pointer.mkdir()
    with pytest.raises(InvalidInputError, match=r"points\.json: is no pointer of a folder hub"):
        hub.tags(MODEL, REPOSITORY)
    assert "is no pointer" in models(hub=f"folder:{tmp_path / 'hub'}").problems[0]


def test_a_hub_that_is_not_there_is_not_an_empty_one(tmp_path: Path, embedded: Path) -> None:
    spec = f"folder:{tmp_path / 'mistyped'}"
    with pytest.raises(HubError, match="mistyped: there is no such folder, so this is no hub"):
        FolderHub(tmp_path / "mistyped").repositories(MODEL)
    assert "there is no such folder" in models(hub=spec).problems[0]
    with pytest.raises(UnknownNameError, match="mistyped, which is no folder yet"):
        resolve_model("acme/wm-cuda-a100", hub=spec)
    assert not (tmp_path / "mistyped").exists()


def test_the_first_publication_makes_the_hub_and_says_so(tmp_path: Path) -> None:
    spec = f"folder:{tmp_path / 'hub'}"
    first = push(write_dataset(tmp_path / "rows"), "acme/cuda-a100", hub=spec)
    other = write_dataset(tmp_path / "other", hardware="cuda-v100")
    assert (first.is_new_hub, push(other, "acme/cuda-v100", hub=spec).is_new_hub) == (True, False)
    made = create_community(to="acme/community", hub=f"folder:{tmp_path / 'new'}")
    assert made.warnings == (f"{tmp_path / 'new'} was no hub yet: it is made",)
    assert create_community(to="acme/community", hub=f"folder:{tmp_path / 'new'}").warnings == ()
    assert FolderHub(tmp_path / "new").repositories(DATASET) == [Repository("acme", "community")]


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for hub in (tmp_path / "file", tmp_path / "file" / "hub"):
        for dry_run in (True, False):
            with pytest.raises(HubError, match="file cannot be written to"):
                push(tmp_path / "nowhere", "acme/x", hub=f"folder:{hub}", dry_run=dry_run)
