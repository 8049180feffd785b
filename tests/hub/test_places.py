"""The same story at every place: embedded, folder, Hugging Face Hub."""

from __future__ import annotations

import pydoc
import threading
from pathlib import Path

import pytest
from hub_making import Place, names_of, publish, write_model

from wmhub.errors import HubError, InvalidInputError, OutputExistsError, UnknownNameError
from wmhub.hub.artifact import MODEL, ArtifactKind
from wmhub.hub.obtain import obtain
from wmhub.hub.place import Repository, Upload

Made = tuple[ArtifactKind, Path, Repository]


def test_published_is_found_and_verified(place: Place, made: Made) -> None:
    kind, folder, repository = made
    commit = place.publish(kind, repository, folder)
    assert place.hub.repositories(kind) == [repository]
    assert dict(place.hub.tags(kind, repository)) == {"v1.0.0": commit}
    assert place.hub.resolve(kind, repository, "v1.0.0") == commit
    assert place.hub.resolve(kind, repository, commit) == commit
    snapshot, manifest = obtain(place.hub, kind, repository, commit)
    for name in names_of(folder):
        assert (snapshot.folder / name).read_bytes() == (folder / name).read_bytes()
    assert str(manifest.version) == "1.0.0"


def test_unknown_repository_and_revision(place: Place, made: Made) -> None:
    kind, folder, repository = made
    with pytest.raises(UnknownNameError, match="acme/"):
        place.hub.tags(kind, repository)
    place.publish(kind, repository, folder)
    with pytest.raises(UnknownNameError):
        place.hub.resolve(kind, repository, "v9.9.9")
    with pytest.raises(UnknownNameError):
        place.hub.tags(kind, Repository("other", repository.name))


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [(b"x" * 7000, "the file was changed"), (b"short", "bytes, but its manifest says")],
    ids=["changed", "truncated"],
)
def test_spoiled_files_are_refused(
    place: Place, tmp_path: Path, spoiled: bytes, reason: str
) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    commit = place.publish(MODEL, repository, write_model(tmp_path / "model"))
    place.spoil(MODEL, repository, "weights.safetensors", spoiled)
    with pytest.raises(InvalidInputError, match=reason):
        obtain(place.hub, MODEL, repository, commit)


def test_a_repository_that_is_not_ours_in_form(place: Place, tmp_path: Path) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    commit = place.publish(MODEL, repository, write_model(tmp_path / "model"))
    place.spoil(MODEL, repository, "checkpoint.json", b"[]")
    with pytest.raises(InvalidInputError, match="is no JSON object"):
        obtain(place.hub, MODEL, repository, commit)


def test_pinned_digest(place: Place, tmp_path: Path) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    commit = place.publish(MODEL, repository, write_model(tmp_path / "model"))
    with pytest.raises(InvalidInputError, match="not what the registry pins"):
        obtain(place.hub, MODEL, repository, commit, digest="0" * 64, pinned_by="the registry")


def test_tags_never_move(writable: Place, tmp_path: Path) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    first = writable.publish(MODEL, repository, write_model(tmp_path / "one"))
    second = write_model(tmp_path / "two", weights=b"other")
    names = names_of(second)
    commit = writable.hub.commit(MODEL, repository, Upload(second, names=names, message="two"))
    assert commit.id != first
    with pytest.raises(OutputExistsError, match="a tag never moves"):
        writable.hub.tag(MODEL, repository, "v1.0.0", commit.id)
    writable.hub.tag(MODEL, repository, "v1.0.0", first)  # the same again is no change
    assert writable.hub.resolve(MODEL, repository, "v1.0.0") == first
    assert writable.hub.resolve(MODEL, repository, "main") == commit.id


def test_a_publication_replaces_all_and_the_same_again_none(
    writable: Place, tmp_path: Path
) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    folder = write_model(tmp_path / "one")
    (folder / "picture.png").write_bytes(b"png")
    first = writable.publish(MODEL, repository, folder)
    (folder / "picture.png").unlink()
    second = writable.hub.commit(
        MODEL, repository, Upload(folder, names=names_of(folder), message="without", parent=first)
    )
    assert "picture.png" in writable.hub.files(MODEL, repository, first)
    assert "picture.png" not in writable.hub.files(MODEL, repository, second.id)
    again = writable.hub.commit(
        MODEL, repository, Upload(folder, names=names_of(folder), message="again", parent=second.id)
    )
    assert again.id == second.id


def test_a_late_writer_is_told(writable: Place, tmp_path: Path) -> None:
    repository = Repository("acme", "wm-cuda-a100")
    first = writable.publish(MODEL, repository, write_model(tmp_path / "one"))
    for name, raises in (("two", False), ("three", True)):
        folder = write_model(tmp_path / name, weights=name.encode())
        options = {"names": names_of(folder), "message": name, "parent": first}
        if raises:
            with pytest.raises(HubError, match="someone else has published meanwhile"):
                writable.hub.commit(MODEL, repository, Upload(folder, **options))
        else:
            writable.hub.commit(MODEL, repository, Upload(folder, **options))


