"""The card of a model, against the real Hub's own parser, and to the byte."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import click
import pytest
from hub_making import (
    dataset_row,
    evaluate,
    trained_on,
    write_dataset,
    write_model,
    write_registry,
)
from huggingface_hub import ModelCard

import wmhub.hub.registry as registry_module
from wmhub.errors import CheckpointError
from wmhub.hub.artifact import MODEL
from wmhub.hub.embedded import EMBEDDED_PATH
from wmhub.hub.evaluation import DataSource, Evaluation, curves_of, evaluation_of_metrics
from wmhub.hub.figures import pictures_of, possible_pictures
from wmhub.hub.model_card import (
    read_card_facts,
    render_model_card,
    stored_evaluation,
    write_model_card,
)
from wmhub.hub.registry import load_registry, parse_registry
from wmhub.hub.release import refresh, render_registry

CARDS = EMBEDDED_PATH.parents[2] / "model_cards"
GOLDEN = Path(__file__).parent / "golden_model_card.md"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    fields = trained_on(write_dataset(tmp_path / "rows"), "wmhub/cuda-a100")
    return write_model(tmp_path / "model", **fields)


def test_the_hub_reads_the_metrics_from_it(checkpoint: Path) -> None:
    card = ModelCard(render_model_card(read_card_facts(checkpoint), stored_evaluation(checkpoint)))
    assert card.data.library_name == "wmhub"
    assert card.data.license == "apache-2.0"
    assert {"wmhub", "cuda-a100"} <= set(card.data.tags)
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["top1"].metric_value == 0.91
    assert results["top5"].dataset_split == "test"
    assert results["top5"].dataset_revision == "v1.0.0"


def test_golden(checkpoint: Path) -> None:
    evaluation = evaluate_like(checkpoint)
    pictures = list(pictures_of(evaluation.figures, "wm-cuda-a100").values())
    text = render_model_card(read_card_facts(checkpoint), evaluation, pictures)
    assert text == GOLDEN.read_text()


def test_a_contributors_name_stays_one_in_the_citation(checkpoint: Path) -> None:
    hostile = DataSource(contributor="ada}\n```\n# pwn", licence="MIT", records=3)
    named = dataclasses.replace(stored_evaluation(checkpoint), sources=(hostile,))
    lines = render_model_card(read_card_facts(checkpoint), named).splitlines()
    assert "  author = {ada  # pwn}," in lines
    assert sum(line.startswith("```") for line in lines) % 2 == 0


def test_a_bare_name_is_ours_only_where_the_content_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone's dataset of an A100 calls itself cuda-a100."""
    rows = write_dataset(tmp_path / "rows")
    checkpoint = write_model(tmp_path / "model", **trained_on(rows, "cuda-a100"))
    sources = (DataSource(contributor="", licence="MIT", records=3),)
    evaluation = dataclasses.replace(stored_evaluation(checkpoint), sources=sources)
    ours = write_dataset(tmp_path / "ours", latencies=(9e-3, 8e-3))
    for datasets in ("", dataset_row(ours)):
        write_registry(tmp_path, monkeypatch, "", datasets)
        text = render_model_card(read_card_facts(checkpoint), evaluation)
        assert "| trained on | cuda-a100@v1.0.0 (not published) |" in text
        assert "title  = {TVM schedule trajectories: cuda-a100@v1.0.0 (not published)}," in text
        assert "wmhub/cuda-a100" not in text
        assert "wmhub authors" not in text
        assert "Dataset of wmhub" not in text
        data = ModelCard(text).data
        assert data.datasets is None
        assert {result.dataset_type for result in data.eval_results} == {"cuda-a100"}
    write_registry(tmp_path, monkeypatch, "", dataset_row(rows))
    text = render_model_card(read_card_facts(checkpoint), evaluation)
    assert "| trained on | wmhub/cuda-a100@v1.0.0 |" in text
    assert "note   = {Dataset of wmhub}" in text
    data = ModelCard(text).data
    assert data.datasets == ["wmhub/cuda-a100"]
    assert {result.dataset_type for result in data.eval_results} == {"wmhub/cuda-a100"}


