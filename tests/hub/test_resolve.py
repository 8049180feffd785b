"""What a name means, and what it never means."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hub_making import (
    Place,
    names_of,
    registry_row,
    write_dataset,
    write_model,
    write_registry,
)
from hub_server import HubServer

import wmhub
import wmhub.hub
from wmhub.errors import (
    CheckpointError,
    HubError,
    InvalidInputError,
    InvalidNameError,
    MissingInputError,
    SchemaVersionError,
    UnknownNameError,
)
from wmhub.hub import resolve_dataset, resolve_model
from wmhub.hub.artifact import DATASET, MODEL
from wmhub.hub.lockfile import Lockfile, write_lock
from wmhub.hub.patience import patiently
from wmhub.hub.place import Repository, Upload
from wmhub.hub.resolve import dataset_folder

A100 = Repository("wmhub", "wm-cuda-a100")


def test_embedded_needs_nothing(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    write_model(embedded / "wm-cuda-a100")
    for name in ("wm-cuda-a100", "wm-cuda-a100@v1.0.0", "wm-cuda-a100@1.0.0", "wmhub/wm-cuda-a100"):
        found = resolve_model(name, offline=True)
        assert (found.place, found.revision) == ("embedded", "v1.0.0")
        assert found.folder == embedded / "wm-cuda-a100"


def test_a_changed_embedded_checkpoint_is_refused(embedded: Path) -> None:
    folder = write_model(embedded / "wm-cuda-a100")
    (folder / "weights.safetensors").write_bytes(b"w" * 7000)
    with pytest.raises(CheckpointError, match="the file was changed"):
        resolve_model("wm-cuda-a100")


def test_the_registry_pins_the_embedded_one(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(embedded / "wm-cuda-a100")
    write_registry(tmp_path, monkeypatch, registry_row("wm-cuda-a100", "0" * 64))
    with pytest.raises(CheckpointError, match="not what the registry of this wmhub pins"):
        resolve_model("wm-cuda-a100")


def test_a_dataset_is_a_folder_or_else_a_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_dataset(tmp_path / "made")
    monkeypatch.setenv("WMHUB_HUB", f"folder:{tmp_path / 'hub'}")
    wmhub.push(made, "wmhub/mine")
    monkeypatch.chdir(tmp_path)
    assert (dataset_folder("mine") / "manifest.json").is_file()
    (tmp_path / "mine").mkdir()
    assert dataset_folder("mine") == Path("mine")
    # With a lock a name is the lock's, whatever lies here.
    write_lock(Path("wmhub.lock"), Lockfile({}, {}))
    with pytest.raises(
        MissingInputError, match=r"for the folder write \./mine; .* is not in wmhub"
    ):
        dataset_folder("mine", locked="wmhub.lock")
    assert dataset_folder("./mine", locked="wmhub.lock") == Path("mine")
    # A mistyped path is no server's business.
    assert dataset_folder("acme/mine") == Path("acme/mine")
    with pytest.raises(MissingInputError, match="no such folder; there is no dataset wmhub/minn"):
        dataset_folder("minn")


def test_a_home_that_no_one_has_is_said(embedded: Path) -> None:
    for name in ("~nosuchuser/x", "local-dir:~nosuchuser/x"):
        with pytest.raises(InvalidInputError, match="~nosuchuser/x: no home folder of that user"):
            resolve_model(name)
    with pytest.raises(InvalidInputError, match="no home folder of that user"):
        resolve_model("acme/x", hub="folder:~nosuchuser/x")


def test_paths_are_explicit(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_model(tmp_path / "runs" / "mine")
    for path in (
        Path("runs/mine"),
        tmp_path / "runs/mine",
        "./runs/mine",
        "~/runs/mine",
        str(tmp_path / "runs/mine"),
        "local-dir:runs/mine",
    ):
        found = resolve_model(path)
        assert (found.place, found.commit) == ("local-dir", None)
        assert found.folder.resolve() == tmp_path / "runs/mine"


def test_a_folder_of_the_same_name_is_never_picked_up(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: HubServer
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "wm-cuda-a100")
    write_model(tmp_path / "acme" / "wm-cuda-a100")
    with pytest.raises(UnknownNameError):
        resolve_model("wm-cuda-a100")
    with pytest.raises(UnknownNameError, match="no such repository"):
        resolve_model("acme/wm-cuda-a100")


def test_unknown_names_say_what_there_is(embedded: Path) -> None:
    for hardware in ("cuda-a100", "cuda-v100", "llvm-emeraldrapids-2c"):
        write_model(embedded / f"wm-{hardware}", name=f"wm-{hardware}", hardware=hardware)
    with pytest.raises(UnknownNameError) as caught:
        resolve_model("wm-cuda-h100")
    message = str(caught.value)
    assert "model 'wm-cuda-h100' is unknown" in message
    assert "Nearest names: wm-cuda-v100, wm-cuda-a100" in message
    assert "For cuda-h100 there is" in message
    assert "wm-cuda-a100: nearest to cuda-h100: trained on cuda-a100" in message
    assert (
        "wm-llvm-emeraldrapids-2c: trained on llvm-emeraldrapids-2c: schedules of llvm" in message
    )
    assert "None was taken in its place" in message


def test_a_bare_unknown_name_asks_no_server(embedded: Path, server: HubServer) -> None:
    with pytest.raises(UnknownNameError):
        resolve_model("wm-cuda-a100")
    assert server.requests == []


def test_from_the_hub_at_a_tag(writable: Place, tmp_path: Path, embedded: Path) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    first = writable.publish(MODEL, repository, write_model(tmp_path / "one"))
    newer = write_model(tmp_path / "two", version="1.1.0", weights=b"two" * 3000)
    writable.publish(MODEL, repository, newer)
    newest = resolve_model("acme/wm-cuda-a100", hub=writable.spec)
    assert (newest.revision, str(newest.manifest.version)) == ("v1.1.0", "1.1.0")
    for name, revision in (
        ("acme/wm-cuda-a100@v1.0.0", None),
        ("acme/wm-cuda-a100", "v1.0.0"),
        ("acme/wm-cuda-a100", first),
    ):
        found = resolve_model(name, revision=revision, hub=writable.spec)
        assert found.commit == first
        assert (found.folder / "weights.safetensors").read_bytes() == b"weights" * 1000
    with pytest.raises(InvalidNameError, match="names a revision already"):
        resolve_model("acme/wm-cuda-a100@v1.0.0", revision="v1.1.0")


def test_bare_names_follow_the_registry_to_the_hub(
    embedded: Path, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub_making import publish

    from wmhub.hub.huggingface import HuggingFaceHub

    folder = write_model(tmp_path / "one")
    commit = publish(HuggingFaceHub(), MODEL, A100, folder)
    digest = MODEL.verify(folder).digest
    newer = write_model(tmp_path / "two", version="1.1.0", weights=b"two" * 3000)
    publish(HuggingFaceHub(), MODEL, A100, newer)
    write_registry(tmp_path, monkeypatch, registry_row("wm-cuda-a100", digest, commit))
    found = resolve_model("wm-cuda-a100")
    assert (found.place, found.revision, found.commit) == ("hf-hub", "v1.0.0", commit)
    assert resolve_model("wm-cuda-a100@v1.1.0").revision == "v1.1.0"
    assert resolve_model("hf-hub:wmhub/wm-cuda-a100").revision == "v1.1.0"
    assert resolve_model("hf-hub:wmhub/wm-cuda-a100@v1.0.0").commit == commit
    write_registry(tmp_path, monkeypatch, registry_row("wm-cuda-a100", digest, "0" * 40))
    for name in ("wm-cuda-a100", "hf-hub:wmhub/wm-cuda-a100@v1.0.0"):
        with pytest.raises(InvalidInputError, match="the registry of this wmhub pins 0000"):
            resolve_model(name)
    write_registry(tmp_path, monkeypatch, registry_row("wm-cuda-a100", "0" * 64))
    with pytest.raises(CheckpointError, match="not what the registry of this wmhub pins"):
        resolve_model("hf-hub:wmhub/wm-cuda-a100@v1.0.0")


def test_an_organisation_of_ones_own(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub_making import publish

    from wmhub.hub.folder import FolderHub

    write_model(embedded / "wm-cuda-a100")
    hub = FolderHub(tmp_path / "hub")
    publish(
        hub, MODEL, Repository("acme", "wm-cuda-a100"), write_model(tmp_path / "m", version="3.0.0")
    )
    monkeypatch.setenv("WMHUB_HUB", f"folder:{tmp_path / 'hub'}")
    assert resolve_model("wm-cuda-a100").place == "embedded"
    monkeypatch.setenv("WMHUB_ORGANISATION", "acme")
    found = resolve_model("wm-cuda-a100")
    assert (found.place, found.revision) == ("folder", "v3.0.0")


def test_a_moved_tag_is_refused(server: HubServer, tmp_path: Path, embedded: Path) -> None:
    from hub_making import publish

    from wmhub.hub.huggingface import HuggingFaceHub

    repository = Repository("acme", "wm-cuda-a100")
    hub = HuggingFaceHub()
    publish(hub, MODEL, repository, write_model(tmp_path / "one"))
    first = resolve_model("acme/wm-cuda-a100@v1.0.0")
    two = write_model(tmp_path / "two", weights=b"two" * 3000)
    moved = hub.commit(MODEL, repository, Upload(two, names=names_of(two), message="two")).id
    server.repo("model", str(repository)).refs["refs/tags/v1.0.0"] = moved
    with pytest.raises(InvalidInputError, match="the tag was moved"):
        resolve_model("acme/wm-cuda-a100@v1.0.0")
    assert resolve_model("acme/wm-cuda-a100", revision=first.commit).commit == first.commit
    assert resolve_model("acme/wm-cuda-a100", revision=moved).commit == moved


def test_what_was_refused_is_not_remembered(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    """A tag of damaged content, mended: the first answer that holds is the one that counts."""
    from hub_making import publish

    from wmhub.hub.huggingface import HuggingFaceHub

    repository = Repository("acme", "wm-cuda-a100")
    hub = HuggingFaceHub()
    broken = write_model(tmp_path / "broken")
    (broken / "weights.safetensors").write_bytes(b"cut")
    publish(hub, MODEL, repository, broken)
    with pytest.raises(CheckpointError):
        resolve_model("acme/wm-cuda-a100@v1.0.0")
    whole = write_model(tmp_path / "whole")
    mended = hub.commit(MODEL, repository, Upload(whole, names=names_of(whole), message="m")).id
    server.repo("model", str(repository)).refs["refs/tags/v1.0.0"] = mended
    assert resolve_model("acme/wm-cuda-a100@v1.0.0").commit == mended


def test_a_folder_hub_is_one_place_by_any_path(
    tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hubs of the same relative path are two, and one hub by two paths is one."""
    from hub_making import publish

    from wmhub.hub.folder import FolderHub

    repository = Repository("acme", "wm-cuda-a100")
    for number, name in enumerate(("one", "two")):
        folder = write_model(tmp_path / f"model-{name}", weights=bytes([number]) * 99)
        publish(FolderHub(tmp_path / name / "hub"), MODEL, repository, folder)
        monkeypatch.chdir(tmp_path / name)
        resolve_model("acme/wm-cuda-a100@v1.0.0", hub="folder:hub")
    resolve_model("acme/wm-cuda-a100@v1.0.0", hub=f"folder:{tmp_path / 'one' / 'hub'}")
    (tmp_path / "link").symlink_to(tmp_path / "one" / "hub")
    (tmp_path / "one" / "hub").rename(tmp_path / "first")
    (tmp_path / "two" / "hub").rename(tmp_path / "one" / "hub")
    for path in (tmp_path / "one" / "hub", tmp_path / "link"):
        with pytest.raises(InvalidInputError, match="the tag was moved"):
            resolve_model("acme/wm-cuda-a100@v1.0.0", hub=f"folder:{path}")