def test_the_later_of_two_first_publications_is_told(writable: Place, tmp_path: Path) -> None:
    """Both saw that nothing was there, and one has published since."""
    repository = Repository("acme", "wm-cuda-a100")
    for name, raises in (("one", False), ("two", True)):
        folder = write_model(tmp_path / name, weights=name.encode())
        upload = Upload(folder, names=names_of(folder), message=name, is_first=True)
        if raises:
            with pytest.raises(HubError, match="someone else has published meanwhile"):
                writable.hub.commit(MODEL, repository, upload)
        else:
            first = writable.hub.commit(MODEL, repository, upload)
    assert writable.hub.resolve(MODEL, repository, "main") == first.id


def test_first_publications_at_the_same_moment(
    writable: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As both are about to make the commit, the other one makes it."""
    repository = Repository("acme", "wm-cuda-a100")
    ours, theirs = (write_model(tmp_path / name, weights=name.encode()) for name in ("a", "b"))
    where = "wmhub.hub.folder._copied"
    if writable.hub.label == "hf-hub":
        where = "huggingface_hub.HfApi.create_commit"
    real = pydoc.locate(where)
    made: list[str] = []

    def come_first(*given: object, **options: object) -> object:
        monkeypatch.setattr(where, real)
        made.append(writable.publish(MODEL, repository, theirs))
        return real(*given, **options)  # type: ignore[operator]

    monkeypatch.setattr(where, come_first)
    upload = Upload(ours, names=names_of(ours), message="ours", is_first=True)
    with pytest.raises(HubError, match="someone else has published meanwhile"):
        writable.hub.commit(MODEL, repository, upload)
    assert [writable.hub.resolve(MODEL, repository, "main")] == made


def test_pull_request_and_merge(writable: Place, tmp_path: Path) -> None:
    repository = Repository("acme", "community")
    kind = MODEL
    first = publish(writable.hub, kind, repository, write_model(tmp_path / "base"))
    added = write_model(tmp_path / "added", weights=b"added")
    request = writable.hub.commit(
        kind,
        repository,
        Upload(
            added,
            names=["checkpoint.json", "weights.safetensors"],
            message="add",
            under="cuda-v100/ada",
            replace=False,
            pull_request=True,
        ),
    )
    assert request.pull_request == 1
    proposed = writable.hub.resolve(kind, repository, "refs/pr/1")
    assert writable.hub.resolve(kind, repository, "main") == first
    assert writable.hub.base(kind, repository, 1) == first
    assert "cuda-v100/ada/weights.safetensors" in writable.hub.files(kind, repository, proposed)
    merged = writable.hub.merge(kind, repository, 1)
    files = writable.hub.files(kind, repository, merged)
    assert {"weights.safetensors", "cuda-v100/ada/weights.safetensors"} <= set(files)


def test_the_embedded_place_cannot_be_written(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from hub_making import make_place

    place = make_place("embedded", request, tmp_path)
    repository = Repository("acme", "wm-cuda-a100")
    for call in (
        lambda: place.hub.commit(MODEL, repository, Upload(tmp_path, names=[], message="")),
        lambda: place.hub.tag(MODEL, repository, "v1.0.0", "0"),
        lambda: place.hub.merge(MODEL, repository, 1),
    ):
        with pytest.raises(HubError, match="cannot be published to"):
            call()


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    """Eight writers of one folder hub: every commit is whole, and one tag has one meaning."""
    from wmhub.hub.folder import FolderHub

    repository = Repository("acme", "wm-cuda-a100")
    winners: list[str] = []
    refused: list[Exception] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        hub = FolderHub(tmp_path / "hub")
        folder = write_model(tmp_path / f"model-{number}", weights=bytes([number]) * 5000)
        start.wait()
        while True:
            try:
                commit = hub.commit(
                    MODEL, repository, Upload(folder, names=names_of(folder), message=str(number))
                )
            except HubError:
                continue
            break
        try:
            hub.tag(MODEL, repository, "v1.0.0", commit.id)
            winners.append(commit.id)
        except OutputExistsError as error:
            refused.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hub = FolderHub(tmp_path / "hub")
    assert len(winners) == 1
    assert len(refused) == 7
    assert hub.resolve(MODEL, repository, "v1.0.0") == winners[0]
    home = tmp_path / "hub/models/acme/wm-cuda-a100"
    assert sorted(int(path.name) for path in (home / "main").iterdir()) == list(range(1, 9))
    for commit in (home / "commits").iterdir():
        if any(commit.name in p.read_text() for p in (home / "main").glob("*/points.json")):
            obtain(hub, MODEL, repository, commit.name)
    assert not list((tmp_path / "hub/.incoming").iterdir())
