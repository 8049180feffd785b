"""``wmhub push``: versions, tags, cards, refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hub_making import Place, evaluate, trained_on, write_dataset, write_model
from hub_server import HubServer

from wmhub.cli import cli
from wmhub.errors import (
    DatasetError,
    HubError,
    InvalidInputError,
    InvalidNameError,
    MissingInputError,
    OutputExistsError,
    UnknownNameError,
)
from wmhub.hub import push, resolve_dataset, resolve_model
from wmhub.hub.artifact import DATASET
from wmhub.hub.place import Repository, Upload


def test_a_dataset_and_a_model_that_pins_it(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    rows = write_dataset(tmp_path / "rows")
    first = push(rows, "acme/cuda-a100", hub=writable.spec)
    assert (first.tag, first.change, first.previous) == ("v1.0.0", "first", None)
    found = resolve_dataset("acme/cuda-a100", hub=writable.spec)
    assert found.commit == first.commit
    model = write_model(tmp_path / "model", **trained_on(rows))
    pushed = push(model, "acme/wm-cuda-a100", hub=writable.spec, evaluate=evaluate)
    assert set(pushed.files) == {
        "README.md",
        "checkpoint.json",
        "pictures/wm-cuda-a100-calibration.png",
        "pictures/wm-cuda-a100-curve.png",
        "pictures/wm-cuda-a100-ranking.png",
        "weights.safetensors",
    }
    card = (resolve_model("acme/wm-cuda-a100", hub=writable.spec).folder / "README.md").read_text()
    assert "| this model | 0.875 | 0.950 |" in card
    assert "On the 7 workloads of the `test` split" in card
    assert 'from_pretrained("acme/wm-cuda-a100")' in card
    assert (
        model / "README.md"
    ).read_text() == "---\nlibrary_name: wmhub\ntags: [wmhub]\n---\n# A card\n"


def test_the_same_again_is_no_change_and_other_content_is_refused(
    writable: Place, tmp_path: Path
) -> None:
    rows = write_dataset(tmp_path / "rows")
    first = push(rows, "acme/cuda-a100", hub=writable.spec)
    again = push(rows, "acme/cuda-a100", hub=writable.spec)
    assert (again.change, again.commit) == ("none", first.commit)
    other = write_dataset(tmp_path / "other", latencies=(5e-3, 6e-3))
    with pytest.raises(OutputExistsError, match=r"a tag never moves.*at least 1\.0\.1"):
        push(other, "acme/cuda-a100", hub=writable.spec)


@pytest.mark.parametrize(
    ("latencies", "least"),
    [((1e-3, 2e-3, 4e-3, 8e-3), "1.1.0"), ((1e-3, 2e-3), "2.0.0")],
    ids=["added", "removed"],
)
def test_versions_say_what_changed(
    tmp_path: Path, latencies: tuple[float, ...], least: str
) -> None:
    spec = f"folder:{tmp_path / 'hub'}"
    push(write_dataset(tmp_path / "one"), "acme/cuda-a100", hub=spec)
    low = write_dataset(tmp_path / "low", version="1.0.1", latencies=latencies)
    with pytest.raises(InvalidInputError, match=f"must be at least {least}"):
        push(low, "acme/cuda-a100", hub=spec)
    right = write_dataset(tmp_path / "right", version=least, latencies=latencies)
    assert push(right, "acme/cuda-a100", hub=spec).previous == "v1.0.0"
    older = write_dataset(tmp_path / "older", version="0.9.0")
    with pytest.raises(InvalidInputError, match="must be higher"):
        push(older, "acme/cuda-a100", hub=spec)


@pytest.mark.parametrize(
    ("changes", "least"),
    [({"weights": b"new"}, "1.1.0"), ({"hardware": "cuda-v100"}, "2.0.0"), ({}, "1.0.1")],
    ids=["weights", "hardware", "card"],
)
def test_versions_of_models(tmp_path: Path, changes: dict[str, object], least: str) -> None:
    spec = f"folder:{tmp_path / 'hub'}"
    rows = write_dataset(tmp_path / "rows")
    fields = trained_on(rows)
    model = write_model(tmp_path / "one", **fields)
    push(model, "acme/wm", hub=spec, dataset=rows, evaluate=evaluate)
    right = write_model(tmp_path / "right", version=least, **{**fields, **changes})
    if least != "1.0.1":
        low = write_model(tmp_path / "low", version="1.0.1", **{**fields, **changes})
        with pytest.raises(InvalidInputError, match=f"must be at least {least}"):
            push(low, "acme/wm", hub=spec, dataset=rows, evaluate=evaluate)
    done = push(right, "acme/wm", hub=spec, dataset=rows, evaluate=evaluate)
    assert done.tag == f"v{least}"


def test_a_dry_run_sends_nothing(writable: Place, tmp_path: Path) -> None:
    rows = write_dataset(tmp_path / "rows")
    would = push(rows, "acme/cuda-a100", hub=writable.spec, dry_run=True)
    assert (would.change, would.commit, would.url) == ("first", None, None)
    assert would.files["manifest.json"] == (rows / "manifest.json").stat().st_size
    assert would.is_new_hub == (writable.hub.label == "folder") == (not writable.hub.exists())
    if writable.hub.exists():
        assert writable.hub.repositories(DATASET) == []


def test_a_pull_request_is_not_tagged(writable: Place, tmp_path: Path) -> None:
    repository = Repository("acme", "cuda-a100")
    push(write_dataset(tmp_path / "rows"), "acme/cuda-a100", hub=writable.spec)
    more = write_dataset(tmp_path / "more", version="1.1.0", latencies=(1e-3, 2e-3, 4e-3, 8e-3))
    proposed = push(more, "acme/cuda-a100", hub=writable.spec, create_pr=True)
    assert proposed.pull_request == 1
    assert set(writable.hub.tags(DATASET, repository)) == {"v1.0.0"}
    found = resolve_dataset("acme/cuda-a100@refs/pr/1", hub=writable.spec)
    assert str(found.manifest.version) == "1.1.0"


def test_what_is_taken_away_is_told(writable: Place, tmp_path: Path) -> None:
    """A person added a file to the repository; the next publication holds only its own."""
    repository = Repository("acme", "cuda-a100")
    first = push(write_dataset(tmp_path / "rows"), "acme/cuda-a100", hub=writable.spec)
    assert first.removed == ()
    (tmp_path / "notes.md").write_text("mine")
    added = Upload(tmp_path, names=["notes.md"], message="notes", replace=False)
    writable.hub.commit(DATASET, repository, added)
    more = write_dataset(tmp_path / "more", version="1.1.0", latencies=(1e-3, 2e-3, 4e-3, 8e-3))
    arguments = ["push", str(more), "acme/cuda-a100", "--hub", writable.spec]
    dry = CliRunner().invoke(cli, [*arguments, "--dry-run"])
    assert re.search(r"^ +removes  notes\.md$", dry.stderr, re.MULTILINE), dry.output
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert json.loads(done.stdout)["removed"] == ["notes.md"], done.output
    again = push(more, "acme/cuda-a100", hub=writable.spec)
    assert (again.change, again.removed) == ("none", ())


def test_a_model_of_rows_that_are_nowhere_credits_no_one_else(
    tmp_path: Path, embedded: Path
) -> None:
    spec = f"folder:{tmp_path / 'hub'}"
    rows = write_dataset(tmp_path / "rows")
    model = write_model(tmp_path / "model", **trained_on(rows, "cuda-a100"))
    push(model, "acme/wm", hub=spec, dataset=rows, evaluate=evaluate)
    card = (resolve_model("acme/wm", hub=spec).folder / "README.md").read_text()
    assert "| trained on | cuda-a100@v1.0.0 (not published) |" in card
    assert "wmhub/cuda-a100" not in card


def test_dirty_folders_are_refused(tmp_path: Path) -> None:
    spec = f"folder:{tmp_path / 'hub'}"
    rows = write_dataset(tmp_path / "rows")
    (rows / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match=r"does not name notes\.txt"):
        push(rows, "acme/cuda-a100", hub=spec)
    (rows / "notes.txt").unlink()
    parquet = next(rows.glob("trajectories-*.parquet"))
    parquet.write_bytes(parquet.read_bytes()[:-1] + b"x")
    with pytest.raises(DatasetError, match="SHA-256"):
        push(rows, "acme/cuda-a100", hub=spec)
    model = write_model(tmp_path / "model", **trained_on(write_dataset(tmp_path / "good")))
    (model / "training.csv").write_text("step")
    sent = push(model, "acme/wm", hub=spec, dataset=tmp_path / "good", evaluate=evaluate)
    assert "training.csv" not in sent.files
    with pytest.raises(MissingInputError, match="no such folder"):
        push(tmp_path / "nowhere", "acme/wm", hub=spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"either checkpoint\.json"):
        push(tmp_path / "empty", "acme/wm", hub=spec)


def test_a_dataset_of_unknown_licence_is_refused(tmp_path: Path) -> None:
    rows = write_dataset(tmp_path / "rows", licence="")
    with pytest.raises(DatasetError, match="3 records have no licence"):
        push(rows, "acme/cuda-a100", hub=f"folder:{tmp_path / 'hub'}")


def test_a_model_is_evaluated_on_the_dataset_that_it_pins(tmp_path: Path, embedded: Path) -> None:
    spec = f"folder:{tmp_path / 'hub'}"
    rows = write_dataset(tmp_path / "rows")
    model = write_model(tmp_path / "model", **trained_on(rows))
    with pytest.raises(UnknownNameError, match="acme/cuda-a100"):
        push(model, "acme/wm", hub=spec, evaluate=evaluate)
    other = write_dataset(tmp_path / "other", latencies=(9e-3, 8e-3))
    with pytest.raises(InvalidInputError, match="not the dataset that"):
        push(model, "acme/wm", hub=spec, evaluate=evaluate, dataset=other)
    assert push(model, "acme/wm", hub=spec, evaluate=evaluate, dataset=rows).tag == "v1.0.0"
    without = write_model(tmp_path / "without")
    with pytest.raises(InvalidInputError, match="names its dataset and its metrics"):
        push(without, "acme/wm2", hub=spec, evaluate=evaluate)


@pytest.mark.parametrize("option", ["dataset", "card"])
def test_what_is_for_models_is_refused_with_a_dataset(tmp_path: Path, option: str) -> None:
    rows, spec = write_dataset(tmp_path / "rows"), f"folder:{tmp_path / 'hub'}"
    given = {option: tmp_path / "given"}
    with pytest.raises(InvalidInputError, match="are for models"):
        push(rows, "acme/cuda-a100", hub=spec, **given)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="are for models"):
        push(rows, "acme/cuda-a100", hub=spec, evaluate=evaluate)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("name", ["acme/wm@v1.0.0", "local-dir:x", "../x", "acme/a/b"])
def test_where_it_cannot_be_published(tmp_path: Path, name: str) -> None:
    rows = write_dataset(tmp_path / "rows")
    with pytest.raises(InvalidNameError):
        push(rows, name, hub=f"folder:{tmp_path / 'hub'}")


def test_without_the_right_to_write(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_dataset(tmp_path / "rows")
    with pytest.raises(HubError, match="may not do that"):
        push(rows, "others/cuda-a100", hub="hf-hub")
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrong")
    with pytest.raises(HubError, match="run `hf auth login`") as caught:
        push(rows, "acme/cuda-a100", hub="hf-hub")
    assert "wrongwrong" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="run `hf auth login`"):
        push(rows, "acme/cuda-a100", hub="hf-hub")


def test_the_verb(tmp_path: Path) -> None:
    rows = write_dataset(tmp_path / "rows")
    runner = CliRunner()
    arguments = ["push", str(rows), "acme/cuda-a100", "--hub", f"folder:{tmp_path / 'hub'}"]
    dry = runner.invoke(cli, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "would publish dataset acme/cuda-a100 v1.0.0 on" in dry.stderr
    assert "was no hub yet: it would be made" in dry.stderr
    assert re.search(r" [0-9.]+ KiB  manifest\.json$", dry.stderr, re.MULTILINE)
    result = runner.invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert (printed["tag"], printed["repository"]) == ("v1.0.0", "acme/cuda-a100")
    assert printed["is_new_hub"]
    again = runner.invoke(cli, arguments)
    assert "is there already: dataset acme/cuda-a100 v1.0.0" in again.stderr
    assert "was no hub yet" not in again.stderr
    more = write_dataset(tmp_path / "more", version="1.1.0", latencies=(1e-3, 2e-3, 4e-3, 8e-3))
    arguments = ["push", str(more), *arguments[2:], "--create-pr"]
    dry = runner.invoke(cli, [*arguments, "--dry-run"])
    assert "would propose dataset acme/cuda-a100 v1.1.0, minor since v1.0.0 on" in dry.stderr
    proposed = runner.invoke(cli, arguments)
    line = proposed.stderr.splitlines()[0]
    assert line.startswith("proposed dataset acme/cuda-a100 v1.1.0, minor since v1.0.0 on ")
    assert line.endswith(" as pull request 1")