def evaluate_like(checkpoint: Path) -> Evaluation:
    return evaluate(checkpoint, checkpoint.parent / "rows")


def test_pictures_are_drawn_and_the_same_each_time(checkpoint: Path, tmp_path: Path) -> None:
    evaluation = evaluate_like(checkpoint)
    for name in ("one", "two"):
        write_model_card(checkpoint, evaluation, tmp_path / name / "README.md")
    pictures = sorted((tmp_path / "one" / "pictures").iterdir())
    assert len(pictures) == 3
    for picture in pictures:
        content = picture.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert content == (tmp_path / "two" / "pictures" / picture.name).read_bytes()
        assert picture.name in (tmp_path / "one" / "README.md").read_text()


def test_baselines_stand_beside_the_model() -> None:
    metrics = {
        "top1": 0.9,
        "workloads": 3,
        "gradient_boosting": {"top1": 0.8, "pairwise_accuracy": 0.7},
        "random": {"top1": 0.6},
        "config": {"seed": 1},
    }
    evaluation = evaluation_of_metrics(metrics, "x")
    assert [scorer.name for scorer in evaluation.baselines] == ["random order", "gradient boosting"]
    for broken in ({}, {"top1": 0.9}, {"workloads": 3}, {"top1": "high", "workloads": 3}):
        with pytest.raises(CheckpointError, match="the metrics lack"):
            evaluation_of_metrics(broken, "x")


@pytest.mark.parametrize("folder", sorted(EMBEDDED_PATH.glob("*")), ids=lambda path: path.name)
def test_the_committed_cards_are_what_the_metrics_render(folder: Path) -> None:
    """If this fails: ``python -m wmhub.hub.release --dataset DIR``."""
    cards = CARDS
    facts = read_card_facts(folder)
    possible = possible_pictures(facts.manifest.name).values()
    pictures = [picture for picture in possible if (cards / picture.name).is_file()]
    card = (cards / f"{facts.manifest.name}.md").read_text(encoding="utf-8")
    assert render_model_card(facts, stored_evaluation(folder), pictures) == card


@pytest.mark.parametrize("folder", sorted(EMBEDDED_PATH.glob("*")), ids=lambda path: path.name)
def test_the_examples_of_the_committed_cards_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (CARDS / f"{folder.name}.md").read_text(encoding="utf-8")
    exec(card.split("```python\n")[1].split("```")[0], {})
    scores = capsys.readouterr().out.strip("[]\n").split()
    assert len({float(score) for score in scores}) == 3
    _require_a_search_can_begin(card, folder.name)


def _require_a_search_can_begin(card: str, name: str) -> None:
    """The shell example parses, and names a workload of the zoo."""
    from wmhub.cli import cli
    from wmhub.measure import zoo

    (line,) = card.split("```bash\n")[1].split("```")[0].splitlines()
    program, verb, *arguments = shlex.split(line)
    assert (program, verb) == ("wmhub", "tune")
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    parsed = command.make_context(verb, arguments).params
    assert parsed["model"] == name
    assert zoo.get(parsed["workload"]).family == "dense"


def test_the_cards_and_the_registry_have_no_other_models() -> None:
    embedded_names = {folder.name for folder in EMBEDDED_PATH.glob("*")}
    assert {card.stem for card in CARDS.glob("*.md")} == embedded_names
    shown = {picture.name for picture in (CARDS / "pictures").iterdir()}
    possible = {
        Path(picture.name).name
        for name in embedded_names
        for picture in possible_pictures(name).values()
    }
    assert shown <= possible
    assert embedded_names <= set(load_registry().models)


