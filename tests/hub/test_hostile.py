"""What a hostile repository, folder hub, server or contributor tries, and what it gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from click.testing import CliRunner
from hub_making import Place, names_of, publish, write_dataset, write_model, write_real_model
from hub_server import HubServer
from huggingface_hub import RepoFile

from wmhub.cli import cli
from wmhub.errors import (
    CheckpointError,
    HubError,
    InvalidInputError,
    OutputExistsError,
    UnknownNameError,
    WmhubError,
)
from wmhub.evaluator import load_evaluator
from wmhub.hub import push, resolve_model
from wmhub.hub.artifact import DATASET, MODEL
from wmhub.hub.atomic import _STAGED
from wmhub.hub.folder import FolderHub
from wmhub.hub.huggingface import HuggingFaceHub
from wmhub.hub.known_tags import KnownTags
from wmhub.hub.place import Repository, Upload

REPOSITORY = Repository("acme", "wm-cuda-a100")


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden": 10**6}, {"latent": 10**7}, {"members": 10**9}, {"layers": 10**9},
        {"layers": 65, "hidden": 1}, {"hidden": 0}, {"members": -1}, {"latent": 1.5},
        {"latent": True}, {"hidden": "160"}, {"layers": 10**30},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_cannot_ask_for_more_memory_than_its_weights(
    tmp_path: Path, sizes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_real_model(tmp_path / "model", write_dataset(tmp_path / "rows"))
    document = json.loads((folder / "checkpoint.json").read_text())
    document["model"] |= sizes
    (folder / "checkpoint.json").write_text(json.dumps(document))
    monkeypatch.setattr("wmhub.checkpoint.WorldModel", None)
    with pytest.raises(CheckpointError, match=r"too few for such a network|must be a whole number"):
        load_evaluator(folder)


@pytest.mark.parametrize("link", [True, False])
def test_what_lies_where_a_folder_hub_stages_is_removed_only_if_it_is_the_hubs(
    tmp_path: Path, link: bool
) -> None:
    """Whoever may write to the hub has made its staging folder a link to another's home."""
    mine = tmp_path / "home" if link else tmp_path / "hub" / ".incoming"
    for name, inside in (("thesis", "chapter"), ("tmpabc", _STAGED)):
        (mine / name / inside).mkdir(parents=True)
        os.utime(mine / name, (0, 0))
    if link:
        (tmp_path / "hub").mkdir()
        (tmp_path / "hub" / ".incoming").symlink_to(mine)
        with pytest.raises(HubError, match=r"\.incoming is a link"):
            publish(FolderHub(tmp_path / "hub"), MODEL, REPOSITORY, write_model(tmp_path / "m"))
    else:
        publish(FolderHub(tmp_path / "hub"), MODEL, REPOSITORY, write_model(tmp_path / "m"))
    assert (mine / "thesis" / "chapter").is_dir()
    assert (mine / "tmpabc").exists() == link


def _home(tmp_path: Path) -> tuple[FolderHub, Path, str]:
    hub = FolderHub(tmp_path / "hub")
    commit = publish(hub, MODEL, REPOSITORY, write_model(tmp_path / "model"))
    return hub, tmp_path / "hub/models/acme/wm-cuda-a100/commits" / commit, commit


