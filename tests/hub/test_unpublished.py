"""Names that this release lists, at a place that does not have them, and schemas to come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_making import dataset_row, registry_row, write_dataset, write_model, write_registry
from hub_server import HubServer

from wmhub.errors import SchemaVersionError, UnknownNameError
from wmhub.hub import resolve_dataset, resolve_model
from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind


@pytest.fixture
def listed(embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that lists two datasets and a model, and an empty package."""
    rows = write_dataset(tmp_path / "rows")
    other = write_dataset(tmp_path / "other", hardware="cuda-v100")
    models = registry_row("wm-cuda-a100", "0" * 64)
    write_registry(tmp_path, monkeypatch, models, dataset_row(rows) + dataset_row(other))


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("hub", ["hf-hub", "folder", "offline"])
def test_a_listed_dataset_that_is_not_there_yet(
    server: HubServer, tmp_path: Path, hub: str
) -> None:
    (tmp_path / "hub").mkdir()
    spec = f"folder:{tmp_path / 'hub'}" if hub == "folder" else None
    for name in ("cuda-a100", "wmhub/cuda-a100"):
        with pytest.raises(UnknownNameError) as caught:
            resolve_dataset(name, hub=spec, offline=hub == "offline")
        message = str(caught.value)
        assert "lists cuda-a100 as v1.0.0, but it may not be published yet" in message
        assert "wmhub collect --recipe datasets/cuda-a100/sources.toml --output DIR" in message
        assert str(tmp_path / "hub" if hub == "folder" else "cuda-a100") in message
        assert "Nearest names" not in message
        assert "None was taken in its place" not in message


@pytest.mark.usefixtures("listed")
def test_a_listed_model_that_is_not_there(server: HubServer) -> None:
    with pytest.raises(UnknownNameError, match="lists wm-cuda-a100 as v1") as caught:
        resolve_model("wm-cuda-a100@v2.0.0")
    assert "collect" not in str(caught.value)


@pytest.mark.usefixtures("listed")
def test_a_name_is_not_nearest_to_itself(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WMHUB_ORGANISATION", "acme")
    with pytest.raises(UnknownNameError) as caught:
        resolve_dataset("cuda-a100")
    message = str(caught.value)
    assert "Nearest names: cuda-v100." in message
    assert "  cuda-a100:" not in message
    with pytest.raises(UnknownNameError, match=r"Nearest names: cuda-a100, cuda-v100\."):
        resolve_dataset("acme/cuda-a100")


@pytest.mark.parametrize(
    ("kind", "home"), [(MODEL, "wmhub.checkpoint"), (DATASET, "wmhub.dataset.schema")]
)
def test_the_newest_schema_is_that_of_the_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: ArtifactKind, home: str
) -> None:
    folder = write_model(tmp_path / "x") if kind is MODEL else write_dataset(tmp_path / "x")
    document = json.loads((folder / kind.manifest_name).read_text())
    newer = json.dumps({**document, "schema_version": 2}).encode()
    with pytest.raises(SchemaVersionError, match="schema version 2 is newer than the 1 that"):
        kind.parse(newer, "test")
    monkeypatch.setattr(f"{home}.SCHEMA_VERSION", 2)
    assert kind.parse(newer, "test").schema_version == 2
