"""From logs to a published model with the real evaluation, nothing replaced by a stand-in."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
import torch
from hub_making import Place, make_place, registry_row, write_registry
from huggingface_hub import ModelCard

import wmhub
import wmhub.hub.registry as registry_module
from wmhub.checkpoint import sealed
from wmhub.errors import InvalidInputError, UnknownNameError
from wmhub.hub import push, resolve_model
from wmhub.hub.artifact import MODEL
from wmhub.hub.model_card import render_model_card, stored_evaluation
from wmhub.hub.registry import parse_registry
from wmhub.hub.release import main as release
from wmhub.model.config import ModelConfig
from wmhub.training.config import TrainConfig
from wmhub.training.run import train

TINY = TrainConfig(
    model=ModelConfig(latent=8, hidden=16, layers=1, members=2),
    steps=30,
    workloads_per_step=2,
    candidates_per_list=8,
    validate_every=15,
)


def _line(workload: int, tile: int, unroll: int) -> str:
    """A tile of 8 is best; unrolling helps a little."""
    steps = [["SP", 2, 0, 256, [tile, 4], 1], ["PR", 2, 0, f"auto_unroll_max_step${unroll}"]]
    key = json.dumps(["matmul", 256, 32, workload])
    seconds = 1e-4 * (workload + 1) * (1 + abs(math.log2(tile) - 3)) * (1.1 - unroll / 10000)
    return json.dumps(
        {
            "i": [[key, "cuda", [-1, 16, 64, 49152], "", 0, []], [[], steps]],
            "r": [[seconds], 0, 0.5, 1600000000 + tile],
            "v": "v0.6",
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset of generated logs, and a network that was trained on it."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("real")
    log = home / "made.log"
    rows = ((w, 2**t, u) for w in range(12) for t in range(6) for u in (0, 64, 512))
    log.write_text("".join(f"{_line(*row)}\n" for row in rows))
    data = home / "data"
    wmhub.collect(
        [log], data, hardware="cuda-k80", contributor="ada|[x](y)", licence="MIT", workers=1
    )
    train(data, home / "model", config=TINY)
    return data, home / "model"


def _run_example(card: str, name: str, folder: Path) -> str:
    """Executes the card's Python as a reader would, with the model found in ``folder``."""
    import contextlib
    import io

    code = card.split("```python\n")[1].split("```")[0]
    assert f'from_pretrained("{name}")' in code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.replace(f'"{name}"', repr(f"local-dir:{folder}")), {})
    return printed.getvalue()


def _require_the_story(place: Place, data: Path, model: Path) -> str:
    """Pushes both, loads both back, and returns the card."""
    assert push(data, "acme/cuda-k80", hub=place.spec).tag == "v1.0.0"
    with pytest.raises(UnknownNameError, match="Say with --dataset where it is"):
        push(model, "acme/wm-cuda-k80", hub=place.spec)
    sent = push(model, "acme/wm-cuda-k80", dataset="acme/cuda-k80", hub=place.spec)
    assert (sent.tag, sent.change, len(sent.files)) == ("v1.0.0", "first", 6)
    again = push(model, "acme/wm-cuda-k80", dataset="acme/cuda-k80", hub=place.spec)
    assert again.change == "none", "the same numbers, the same card, the same pictures"
    found = resolve_model("acme/wm-cuda-k80@v1.0.0", hub=place.spec)
    evaluator = wmhub.from_pretrained("acme/wm-cuda-k80", revision="v1.0.0", hub=place.spec)
    assert str(evaluator.hardware) == "cuda-k80"
    card = (found.folder / "README.md").read_text()
    parsed = ModelCard(card).data
    stored = json.loads((found.folder / "checkpoint.json").read_text())["metrics"]
    results = {result.metric_type: result for result in parsed.eval_results}
    assert results["top1"].metric_value == round(stored["top1"], 4)
    assert results["top1"].dataset_type == "acme/cuda-k80"
    assert parsed.datasets == ["acme/cuda-k80"]
    assert "| trained on | acme/cuda-k80@v1.0.0 |" in card
    assert _run_example(card, "acme/wm-cuda-k80", found.folder).startswith("[")
    return card


def test_generated_logs(writable: Place, made: tuple[Path, Path], embedded: Path) -> None:
    card = _require_the_story(writable, *made)
    assert r"| ada\|\[x\](y) | MIT | 216 |" in card
    assert "author = {ada|[x](y)}" in card


def test_real_logs(
    request: pytest.FixtureRequest, shared_logs: Path, tmp_path: Path, embedded: Path
) -> None:
    """The beginnings of some K80 logs of the OSDI'22 artifact of NNFusion."""
    torch.set_num_threads(1)
    found = sorted((shared_logs / "auto_scheduler/cuda-k80/nnfusion").glob("*conv2d*.log.gz"))[:14]
    for log in found:
        with gzip.open(log, "rt") as file:
            lines = [line for line, _ in zip(file, range(48), strict=False)]
        (tmp_path / log.name.removesuffix(".gz")).write_text("".join(lines))
    wmhub.collect(
        sorted(tmp_path.glob("*.log")),
        tmp_path / "data",
        hardware="cuda-k80",
        contributor="microsoft/nnfusion",
        licence="MIT",
        workers=1,
    )
    train(tmp_path / "data", tmp_path / "model", config=TINY)
    for label in ("folder", "hf-hub"):
        place = make_place(label, request, tmp_path)
        card = _require_the_story(place, tmp_path / "data", tmp_path / "model")
        assert f"| microsoft/nnfusion | MIT | {48 * len(found)} |" in card