@pytest.mark.parametrize(
    "changes",
    [
        {"message": "another"}, {"parent": "0" * 64}, {"parent": "../../../../etc"},
        {"files": []}, {"files": {}}, {"files": {"../x": {"sha256": "0" * 64, "bytes": 1}}},
        {"files": {"a": 1}}, {"files": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_commit_of_a_folder_hub_is_refused(
    tmp_path: Path, embedded: Path, changes: dict[str, object]
) -> None:
    _, folder, _ = _home(tmp_path)
    record = orjson.loads((folder / "commit.json").read_bytes()) | changes
    (folder / "commit.json").write_bytes(orjson.dumps(record))
    with pytest.raises(InvalidInputError, match=r"commit\.json: is"):
        resolve_model("acme/wm-cuda-a100@v1.0.0", hub=f"folder:{tmp_path / 'hub'}")


def test_a_linked_tree_of_a_folder_hub_gives_no_private_file(tmp_path: Path) -> None:
    """Whoever adds to a collection must not copy a file of their own into it by a planted link."""
    hub, folder, _ = _home(tmp_path)
    (tmp_path / "private").mkdir()
    for name in names_of(folder / "tree"):
        (tmp_path / "private" / name).write_bytes((folder / "tree" / name).read_bytes())
        (folder / "tree" / name).unlink()
    (folder / "tree").rmdir()
    (folder / "tree").symlink_to(tmp_path / "private")
    added = write_model(tmp_path / "added")
    with pytest.raises(InvalidInputError, match="leads out of its folder"):
        hub.commit(
            MODEL,
            REPOSITORY,
            Upload(added, names=names_of(added), message="add", under="x", replace=False),
        )
    with pytest.raises(InvalidInputError, match="leads out of its folder"):
        resolve_model("acme/wm-cuda-a100", hub=f"folder:{tmp_path / 'hub'}")


@pytest.mark.parametrize("link", ["models", "models/acme", "models/acme/wm-cuda-a100/commits"])
def test_nothing_is_published_through_a_link_out_of_a_folder_hub(tmp_path: Path, link: str) -> None:
    """Whoever may write to the hub has what others publish written to a place of their choice."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "hub" / link).parent.mkdir(parents=True)
    (tmp_path / "hub" / link).symlink_to(elsewhere)
    with pytest.raises(HubError, match="leads out of the hub"):
        publish(FolderHub(tmp_path / "hub"), MODEL, REPOSITORY, write_model(tmp_path / "model"))
    assert not any(elsewhere.iterdir())


def test_a_folder_hub_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "hub").symlink_to(tmp_path / "disk")
    publish(FolderHub(tmp_path / "hub"), MODEL, REPOSITORY, write_model(tmp_path / "model"))
    assert (tmp_path / "disk/models/acme/wm-cuda-a100/main/1").is_dir()


def test_what_was_changed_in_a_folder_hub_is_not_committed_again(tmp_path: Path) -> None:
    hub, folder, _ = _home(tmp_path)
    (folder / "tree/README.md").write_text("changed behind the hub's back")
    added = write_model(tmp_path / "added")
    with pytest.raises(InvalidInputError, match="it was changed"):
        hub.commit(
            MODEL,
            REPOSITORY,
            Upload(added, names=names_of(added), message="add", under="x", replace=False),
        )


def test_a_folder_hub_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HubError, match="nothing can be published there"):
        push(write_dataset(tmp_path / "rows"), "acme/x", hub=f"folder:{tmp_path / 'file' / 'hub'}")


def test_a_damaged_memory_of_tags_names_its_file(tmp_path: Path) -> None:
    known = KnownTags("somewhere", tmp_path)
    known.remember("model", REPOSITORY, "v1.0.0", "0" * 40)
    (path,) = tmp_path.rglob("v1.0.0")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match=r"v1\.0\.0: .* is no commit; delete this file"):
        known.of("model", REPOSITORY)


def test_a_home_that_cannot_be_written_is_named(
    writable: Place, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writable.publish(MODEL, REPOSITORY, write_model(tmp_path / "model"))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("WMHUB_HOME", str(tmp_path / "file"))
    with pytest.raises(HubError, match="set WMHUB_HOME to a folder that can be written"):
        resolve_model("acme/wm-cuda-a100", hub=writable.spec)


def test_a_repository_of_another_kind_is_not_overwritten(writable: Place, tmp_path: Path) -> None:
    """The name of a repository with other things in it: nothing there may be deleted."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/train.csv").write_text("1,2")
    repository = Repository("acme", "cuda-a100")
    made = writable.hub.commit(
        DATASET, repository, Upload(tmp_path / "other", names=["train.csv"], message="mine")
    )
    for dry_run in (True, False):
        with pytest.raises(OutputExistsError, match=r"holds train\.csv, and no manifest\.json"):
            push(
                write_dataset(tmp_path / f"rows-{dry_run}"),
                "acme/cuda-a100",
                hub=writable.spec,
                dry_run=dry_run,
            )
    assert writable.hub.resolve(DATASET, repository, "main") == made.id


def test_unknown_names_are_answered_with_the_nearest_of_the_place(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    writable.publish(MODEL, REPOSITORY, write_model(tmp_path / "one"))
    with pytest.raises(UnknownNameError, match=r"Nearest names: acme/wm-cuda-a100\."):
        resolve_model("acme/wm-cuda-a10", hub=writable.spec)
    with pytest.raises(UnknownNameError, match=r"its newest version is v1\.0\.0") as caught:
        resolve_model("acme/wm-cuda-a100@v2.0.0", hub=writable.spec)
    assert "Nearest" not in str(caught.value)
    assert "there is nothing" not in str(caught.value)


def test_what_a_server_says_moves_no_cursor(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    import wmhub.cli

    escape = "\x1b]0;owned\x07\x1b[2J"
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("click.echo", lambda text, err: printed.append(text))
        wmhub.cli._complain(f"said {escape}\nmore")
    assert "\x1b]" not in printed[0]
    assert r"said \x1b]0;owned\x07\x1b[2J" in printed[0]
    assert printed[0].endswith("\nmore")


def test_a_snapshot_of_the_clients_cache_loads_by_its_path(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    from huggingface_hub import snapshot_download

    from wmhub.hub.huggingface import HuggingFaceHub

    publish(HuggingFaceHub(), MODEL, REPOSITORY, write_model(tmp_path / "model"))
    folder = Path(snapshot_download(str(REPOSITORY), endpoint=server.url, revision="v1.0.0"))
    assert (folder / "checkpoint.json").is_symlink()
    assert resolve_model(folder).place == "local-dir"
    blob = (folder / "weights.safetensors").resolve()
    (folder / "weights.safetensors").unlink()
    (tmp_path / "elsewhere").write_bytes(blob.read_bytes())
    (folder / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WmhubError, match="leads out of its folder"):
        resolve_model(folder)


def test_the_token_is_in_nothing_that_a_verb_prints_or_writes(
    server: HubServer, tmp_path: Path
) -> None:
    """Each verb in a process of its own, with --debug, against a server that quotes the token."""
    token = server.tokens["ada"]
    rows = write_dataset(tmp_path / "rows")
    said = {"status": 403, "headers": {"X-Error-Message": f"Bearer {token} has no right"}}
    server.fault("POST .*/commit/main", **said, times=9)
    server.fault("GET .*/revision/v1", **said, times=9)
    server.fault("GET /api/(models|datasets)$", **said, times=9)
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "WMHUB_HOME": str(tmp_path / "wmhub"),
        "HF_HUB_VERBOSITY": "debug",
        "HF_HUB_DISABLE_PROGRESS_BARS": "0",
    }
    verbs = (
        ["push", str(rows), "acme/cuda-a100"],
        ["lock", "acme/wm-cuda-a100@v1.0.0", "--output", str(tmp_path / "wmhub.lock")],
        ["models"],
    )
    for verb in verbs:
        for login in (token, f"{token}Wrong"):
            done = subprocess.run(
                [sys.executable, "-m", "wmhub", "--debug", *verb],
                env={**environment, "HF_TOKEN": login},
                capture_output=True,
                text=True,
                check=False,
                cwd=tmp_path,
            )
            assert "defect of wmhub" not in done.stderr, done.stderr
            assert token not in done.stdout + done.stderr, verb
    assert f"Bearer {token}" in server.authorisations
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HF_HUB_DISABLE_XET": "0"}, "no Xet storage: set HF_HUB_DISABLE_XET=1"),
        ({"HF_TOKEN": "hf_öffentlich-nicht"}, "the login is not plain ASCII"),
    ],
    ids=["xet", "login"],
)
def test_settings_that_cannot_work_are_explained(
    server: HubServer, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    rows = write_dataset(tmp_path / "rows")
    done = subprocess.run(
        [sys.executable, "-m", "wmhub", "push", str(rows), "acme/cuda-a100"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "öffentlich" not in done.stderr


def test_the_table_names_the_hardware(embedded: Path) -> None:
    write_model(embedded / "wm-cuda-a100")
    arguments = ["models", "--offline", "--hardware", "cuda-v100"]
    table = CliRunner().invoke(cli, arguments, env={"COLUMNS": "160"})
    (row,) = [line for line in table.stderr.splitlines() if line.startswith("wm-cuda-a100 ")]
    assert row.split()[1] == "cuda-a100"


def _raises(_: object) -> None:
    raise AttributeError("'str' object has no attribute 'get'")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("list_models", [SimpleNamespace(id=7)]),
        ("list_repo_refs", SimpleNamespace(tags=[SimpleNamespace(name=3, target_commit="0" * 40)])),
        ("list_repo_tree", [RepoFile(path="a", size=None, oid="b")]),
        ("list_repo_tree", [RepoFile(path="a", size=-1, oid="b")]),
        ("repo_info", None),
    ],
    ids=str,
)
def test_an_answer_that_makes_no_sense_is_told_as_one(
    monkeypatch: pytest.MonkeyPatch, call: str, answer: object
) -> None:
    hub = HuggingFaceHub()
    hub._is_reached = True
    answers = _raises if answer is None else lambda *_, **__: answer
    monkeypatch.setattr(hub._api, call, lambda *given, **_: answers(given))
    asks = {
        "list_models": lambda: hub.repositories(MODEL),
        "list_repo_refs": lambda: hub.tags(MODEL, REPOSITORY),
        "list_repo_tree": lambda: hub.files(MODEL, REPOSITORY, "0" * 40),
        "repo_info": lambda: hub.resolve(MODEL, REPOSITORY, "main"),
    }
    with pytest.raises(HubError, match="makes no sense"):
        asks[call]()


@pytest.mark.parametrize("name", ["../../../home/ada/x", "/etc/x", "a/b", "wm a100", ".x"])
def test_a_name_that_leads_out_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "model")
    document = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps({**document, "name": name}))
    with pytest.raises(CheckpointError, match="must do as the name of a file"):
        MODEL.verify(folder)
