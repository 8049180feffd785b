"""``wmhub models`` and ``wmhub datasets``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hub_making import publish, registry_row, write_dataset, write_model, write_registry
from hub_server import HubServer

from wmhub.cli import cli
from wmhub.errors import UnknownNameError
from wmhub.hub import datasets, models, resolve_model
from wmhub.hub.artifact import DATASET, MODEL
from wmhub.hub.folder import FolderHub
from wmhub.hub.place import Repository


def test_every_place_is_listed_best_first(
    embedded: Path, server: HubServer, tmp_path: Path
) -> None:
    from wmhub.hub.huggingface import HuggingFaceHub

    hub = HuggingFaceHub()
    llvm = "llvm-emeraldrapids-2c"
    write_model(embedded / f"wm-{llvm}", name=f"wm-{llvm}", hardware=llvm)
    for name in ("one", "two", "three"):
        model = write_model(tmp_path / name, name=f"wm-{name}", hardware="cuda-a100")
        publish(hub, MODEL, Repository("acme", f"wm-{name}"), model)
    resolve_model("acme/wm-two")
    listing = models(hardware="cuda-a100")
    assert [row.name for row in listing.rows] == [
        "acme/wm-one",
        "acme/wm-three",
        "acme/wm-two",
        f"wm-{llvm}",
    ]
    rows = {row.name: row for row in listing.rows}
    assert rows["acme/wm-two"].places == ("cached", "hf-hub")
    assert rows["acme/wm-one"].places == ("hf-hub",)
    assert rows["acme/wm-one"].is_nearest
    assert rows[f"wm-{llvm}"].places == ("embedded",)
    assert rows[f"wm-{llvm}"].fit == f"trained on {llvm}: schedules of llvm, not of cuda"
    assert rows["acme/wm-one"].headline == "top-1 0.910, top-5 0.980"
    assert listing.problems == ()
    offline = models(hardware="cuda-a100", offline=True)
    assert [row.name for row in offline.rows] == ["acme/wm-two", f"wm-{llvm}"]


def test_what_cannot_be_read_is_named_and_the_rest_listed(
    embedded: Path, server: HubServer, tmp_path: Path
) -> None:
    from hub_store import File

    from wmhub.hub.huggingface import HuggingFaceHub

    hub = HuggingFaceHub()
    publish(hub, MODEL, Repository("acme", "wm-good"), write_model(tmp_path / "good"))
    publish(hub, MODEL, Repository("acme", "wm-bad"), write_model(tmp_path / "bad"))
    bad = server.repo("model", "acme/wm-bad").commit_of("main").files
    bad["checkpoint.json"] = File(b"{}")
    listing = models(hardware="cuda-a100")
    assert [row.name for row in listing.rows] == ["acme/wm-good"]
    assert len(listing.problems) == 1
    assert "'schema_version' must be a whole number" in listing.problems[0]


def test_a_name_is_listed_as_what_it_loads_and_what_is_newer_as_such(
    embedded: Path, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.hub.huggingface import HuggingFaceHub

    hub, repository = HuggingFaceHub(), Repository("wmhub", "wm-cuda-a100")
    one = write_model(embedded / "wm-cuda-a100")
    row_of_one = registry_row("wm-cuda-a100", MODEL.verify(one).digest)
    write_registry(tmp_path, monkeypatch, row_of_one)
    publish(hub, MODEL, repository, one)
    publish(hub, MODEL, repository, write_model(tmp_path / "two", version="1.1.0", weights=b"2"))
    (row,) = models(hardware="cuda-a100").rows
    assert (row.name, row.places) == ("wm-cuda-a100", ("embedded", "hf-hub"))
    assert (str(row.version), str(row.newer)) == ("1.0.0", "1.1.0")
    assert str(resolve_model(row.name).manifest.version) == str(row.version)
    assert str(resolve_model(f"{row.name}@{row.newer.tag}").manifest.version) == "1.1.0"
    shown = CliRunner().invoke(cli, ["models", "--hardware", "cuda-a100"]).stderr
    assert f"1.1.0 is newer: {row.name}@v1.1.0 loads it" in shown
    # A hub that is named is the only place, and the registry pins there as well.
    (row,) = models(hardware="cuda-a100", hub="hf-hub").rows
    assert (str(row.version), str(row.newer)) == ("1.0.0", "1.1.0")
    assert row.places == ("hf-hub",)


def test_a_name_whose_version_is_nowhere_is_a_problem(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_registry(tmp_path, monkeypatch, registry_row("wm-cuda-a100", "0" * 64))
    hub, spec = FolderHub(tmp_path / "hub"), f"folder:{tmp_path / 'hub'}"
    newer = write_model(tmp_path / "two", version="1.1.0")
    publish(hub, MODEL, Repository("wmhub", "wm-cuda-a100"), newer)
    listing = models(hardware="cuda-a100", hub=spec)
    assert listing.rows == ()
    assert listing.problems == (
        "model wm-cuda-a100: it means v1.0.0 in this release, which is not there (folder); "
        "wm-cuda-a100@v1.1.0 loads what is",
    )
    with pytest.raises(UnknownNameError):
        resolve_model("wm-cuda-a100", hub=spec)
    assert resolve_model("wm-cuda-a100@v1.1.0", hub=spec).revision == "v1.1.0"


def test_an_unreachable_hub_is_a_problem_not_an_error(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    write_model(embedded / "wm-cuda-a100")
    listing = models(hardware="cuda-a100")
    assert [row.name for row in listing.rows] == ["wm-cuda-a100"]
    assert "could not be reached" in listing.problems[0]


def test_datasets_of_a_folder_hub(tmp_path: Path, embedded: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    publish(hub, DATASET, Repository("acme", "cuda-a100"), write_dataset(tmp_path / "rows"))
    listing = datasets(hardware="cuda-v100", hub=f"folder:{tmp_path / 'hub'}")
    (row,) = listing.rows
    assert (row.name, row.places, row.headline) == (
        "acme/cuda-a100",
        ("folder",),
        "3 records, 1 workloads",
    )
    assert row.fit.startswith("nearest to cuda-v100: measured on cuda-a100: ")


def test_the_verb_prints_a_table_or_json(embedded: Path) -> None:
    write_model(embedded / "wm-cuda-a100")
    runner = CliRunner()
    result = runner.invoke(cli, ["models", "--offline", "--hardware", "cuda-a100", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (row,) = found["models"]
    assert row.pop("bytes") > 7000
    assert row == {
        "name": "wm-cuda-a100",
        "version": "1.0.0",
        "newer": None,
        "hardware": ["cuda-a100"],
        "places": ["embedded"],
        "headline": "top-1 0.910, top-5 0.980",
        "is_nearest": True,
        "fit": "trained on cuda-a100, the same hardware",
    }
    table = runner.invoke(
        cli, ["models", "--offline", "--hardware", "cuda-a100"], env={"COLUMNS": "160"}
    )
    assert table.stdout == ""
    assert "trained on cuda-a100, the same hardware" in table.stderr