def test_curves_of_a_report() -> None:
    told = {
        "gradient_boosting": [0.2], "random": [0.3], "xgb_model": [0.4], "model": [0.5, 1.0],
    }  # fmt: skip
    assert list(curves_of({"curves": told})) == [
        "this model", "random order", "gradient boosting", "TVM's XGBModel",
    ]  # fmt: skip
    assert curves_of({"curves": told})["random order"] == [0.3]
    assert curves_of({}) == {}


def test_joint_training_and_its_beginning(checkpoint: Path) -> None:
    document = json.loads((checkpoint / "checkpoint.json").read_text())
    other = {"id": "cuda-v100", "revision": "v2.1.0", "digest": "0" * 64}
    document["datasets"] = [document["dataset"], other]
    document["base"] = {"name": "wm-cuda-v100", "version": "1.2.0", "digest": "0" * 64}
    document["sources"] = [{"contributor": "a/b", "licence": "MIT", "records": 1200}]
    (checkpoint / "checkpoint.json").write_text(json.dumps(document))
    text = render_model_card(read_card_facts(checkpoint), stored_evaluation(checkpoint))
    trained = "wmhub/cuda-a100@v1.0.0, cuda-v100@v2.1.0 (not published)"
    assert f"| trained on | {trained} |" in text
    assert "| training began with | wm-cuda-v100 1.2.0 |" in text
    for share, says in ((0.5, ", and kept half of its weights |"), (1, ", and kept its weights |")):
        document["base"]["share"] = share
        (checkpoint / "checkpoint.json").write_text(json.dumps(document))
        kept = render_model_card(read_card_facts(checkpoint), stored_evaluation(checkpoint))
        assert f"| training began with | wm-cuda-v100 1.2.0{says}" in kept
    assert "| a/b | MIT | 1,200 |" in text
    assert "author = {a/b}" in text
    assert ModelCard(text).data.datasets == ["wmhub/cuda-a100"]
    for odd in (
        {"sources": [{"x": 1}]},
        {"base": 7},
        {"base": {**document["base"], "share": [2]}},
        {"datasets": [{"id": "x"}]},
        {"sources": 3},
    ):
        (checkpoint / "checkpoint.json").write_text(json.dumps({**document, **odd}))
        with pytest.raises(CheckpointError, match="are odd"):
            read_card_facts(checkpoint)


def test_the_registry_is_what_the_release_writes() -> None:
    found = load_registry()
    text = render_registry(found.organisation, found.models, found.datasets)
    assert text == registry_module.REGISTRY_PATH.read_text(encoding="utf-8")


def test_the_registry_lists_every_embedded_model() -> None:
    """If this fails: ``python -m wmhub.hub.release --dataset DIR``."""
    entries = load_registry().models
    for folder in EMBEDDED_PATH.glob("*"):
        manifest = MODEL.verify(folder)
        entry = entries[manifest.name]
        assert entry.digest == manifest.digest
        assert entry.manifest == manifest.manifest_file.sha256
        assert (entry.tag, entry.hardware) == (manifest.version.tag, manifest.hardware[0])


def test_refreshing_writes_registry_and_cards(
    checkpoint: Path, embedded: Path, tmp_path: Path
) -> None:
    from wmhub.hub import resolve_model

    checkpoint.rename(embedded / "wm-cuda-a100")
    assert refresh(tmp_path / "cards") == ["wm-cuda-a100"]
    registry = parse_registry(registry_module.REGISTRY_PATH.read_text(), "test")
    manifest = MODEL.verify(embedded / "wm-cuda-a100")
    assert registry.models["wm-cuda-a100"].digest == manifest.digest
    assert "| this model | 0.910 | 0.980 |" in (tmp_path / "cards/wm-cuda-a100.md").read_text()
    assert resolve_model("wm-cuda-a100").revision == "v1.0.0"
    assert refresh(tmp_path / "cards") == ["wm-cuda-a100"]
