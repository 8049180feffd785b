"""Hostile repositories: what SECURITY.md promises."""

from __future__ import annotations

import ast
import json
import logging
import re
from pathlib import Path

import pytest
from hub_making import Place, names_of, publish, write_dataset, write_model
from hub_server import HubServer
from hub_store import File

import wmhub
from wmhub.errors import CheckpointError, HubError, InvalidInputError, WmhubError
from wmhub.hub import push, resolve_dataset, resolve_model
from wmhub.hub.artifact import MODEL
from wmhub.hub.folder import FolderHub
from wmhub.hub.huggingface import HuggingFaceHub
from wmhub.hub.integrity import MOST_MANIFEST_BYTES
from wmhub.hub.patience import without_login, without_secrets
from wmhub.hub.place import Repository, Upload

REPOSITORY = Repository("acme", "wm-cuda-a100")
_FORBIDDEN_CALLS = ("eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load")
ROOT = Path(wmhub.__file__).parent


def test_code_and_pickles_of_a_repository_are_not_even_fetched(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    folder = write_model(tmp_path / "model")
    for name in ("modeling.py", "pytorch_model.bin", "setup.py", "tokenizer.pkl"):
        (folder / name).write_bytes(b"raise SystemExit('run')")
    publish(HuggingFaceHub(), MODEL, REPOSITORY, folder)
    found = resolve_model("acme/wm-cuda-a100")
    assert names_of(found.folder) == ["README.md", "checkpoint.json", "weights.safetensors"]
    fetched = [line for line in server.requests if "/resolve/" in line]
    assert not any(line.endswith((".py", ".bin", ".pkl")) for line in fetched)


def test_the_package_has_no_pickle_no_eval_no_remote_code() -> None:
    """Over every file of the package, by its syntax tree."""
    forbidden_modules = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
                found += [where] if names & forbidden_modules else []
            elif isinstance(node, ast.ImportFrom):
                found += [where] if (node.module or "").split(".")[0] in forbidden_modules else []
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                found += [where] if called in _FORBIDDEN_CALLS else []
                if called in ("np.load", "numpy.load"):
                    safe = any(ast.unparse(word) == "allow_pickle=False" for word in node.keywords)
                    found += [] if safe else [where]
            elif isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                found.append(where)
    assert found == []


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/passwd",
        "a/../../outside",
        "C:\\x",
        "..\\x",
        "a\\..\\b",
        "con",
        "x:y",
        "",
    ],
)
def test_paths_of_a_manifest_cannot_leave(
    writable: Place, tmp_path: Path, embedded: Path, name: str
) -> None:
    folder = write_model(tmp_path / "model")
    manifest = json.loads((folder / "checkpoint.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    commit = writable.hub.commit(
        MODEL, REPOSITORY, Upload(folder, names=names_of(folder), message="good")
    ).id
    (folder / "checkpoint.json").write_text(json.dumps(manifest))
    commit = writable.hub.commit(
        MODEL, REPOSITORY, Upload(folder, names=names_of(folder), message="bad", parent=commit)
    ).id
    with pytest.raises(CheckpointError, match="file name"):
        resolve_model("acme/wm-cuda-a100", revision=commit, hub=writable.spec)
    with pytest.raises(CheckpointError, match="file name"):
        resolve_model(folder)


@pytest.mark.parametrize("name", ["../outside", "/x", "a\\b", ".git/config", "con"])
def test_paths_of_a_publication_cannot_leave(writable: Place, tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "model")
    (tmp_path / "outside").write_text("secret")
    with pytest.raises(InvalidInputError, match="file name"):
        writable.hub.commit(MODEL, REPOSITORY, Upload(folder, names=[name], message="bad"))


def test_links_in_a_folder_hub_cannot_leave(tmp_path: Path, embedded: Path) -> None:
    (tmp_path / "secret").write_bytes(b"weights" * 1000)
    hub = FolderHub(tmp_path / "hub")
    commit = publish(hub, MODEL, REPOSITORY, write_model(tmp_path / "model"))
    weights = tmp_path / f"hub/models/acme/wm-cuda-a100/commits/{commit}/tree/weights.safetensors"
    weights.unlink()
    weights.symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInputError, match="leads out of its folder"):
        resolve_model("acme/wm-cuda-a100", hub=f"folder:{tmp_path / 'hub'}")


def test_links_in_what_is_pushed_cannot_leave(tmp_path: Path) -> None:
    rows = write_dataset(tmp_path / "rows")
    (tmp_path / "secret").write_text("---\n---\nsecret")
    (rows / "README.md").unlink()
    (rows / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInputError, match="leads out of its folder"):
        push(rows, "acme/cuda-a100", hub=f"folder:{tmp_path / 'hub'}")


