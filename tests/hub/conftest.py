"""A hub of each kind, with nothing in it, and no wait for anyone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_making import KINDS, TOKEN, Place, make_place, write_registry
from hub_server import HubServer

from wmhub.hub.artifact import MODEL, ArtifactKind
from wmhub.hub.place import Repository


class _NoSleep:
    """The module ``time`` for the client, without its ``sleep``."""

    def __getattr__(self, name: str) -> object:
        return (lambda seconds: None) if name == "sleep" else getattr(time, name)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMHUB_HOME", str(tmp_path / "wmhub-home"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    for name in ("WMHUB_HUB", "WMHUB_ORGANISATION", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No test waits for a server's sake; the seconds that it would have waited are kept."""
    import huggingface_hub.utils._http as client

    asked: list[float] = []
    monkeypatch.setattr("wmhub.hub.patience._sleep", asked.append)
    monkeypatch.setattr(client, "time", _NoSleep())
    return asked


@pytest.fixture(scope="session")
def _running_server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def server(_running_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The local server, with nothing in it; the client is logged in as ada."""
    _running_server.reset()
    _running_server.tokens = {"ada": TOKEN, "eve": TOKEN + "Eve"}
    _running_server.orgs = {"ada": {"acme", "wmhub"}}
    monkeypatch.setenv("HF_ENDPOINT", _running_server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return _running_server


@pytest.fixture(params=["embedded", "folder", "hf-hub"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place(request.param, request, tmp_path)


@pytest.fixture(params=["folder", "hf-hub"])
def writable(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place(request.param, request, tmp_path)


@pytest.fixture(params=["model", "dataset"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ArtifactKind, Path, Repository]:
    """A model and a dataset: kind, folder, and the repository to publish it in."""
    kind, write = KINDS[request.param]
    folder = write(tmp_path / "made" / request.param)
    return kind, folder, Repository("acme", "wm-cuda-a100" if kind is MODEL else "cuda-a100")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The client's upload calls its own HTTP library in a way that this deprecates."""
    ignored = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(ignored)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package: embed models by writing folders into it."""
    root = tmp_path / "package"
    root.mkdir()
    monkeypatch.setattr("wmhub.hub.embedded.EMBEDDED_PATH", root)
    write_registry(tmp_path, monkeypatch, "")
    return root
