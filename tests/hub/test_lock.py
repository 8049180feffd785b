"""``wmhub lock`` and ``locked=``."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_making import Place, publish, write_dataset, write_model
from hub_server import HubServer

from wmhub import load_dataset
from wmhub.dataset.reader import open_dataset
from wmhub.errors import CheckpointError, InvalidInputError, MissingInputError, UnknownNameError
from wmhub.flushing import write_file
from wmhub.hub import lock, resolve_dataset, resolve_model
from wmhub.hub.artifact import DATASET, MODEL
from wmhub.hub.folder import FolderHub
from wmhub.hub.huggingface import HuggingFaceHub
from wmhub.hub.lockfile import read_lock, write_lock
from wmhub.hub.place import Repository

REPOSITORY = Repository("acme", "wm-cuda-a100")


def test_a_lock_holds_what_a_name_was(writable: Place, tmp_path: Path, embedded: Path) -> None:
    first = writable.publish(MODEL, REPOSITORY, write_model(tmp_path / "one"))
    data = Repository("acme", "cuda-a100")
    writable.publish(DATASET, data, write_dataset(tmp_path / "rows"))
    path = tmp_path / "wmhub.lock"
    locked = lock(
        ["acme/wm-cuda-a100"], datasets=["acme/cuda-a100"], output=path, hub=writable.spec
    )
    assert read_lock(path) == locked
    entry = locked.models["acme/wm-cuda-a100"]
    assert (entry.commit, entry.revision, set(entry.files)) == (
        first,
        "v1.0.0",
        {"weights.safetensors"},
    )
    newer = write_model(tmp_path / "two", version="1.1.0", weights=b"two" * 3000)
    writable.publish(MODEL, REPOSITORY, newer)
    free = resolve_model("acme/wm-cuda-a100", hub=writable.spec)
    held = resolve_model("acme/wm-cuda-a100", locked=path, hub=writable.spec)
    assert (free.revision, held.revision) == ("v1.1.0", "v1.0.0")
    assert held.commit == first
    rows = resolve_dataset("acme/cuda-a100", locked=path, hub=writable.spec)
    assert rows.revision == "v1.0.0"
    (split,) = {name for name, ids in open_dataset(tmp_path / "rows").splits.items() if ids}
    loaded = load_dataset("acme/cuda-a100", split=split, locked=path, hub=writable.spec)
    assert loaded.num_rows == 3
    with pytest.raises(UnknownNameError, match=r"is not in .*wmhub\.lock"):
        load_dataset("acme/cuda-v100", split=split, locked=path, hub=writable.spec)
    with pytest.raises(InvalidInputError, match=r"is locked to v1\.0\.0"):
        resolve_model("acme/wm-cuda-a100@v1.1.0", locked=path, hub=writable.spec)
    lock(output=path, hub=writable.spec)
    assert read_lock(path) == locked


def test_what_is_not_locked_is_refused(embedded: Path, tmp_path: Path) -> None:
    write_model(embedded / "wm-cuda-a100")
    path = tmp_path / "wmhub.lock"
    with pytest.raises(MissingInputError, match="there is no such lock"):
        resolve_model("wm-cuda-a100", locked=path)
    lock(["wm-cuda-a100"], output=path)
    assert resolve_model("wm-cuda-a100", locked=path).place == "embedded"
    with pytest.raises(UnknownNameError, match="which locks wm-cuda-a100"):
        resolve_model("wm-cuda-v100", locked=path)
    with pytest.raises(InvalidInputError, match="a folder is in no lock"):
        resolve_model(embedded / "wm-cuda-a100", locked=path)
    with pytest.raises(InvalidInputError, match="no published version to lock"):
        lock([f"local-dir:{embedded}/wm-cuda-a100"], output=path)


def test_a_lock_of_the_working_directory(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(embedded / "wm-cuda-a100")
    lock(["wm-cuda-a100"])
    assert resolve_model("wm-cuda-a100", locked=True).revision == "v1.0.0"
    text = json.loads((tmp_path / "wmhub.lock").read_text())
    assert text["models"]["wm-cuda-a100"]["place"] == "embedded"
    assert str(tmp_path) not in (tmp_path / "wmhub.lock").read_text()


def test_another_release_finds_the_locked_version_on_the_hub(
    embedded: Path, server: HubServer, tmp_path: Path
) -> None:
    write_model(embedded / "wm-cuda-a100")
    path = tmp_path / "wmhub.lock"
    lock(["wm-cuda-a100"], output=path)
    write_model(embedded / "wm-cuda-a100", version="2.0.0", weights=b"newer")
    one = write_model(tmp_path / "one")
    publish(HuggingFaceHub(), MODEL, Repository("wmhub", "wm-cuda-a100"), one)
    held = resolve_model("wm-cuda-a100", locked=path)
    assert (held.place, held.revision) == ("hf-hub", "v1.0.0")
    assert resolve_model("wm-cuda-a100").revision == "v2.0.0"


def test_a_locked_commit_in_the_cache_asks_no_server(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    publish(HuggingFaceHub(), MODEL, REPOSITORY, write_model(tmp_path / "one"))
    path = tmp_path / "wmhub.lock"
    lock(["acme/wm-cuda-a100"], output=path)
    asked = len(server.requests)
    assert resolve_model("acme/wm-cuda-a100", locked=path).revision == "v1.0.0"
    assert len(server.requests) == asked


def test_a_lock_is_good_at_another_place(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the content decides: a mirror has it by another commit."""
    model = write_model(tmp_path / "one")
    online = publish(HuggingFaceHub(), MODEL, REPOSITORY, model)
    mirrors = [tmp_path / "mirror", tmp_path / "another"]
    for number, mirror in enumerate(mirrors):
        (model / "README.md").write_text(f"# Card {number}")
        publish(FolderHub(mirror), MODEL, REPOSITORY, model)
    path = tmp_path / "wmhub.lock"
    lock(["acme/wm-cuda-a100"], output=path)
    assert read_lock(path).models["acme/wm-cuda-a100"].commit == online
    asked = len(server.requests)
    there = resolve_model("acme/wm-cuda-a100", locked=path, hub=f"folder:{mirrors[0]}")
    assert (there.place, there.revision) == ("folder", "v1.0.0")
    monkeypatch.setenv("WMHUB_HUB", f"folder:{mirrors[0]}")
    assert resolve_model("acme/wm-cuda-a100", locked=path).folder == there.folder
    lock(["acme/wm-cuda-a100"], output=path)
    other = resolve_model("acme/wm-cuda-a100", locked=path, hub=f"folder:{mirrors[1]}")
    assert (other.place, other.revision) == ("folder", "v1.0.0")
    assert len(server.requests) == asked
    assert resolve_model("acme/wm-cuda-a100", locked=path, hub="hf-hub").commit == online
    monkeypatch.delenv("WMHUB_HUB")
    with pytest.raises(InvalidInputError, match="set WMHUB_HUB=folder:PATH"):
        resolve_model("acme/wm-cuda-a100", locked=path)