def test_sizes_are_bounded_before_anything_is_fetched(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(HuggingFaceHub(), MODEL, REPOSITORY, write_model(tmp_path / "model"))
    files = server.repo("model", str(REPOSITORY)).commit_of("main").files
    honest = files["checkpoint.json"]
    files["checkpoint.json"] = File(b"[" * (MOST_MANIFEST_BYTES + 1))
    with pytest.raises(CheckpointError, match="it was not fetched"):
        resolve_model("acme/wm-cuda-a100")
    files["checkpoint.json"] = honest
    monkeypatch.setattr(type(MODEL), "most_bytes", 5000)
    with pytest.raises(CheckpointError, match="more than a model may have"):
        resolve_model("acme/wm-cuda-a100")
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    files["weights.safetensors"] = File(b"w" * 100_000)
    with pytest.raises(CheckpointError, match="it was not fetched"):
        resolve_model("acme/wm-cuda-a100")
    fetched = [line for line in server.requests if "/resolve/" in line]
    assert not any("weights" in line for line in fetched)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"NaN",
        b'{"schema_version": true}', b'{"schema_version": 1, "files": []}',
        b'{"schema_version": 1, "files": {}}', b'{"schema_version": 1, "files": {"a": 1}}',
        b'{"schema_version": 1, "files": {"a": {"sha256": 1, "bytes": 1}}}',
        b'{"schema_version": 1, "files": {"a": {"sha256": "%s", "bytes": 1e300}}}' % (b"0" * 64),
        b'{"schema_version": 1, "files": {"a": {"sha256": "%s", "bytes": 1}}, "name": 7}'
        % (b"0" * 64),
        b'{"schema_version": 1, "files": {"a": {"sha256": "%s", "bytes": 1}}, "name": "a", '
        b'"version": "1.0.0", "hardware": []}' % (b"0" * 64),
    ],
    ids=range(16),
)  # fmt: skip
def test_hostile_manifests_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.json").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        resolve_model(tmp_path)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("sha", ["../../../etc", "/etc", "a/b", "", "x" * 300])
def test_a_server_cannot_name_a_commit_that_is_a_path(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch, sha: str
) -> None:
    publish(HuggingFaceHub(), MODEL, REPOSITORY, write_model(tmp_path / "model"))
    repo = server.repo("model", str(REPOSITORY))
    real = repo.info
    monkeypatch.setattr(repo, "info", lambda commit: {**real(commit), "sha": sha})
    before = names_of(tmp_path)
    with pytest.raises(WmhubError):
        resolve_model("acme/wm-cuda-a100@v1.0.0")
    assert names_of(tmp_path) == before


def test_the_token_is_in_no_error_log_card_or_lock(
    server: HubServer,
    tmp_path: Path,
    embedded: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from wmhub.hub import lock

    token = server.tokens["ada"]
    caplog.set_level(logging.DEBUG)
    rows = write_dataset(tmp_path / "rows")
    server.fault("POST .*/commit/main", status=500, headers={"X-Error-Message": f"no {token}"})
    push(rows, "acme/cuda-a100", hub="hf-hub")
    lock(datasets=["acme/cuda-a100"], output=tmp_path / "wmhub.lock")
    server.fault("GET .*/revision/", status=403, headers={"X-Error-Message": f"no {token}"})
    with pytest.raises(HubError) as caught:
        resolve_dataset("acme/cuda-a100@v1.0.0")
    chained = [caught.value, caught.value.__cause__]
    assert all(token not in f"{error!s} {error!r}" for error in chained)
    assert any(f"Bearer {token}" == sent for sent in server.authorisations)
    printed = capsys.readouterr()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("wmhub")]
    assert token not in "".join([printed.out, printed.err, *ours])
    for path in [tmp_path / "wmhub.lock", *tmp_path.rglob("*.md"), *tmp_path.rglob("*.json")]:
        assert token not in path.read_text()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no hf_abcdefghijklmnop here", "no … here"),
        ("Authorization: Bearer abc.def", "Authorization: …"),
        ("GET https://cdn/x?Signature=abc&Key=1 failed", "GET https://cdn/x?… failed"),
        ("at https://ada:secret@hub.example/x", "at https://…@hub.example/x"),
        ("nothing to hide", "nothing to hide"),
        ("http://me:se@cret@hub.example/a", "http://…@hub.example/a"),
        ("model a/b on ada:se@cret@hub.example:8443/x", "model a/b on …@hub.example:8443/x"),
        ("for url 'ada:secret@hub.example'", "for url '…@hub.example'"),
        ("model acme/wm-cuda-a100@v1.0.0: gone", "model acme/wm-cuda-a100@v1.0.0: gone"),
        ("ask ada@hub.example", "ask ada@hub.example"),
    ],
)
def test_secrets_are_taken_out_of_messages(text: str, left: str) -> None:
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    ("address", "left"),
    [
        ("https://hub.example:8443/x", "https://hub.example:8443/x"),
        ("https://ada:se@cret@hub.example/x", "https://hub.example/x"),
        ("https://hub.example/a@b", "https://hub.example/a@b"),
        ("https://hub.example?a=b@c", "https://hub.example?a=b@c"),
        ("ada:secret@hub.example:8443", "hub.example:8443"),
        ("ada:sec/ret@hub.example", "hub.example"),
        ("secret@hub.example", "hub.example"),
        ("hub.example", "hub.example"),
    ],
)
def test_a_login_is_taken_out_of_an_address(address: str, left: str) -> None:
    assert without_login(address) == left


@pytest.mark.parametrize("endpoint", ["ada:secret@127.0.0.1:9", "secret@127.0.0.1:9"])
def test_an_endpoint_that_is_no_url_is_told_without_its_login(
    embedded: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(
        InvalidInputError, match="no address of a server such as https://"
    ) as caught:
        resolve_model("acme/wm-cuda-a100")
    assert "secret" not in str(caught.value)


def test_every_threat_names_a_test_that_exists() -> None:
    text = (ROOT.parent / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}(" in (ROOT.parent / file).read_text(), f"{file}::{test}"
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all("`tests/" in row for row in rows[1:])
