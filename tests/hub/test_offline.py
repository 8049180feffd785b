"""Without a network: what is here answers, and what cannot be done says so before any work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_making import evaluate, publish, trained_on, write_dataset, write_model
from hub_server import HubServer

from wmhub.errors import HubError, UnknownNameError
from wmhub.hub import contribute, create_community, merge_contribution, models, push, resolve_model
from wmhub.hub.artifact import MODEL
from wmhub.hub.evaluation import Evaluation
from wmhub.hub.huggingface import HuggingFaceHub
from wmhub.hub.place import Repository
from wmhub.hub.settings import is_offline

REPOSITORY = Repository("acme", "wm-cuda-a100")


def _never(checkpoint: Path, dataset: Path) -> Evaluation:
    raise AssertionError("it was evaluated, and could not be published")


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_published_offline_and_none_is_evaluated_for_it(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    rows = write_dataset(tmp_path / "rows")
    model = write_model(tmp_path / "model", **trained_on(rows))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    actions: list[Callable[[], object]] = [
        lambda: push(rows, "acme/cuda-a100", dry_run=dry_run),
        lambda: push(model, "acme/wm", dataset=rows, dry_run=dry_run, evaluate=_never),
        lambda: contribute(rows, to="acme/community", dry_run=dry_run),
        lambda: merge_contribution(1, to="acme/community"),
        lambda: create_community(to="acme/community"),
    ]
    for act in actions:
        with pytest.raises(HubError, match="nothing can be published offline: unset HF_HUB_OFF"):
            act()
    assert server.requests == []
    assert push(rows, "acme/cuda-a100", hub=f"folder:{tmp_path / 'hub'}").tag == "v1.0.0"
    push(model, "acme/wm", hub=f"folder:{tmp_path / 'hub'}", dataset=rows, evaluate=evaluate)


def test_a_remembered_tag_without_its_files_is_not_cached(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    hub = HuggingFaceHub()
    publish(hub, MODEL, REPOSITORY, write_model(tmp_path / "one"))
    publish(hub, MODEL, Repository("acme", "wm-kept"), write_model(tmp_path / "kept"))
    gone, _ = resolve_model("acme/wm-cuda-a100"), resolve_model("acme/wm-kept")
    shutil.rmtree(gone.folder)
    for name in ("acme/wm-cuda-a100", "acme/wm-cuda-a100@v1.0.0"):
        with pytest.raises(UnknownNameError, match=r"v1\.0\.0 is not in the cache"):
            resolve_model(name, offline=True)
    listing = models(hardware="cuda-a100", offline=True)
    assert [row.name for row in listing.rows] == ["acme/wm-kept"]
    assert listing.problems == ()


@pytest.mark.parametrize("name", ["checkpoint.json", "weights.safetensors"])
def test_a_part_that_the_cache_lacks_is_no_defect_of_the_artifact(
    server: HubServer, tmp_path: Path, embedded: Path, name: str
) -> None:
    publish(HuggingFaceHub(), MODEL, REPOSITORY, write_model(tmp_path / "one"))
    found = resolve_model("acme/wm-cuda-a100")
    (found.folder / name).unlink()
    with pytest.raises(UnknownNameError, match=f"{name} is not in the cache, .* while online"):
        resolve_model("acme/wm-cuda-a100", offline=True)
    resolve_model("acme/wm-cuda-a100")
    assert resolve_model("acme/wm-cuda-a100", offline=True).folder == found.folder


@pytest.mark.parametrize(
    ("hub", "transformers", "offline"),
    [
        (None, None, False), ("1", None, True), (None, "1", True), (None, "yes", True),
        ("0", "1", False), ("", "1", True), (None, "0", False),
    ],
)  # fmt: skip
def test_offline_is_what_the_client_takes_it_for(
    monkeypatch: pytest.MonkeyPatch, hub: str | None, transformers: str | None, offline: bool
) -> None:
    for name, value in (("HF_HUB_OFFLINE", hub), ("TRANSFORMERS_OFFLINE", transformers)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert is_offline(None) == offline
    read = huggingface_hub.constants._is_true(hub or transformers)
    assert is_offline(None) == read
    assert is_offline(False) is False


def test_a_client_that_was_started_offline_is_explained(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reads the environment once, when it is imported."""
    write_model(embedded / "wm-cuda-a100")
    publish(HuggingFaceHub(), MODEL, REPOSITORY, write_model(tmp_path / "one"))
    reached = HuggingFaceHub()
    assert reached.tags(MODEL, REPOSITORY)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = "the Hugging Face client was started offline: unset HF_HUB_OFFLINE"
    with pytest.raises(HubError, match=said):
        resolve_model("acme/wm-cuda-a100")
    with pytest.raises(HubError, match=said):
        reached.tags(MODEL, REPOSITORY)
    listing = models(hardware="cuda-a100")
    assert [row.name for row in listing.rows] == ["wm-cuda-a100"]
    assert said in listing.problems[0]