def test_other_content_at_another_place_is_refused(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    publish(HuggingFaceHub(), MODEL, REPOSITORY, write_model(tmp_path / "one"))
    publish(
        FolderHub(tmp_path / "hub"), MODEL, REPOSITORY, write_model(tmp_path / "two", weights=b"2")
    )
    path = tmp_path / "wmhub.lock"
    lock(["acme/wm-cuda-a100"], output=path)
    with pytest.raises(CheckpointError, match=r"not what .*wmhub\.lock pins"):
        resolve_model("acme/wm-cuda-a100", locked=path, hub=f"folder:{tmp_path / 'hub'}")


def test_one_name_may_stand_alone(embedded: Path, tmp_path: Path) -> None:
    write_model(embedded / "wm-cuda-a100")
    locked = lock("wm-cuda-a100", output=tmp_path / "wmhub.lock")
    assert set(locked.models) == {"wm-cuda-a100"}
    hub = FolderHub(tmp_path / "hub")
    publish(hub, DATASET, Repository("acme", "cuda-a100"), write_dataset(tmp_path / "rows"))
    options = {"output": tmp_path / "wmhub.lock", "hub": f"folder:{tmp_path / 'hub'}"}
    assert set(lock(datasets="acme/cuda-a100", **options).datasets) == {"acme/cuda-a100"}


def test_rows_are_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wmhub.dataset.verify as module

    rows = write_dataset(tmp_path / "rows")
    (split,) = {name for name, ids in open_dataset(rows).splits.items() if ids}
    verified: list[Path] = []
    verify = module.verify
    monkeypatch.setattr(module, "verify", lambda folder: verified.append(folder) or verify(folder))
    assert load_dataset(rows, split=split).num_rows == 3
    assert verified == [rows]


def test_other_content_than_locked_is_refused(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    writable.publish(MODEL, REPOSITORY, write_model(tmp_path / "one"))
    path = tmp_path / "wmhub.lock"
    lock(["acme/wm-cuda-a100"], output=path, hub=writable.spec)
    path.write_text(path.read_text().replace(MODEL.verify(tmp_path / "one").digest, "0" * 64))
    with pytest.raises(CheckpointError, match=r"not what .*wmhub\.lock pins"):
        resolve_model("acme/wm-cuda-a100", locked=path, hub=writable.spec)


def test_one_name_has_one_version(embedded: Path, tmp_path: Path) -> None:
    write_model(embedded / "wm-cuda-a100")
    path = tmp_path / "wmhub.lock"
    for other in ("wm-cuda-a100@v2.0.0", "wm-cuda-a100"):
        with pytest.raises(InvalidInputError, match="a lock pins one version of a name"):
            lock(["wm-cuda-a100@v1.0.0", other], output=path)
    assert not path.exists()
    assert len(lock(["wm-cuda-a100@v1.0.0"] * 2, output=path).models) == 1


def test_what_another_run_locks_meanwhile_stays(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"wm-cuda-{device}" for device in ("a100", "v100", "k80")]
    for name in names:
        write_model(embedded / name, name=name)
    path = tmp_path / "wmhub.lock"
    last, real = names[2], resolve_model

    def resolve(name: str, **options: object) -> object:
        if name == last:
            lock(names[:2], output=path)
        return real(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("wmhub.hub.locking.resolve_model", resolve)
    assert set(lock(last, output=path).models) == set(names)
    assert set(read_lock(path).models) == set(names)


def test_many_runs_at_once_lose_no_entry(embedded: Path, tmp_path: Path) -> None:
    names = [f"wm-cuda-device{number}" for number in range(12)]
    for name in names:
        write_model(embedded / name, name=name)
    path = tmp_path / "locks" / "wmhub.lock"
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: lock(name, output=path), names))
    assert set(read_lock(path).models) == set(names)
    assert [item.name for item in path.parent.iterdir()] == ["wmhub.lock"]


_LOCK = '{"lock_version": 1, "datasets": {}, "models": {"a": %s}}'
_ENTRY = (
    '{"place": "hf-hub", "repository": "%s", "folder": "", "revision": "v1.0.0", "commit": "%s", '
    '"digest": "00", "files": {%s}}'
)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "nonsense", '{"lock_version": 2, "models": {}, "datasets": {}}',
        '{"lock_version": 1, "models": [], "datasets": {}}',
        '{"lock_version": 1, "models": {"a": 1}, "datasets": {}}',
        _LOCK % (_ENTRY % ("a/b/c", "0" * 40, "")),
        _LOCK % (_ENTRY % ("../b", "0" * 40, "")),
        _LOCK % (_ENTRY % ("a/b", "../0", "")),
        _LOCK % (_ENTRY % ("a/b", "0" * 40, '"../x": {"sha256": "", "bytes": 0}')),
    ],
)  # fmt: skip
def test_damaged_locks_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wmhub.lock"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"wmhub\.lock"):
        read_lock(path)


def test_writing_is_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wmhub.hub.lockfile import Lockfile

    path = tmp_path / "wmhub.lock"
    write_lock(path, Lockfile())
    before = path.read_text()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("wmhub.flushing.flush", fail)
    with pytest.raises(OSError, match="disk full"):
        write_lock(path, Lockfile())
    assert path.read_text() == before
    assert [item.name for item in tmp_path.iterdir()] == ["wmhub.lock"]


@pytest.fixture
def readable_by_the_group() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("readable_by_the_group")
def test_what_is_written_has_the_mode_that_others_expect(tmp_path: Path) -> None:
    path, link = tmp_path / "real" / "wmhub.lock", tmp_path / "link.lock"
    write_file(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o664)
    link.symlink_to(path)
    write_file(link, b"newer")
    assert link.is_symlink()
    assert path.read_bytes() == b"newer"
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert [entry.name for entry in path.parent.iterdir()] == ["wmhub.lock"]
