"""What was published, as plain git repositories behind a third-party server (olah, from PyPI)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_making import evaluate, names_of, write_dataset, write_real_model

from wmhub import from_pretrained
from wmhub.hub import lock, push, resolve_dataset, resolve_model
from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind
from wmhub.hub.folder import FolderHub
from wmhub.hub.place import Repository

_OLAH = shutil.which("olah-cli")
pytestmark = pytest.mark.skipif(not (_OLAH and shutil.which("git")), reason="needs olah and git")


_AUTHOR = {
    "GIT_AUTHOR_NAME": "ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def _git(folder: Path, *arguments: str) -> None:
    command = ["git", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, env={**os.environ, **_AUTHOR}, capture_output=True)


def _as_git(hub: FolderHub, kind: ArtifactKind, repository: Repository, mirrors: Path) -> None:
    """The versions of a repository as commits and tags of a git repository."""
    folder = mirrors / f"{kind.label}s" / repository.org / repository.name
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main")
    for tag, commit in hub.tags(kind, repository).items():
        snapshot = hub.fetch(kind, repository, commit, [])
        for name in names_of(snapshot.folder):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(snapshot.folder / name, folder / name)
        _git(folder, "add", "--all")
        _git(folder, "commit", "-q", "-m", tag)
        _git(folder, "tag", tag)


@pytest.fixture
def olah(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """olah, offline, with git repositories as its only source; yields their folder."""
    mirrors = tmp_path / "mirrors"
    mirrors.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "olah.toml"
    config.write_text(
        f'[basic]\nhost = "127.0.0.1"\nport = {port}\nrepos-path = "{tmp_path / "cache"}"\n'
        f'mirrors-path = ["{mirrors}"]\n[accessibility]\noffline = true\n'
    )
    log = (tmp_path / "olah.log").open("w")
    process = subprocess.Popen(
        [str(_OLAH), "--config", str(config), "--log-path", str(tmp_path / "logs")],
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (tmp_path / "olah.log").read_text()
            time.sleep(0.1)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        yield mirrors
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def test_published_repositories_behind_olah(olah: Path, tmp_path: Path, embedded: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    rows = write_dataset(tmp_path / "rows")
    push(rows, "acme/cuda-a100", hub=f"folder:{tmp_path / 'hub'}")
    model = write_real_model(tmp_path / "model", rows)
    push(model, "acme/wm-cuda-a100", hub=f"folder:{tmp_path / 'hub'}", evaluate=evaluate)
    _as_git(hub, DATASET, Repository("acme", "cuda-a100"), olah)
    _as_git(hub, MODEL, Repository("acme", "wm-cuda-a100"), olah)

    found = resolve_model("acme/wm-cuda-a100")
    assert (found.place, found.revision) == ("hf-hub", "v1.0.0")
    assert from_pretrained("acme/wm-cuda-a100@v1.0.0").name == "wm-cuda-a100"
    data = resolve_dataset("acme/cuda-a100", revision=None)
    assert data.manifest.digest == DATASET.verify(rows).digest
    code = (
        "import datasets\n"
        "rows = datasets.load_dataset('acme/cuda-a100', 'cuda-a100', revision='v1.0.0')\n"
        "print(sum(split.num_rows for split in rows.values()))\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "plain")}
    plain = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert plain.stdout.split()[-1] == "3"
    lock(["acme/wm-cuda-a100"], datasets=["acme/cuda-a100"], output=tmp_path / "wmhub.lock")
    assert resolve_model("acme/wm-cuda-a100", locked=tmp_path / "wmhub.lock", offline=True)