def test_embedding_with_a_report(
    made: tuple[Path, Path], embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a maintainer does: embed, and the card is what the embedded checkpoint renders."""
    data, model = made
    report = wmhub.evaluate(model, data).to_json()
    report["gradient_boosting"] = {"top1": 0.75, "top5": 0.875, "pairwise_accuracy": 0.625}
    report["curves"] = {"gradient_boosting": [0.75] * 32 + [1.0] * 32}
    told = tmp_path / "report.json"
    told.write_text(json.dumps(report))
    arguments = [str(model), "--dataset", str(data), "--cards", str(tmp_path / "cards")]
    assert release([*arguments, "--report", str(told)]) == 0
    assert capsys.readouterr().out == "wm-cuda-k80\n"
    card = (tmp_path / "cards/wm-cuda-k80.md").read_text()
    assert "| gradient boosting | 0.750 | 0.875 | 0.625 |  |" in card
    assert r"| ada\|\[x\](y) | MIT | 216 |" in card
    assert "| trained on | wmhub/cuda-k80@v1.0.0 |" in card
    folder = embedded / "wm-cuda-k80"
    _require_rendered(folder, tmp_path / "cards")
    registry = parse_registry(registry_module.REGISTRY_PATH.read_text(), "test")
    assert registry.models["wm-cuda-k80"].digest == MODEL.verify(folder).digest
    assert registry.datasets["cuda-k80"].tag == "v1.0.0"
    assert wmhub.from_pretrained("wm-cuda-k80").name == "wm-cuda-k80"
    # A second model leaves the first one's card and pictures as they are.
    pictures = {p.name: p.read_bytes() for p in (tmp_path / "cards/pictures").iterdir()}
    assert len(pictures) == 3
    other = _renamed(model, tmp_path / "other", "wm-other")
    assert release([str(other), *arguments[1:]]) == 0
    assert (tmp_path / "cards/wm-cuda-k80.md").read_text() == card
    assert release(["--cards", str(tmp_path / "cards")]) == 0
    after = {p.name: p.read_bytes() for p in (tmp_path / "cards/pictures").iterdir()}
    assert len(after) == 6
    assert pictures.items() <= after.items()
    for name in ("wm-cuda-k80", "wm-other"):
        _require_rendered(embedded / name, tmp_path / "cards")


def _require_rendered(folder: Path, cards: Path) -> None:
    from wmhub.hub.figures import possible_pictures
    from wmhub.hub.model_card import read_card_facts

    pictures = list(possible_pictures(folder.name).values())
    text = render_model_card(read_card_facts(folder), stored_evaluation(folder), pictures)
    assert text == (cards / f"{folder.name}.md").read_text()


def _renamed(model: Path, folder: Path, name: str, **metrics: float) -> Path:
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())
    document = json.loads((model / "checkpoint.json").read_text())
    document |= {"name": name, "metrics": {**document["metrics"], **metrics}}
    (folder / "checkpoint.json").write_bytes(sealed(document))
    return folder


def test_what_does_not_belong_together_is_not_embedded(
    made: tuple[Path, Path],
    embedded: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hub_making import write_dataset

    data, model = made
    other = write_dataset(tmp_path / "rows")
    arguments = [str(model), "--cards", str(tmp_path / "cards")]
    assert release([*arguments, "--dataset", str(other)]) == 2
    assert "it is not the dataset that" in capsys.readouterr().err
    report = {**wmhub.evaluate(model, data).to_json(), "top1": 0.1}
    (tmp_path / "report.json").write_text(json.dumps(report))
    told = ["--dataset", str(data), "--report", str(tmp_path / "report.json")]
    assert release([*arguments, *told]) == 2
    assert "is not of wm-cuda-k80 on the test workloads" in capsys.readouterr().err
    assert not list(embedded.iterdir())
    boastful = _renamed(model, tmp_path / "boastful", "wm-cuda-k80", top1=0.1)
    assert release([str(boastful), *arguments[1:], "--dataset", str(data)]) == 2
    assert "its checkpoint says top1 0.1000, and measured again" in capsys.readouterr().err
    document = json.loads((boastful / "checkpoint.json").read_text())
    document["seen"] = {"learned": [], "chosen_by": []}
    (boastful / "checkpoint.json").write_text(json.dumps(document))
    assert release([str(boastful), *arguments[1:], "--dataset", str(data)]) == 2
    assert "it was altered" in capsys.readouterr().err
    assert not list(embedded.iterdir())
    assert not (tmp_path / "cards").exists()
    listed = MODEL.parse((model / "checkpoint.json").read_bytes(), "test")
    row = registry_row("wm-cuda-k80", "0" * 64, commit="0" * 40, tag=listed.version.tag)
    write_registry(tmp_path, monkeypatch, row)
    assert release([*arguments, "--dataset", str(data)]) == 2
    assert "is on the Hub with other content, and a tag never moves" in capsys.readouterr().err
    assert not list(embedded.iterdir())
    with pytest.raises(InvalidInputError, match="it is not the dataset"):
        push(model, "acme/wm", dataset=other, hub=f"folder:{tmp_path / 'hub'}")