def test_offline_answers_from_the_cache(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub_making import publish

    from wmhub.hub.huggingface import HuggingFaceHub

    repository = Repository("acme", "wm-cuda-a100")
    publish(HuggingFaceHub(), MODEL, repository, write_model(tmp_path / "one"))
    with pytest.raises(UnknownNameError, match="not in the cache"):
        resolve_model("acme/wm-cuda-a100", offline=True)
    online = resolve_model("acme/wm-cuda-a100")
    asked = len(server.requests)
    for name in (
        "acme/wm-cuda-a100",
        "acme/wm-cuda-a100@v1.0.0",
        f"acme/wm-cuda-a100@{online.commit}",
    ):
        assert resolve_model(name, offline=True).folder == online.folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve_model("acme/wm-cuda-a100").folder == online.folder
    with pytest.raises(UnknownNameError, match="not in the cache"):
        resolve_model("acme/wm-cuda-a100@v2.0.0")
    assert len(server.requests) == asked
    blob = (online.folder / "weights.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="bytes, but its manifest says") as caught:
        resolve_model("acme/wm-cuda-a100")
    assert f"delete {blob} to fetch it anew" in str(caught.value)
    blob.unlink()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert resolve_model("acme/wm-cuda-a100").folder == online.folder


def test_damage_at_a_place_that_is_no_cache_says_nothing_of_deleting(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub_making import make_place

    write_model(embedded / "wm-cuda-a100")
    spoiled = b"WEIGHTS" * 1000
    (embedded / "wm-cuda-a100" / "weights.safetensors").write_bytes(spoiled)
    with pytest.raises(CheckpointError, match="install wmhub again") as caught:
        resolve_model("wm-cuda-a100")
    assert "delete" not in str(caught.value)
    hub = make_place("folder", None, tmp_path)  # type: ignore[arg-type]
    repository = Repository("acme", "wm-cuda-a100")
    hub.publish(MODEL, repository, write_model(tmp_path / "one"))
    hub.spoil(MODEL, repository, "weights.safetensors", spoiled)
    with pytest.raises(CheckpointError, match="that hub itself holds it so") as caught:
        resolve_model("acme/wm-cuda-a100", hub=hub.spec)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_disk_is_not_the_hubs_fault(number: int) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "/cache/blob")

    with pytest.raises(HubError, match="this machine refused it, not the Hub") as caught:
        patiently(fail, "model acme/x")
    assert "/cache/blob" in str(caught.value)
    assert "could not be reached" not in str(caught.value)


def test_a_version_from_the_future_and_other_forms(tmp_path: Path) -> None:
    newer = write_model(tmp_path / "newer", schema_version=99)
    with pytest.raises(SchemaVersionError, match="schema version 99 is newer"):
        resolve_model(newer)
    with pytest.raises(MissingInputError, match="no such folder"):
        resolve_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="this is no model of wmhub"):
        resolve_model(tmp_path / "empty")


def test_a_repository_without_a_version(writable: Place, tmp_path: Path, embedded: Path) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    folder = write_model(tmp_path / "one")
    writable.hub.commit(MODEL, repository, Upload(folder, names=names_of(folder), message="one"))
    with pytest.raises(InvalidInputError, match="no version tag"):
        resolve_model("acme/wm-cuda-a100", hub=writable.spec)
    assert resolve_model("acme/wm-cuda-a100@main", hub=writable.spec).revision == "main"


def test_a_dataset_in_a_folder_of_a_repository(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    from hub_making import write_dataset

    folder = write_dataset(tmp_path / "one")
    commit = writable.hub.commit(
        DATASET,
        Repository("acme", "community"),
        Upload(
            folder,
            names=names_of(folder),
            message="one",
            under="cuda-a100/ada",
        ),
    )
    writable.hub.tag(DATASET, Repository("acme", "community"), "v0.1.0", commit.id)
    found = resolve_dataset("acme/community/cuda-a100/ada", hub=writable.spec)
    assert (found.under, found.revision) == ("cuda-a100/ada", "v0.1.0")
    assert (found.folder / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
    with pytest.raises(InvalidInputError, match=r"it has no manifest\.json"):
        resolve_dataset("acme/community", hub=writable.spec)


def test_an_unreachable_hub(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="could not be reached"):
        resolve_model("acme/wm-cuda-a100")


def test_what_hub_may_be(embedded: Path) -> None:
    for spec in ("somewhere", "folder:", "http://example.org"):
        with pytest.raises(InvalidInputError, match="neither hf-hub nor folder:PATH"):
            resolve_model("acme/wm-cuda-a100", hub=spec)


def test_the_package_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, wmhub.hub; "
        "heavy = {'torch', 'tvm', 'datasets', 'huggingface_hub', 'pyarrow', 'matplotlib'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "from_pretrained" in wmhub.hub.__all__
