"""Checkpoints: complete, and strict about what they accept."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wmhub.checkpoint import (
    MANIFEST,
    WEIGHTS,
    BasePin,
    Checkpoint,
    DatasetPin,
    SeenWorkloads,
    read_checkpoint,
    sealed,
)
from wmhub.checkpoint import write_checkpoint as write
from wmhub.errors import CheckpointError, MissingInputError, SchemaVersionError
from wmhub.evaluator import Evaluator, Settings, load_evaluator
from wmhub.flushing import UNFINISHED
from wmhub.hardware.table import lookup
from wmhub.model.config import ModelConfig
from wmhub.model.encode import current_spec, structured_columns
from wmhub.model.forest import Forest
from wmhub.model.network import WorldModel
from wmhub.names import HardwareKey

sys.path.insert(0, str(Path(__file__).parent))
from test_replay_ansor import CONV, STEPS
from test_replay_meta_schedule import TILED, matmul

KEY = HardwareKey.parse("cuda-a100")


def checkpoint(seed: int = 0) -> Checkpoint:
    profile = lookup(KEY)
    assert profile is not None
    torch.manual_seed(seed)
    config = ModelConfig(latent=16, hidden=32, layers=1, members=3)
    network = WorldModel(config, current_spec(structured_columns(profile))).eval()
    return Checkpoint(
        "wm-cuda-a100", "1.0.0", KEY, profile, DatasetPin("cuda-a100", "v1.0.0", "0" * 64),
        {"top1": 0.5, "top5": 0.9, "workloads": 3}, {"steps": 1}, {"torch": "2"}, network,
        seen=SeenWorkloads(frozenset({"b", "a"}), frozenset({"c"})),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "checkpoint", checkpoint())


def change(folder: Path, **fields: Any) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    document.update(fields)
    (folder / MANIFEST).write_text(json.dumps(document))


def test_the_weights_are_as_readable_as_the_manifest(folder: Path) -> None:
    assert (folder / WEIGHTS).stat().st_mode == (folder / MANIFEST).stat().st_mode


def test_round_trip(folder: Path) -> None:
    before, after = checkpoint(), read_checkpoint(folder)
    for name in ("name", "version", "hardware", "profile", "dataset", "metrics", "environment",
                 "seen"):  # fmt: skip
        assert getattr(before, name) == getattr(after, name)
    assert before.network.config == after.network.config
    for key, value in before.network.state_dict().items():
        assert torch.equal(value, after.network.state_dict()[key]), key
    assert after.parameters > 1000


def test_what_it_was_trained_on_is_kept(tmp_path: Path) -> None:
    pins = (
        DatasetPin("cuda-a100", "v1.0.0", "0" * 64),
        DatasetPin("cuda-v100", "v1.0.0", "1" * 64),
    )
    base = BasePin("wm-cuda-v100", "1.0.0", "2" * 64, 0.5)
    before = dataclasses.replace(checkpoint(), datasets=pins, base=base)
    after = read_checkpoint(write(tmp_path / "joint", before))
    assert (after.datasets, after.base) == (pins, base)


def test_one_that_names_a_single_dataset_loads(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    del document["datasets"], document["base"]
    (folder / MANIFEST).write_bytes(sealed(document))
    assert read_checkpoint(folder).datasets == ()


@pytest.mark.parametrize("field", ["metrics", "profile", "version", "hardware", "training"])
def test_one_whose_manifest_was_altered_is_refused(folder: Path, field: str) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    odd = {
        "metrics": {**document["metrics"], "top1": 0.99}, "version": "1.0.1",
        "profile": {**document["profile"], "cores": 1}, "hardware": "cuda-v100",
        "training": {**document["training"], "steps": 2},
    }  # fmt: skip
    change(folder, **{field: odd[field]})
    with pytest.raises(CheckpointError, match="it was altered"):
        read_checkpoint(folder)
    (folder / MANIFEST).write_bytes(sealed({**document, "version": "1.0.1"}))
    assert read_checkpoint(folder).version == "1.0.1"


def test_a_loaded_one_scores_as_the_saved_one(folder: Path) -> None:
    ours, loaded = Evaluator(checkpoint()), load_evaluator(folder)
    for a, b in zip(
        ours.score_steps(CONV, [STEPS]).__dict__.values(),
        loaded.score_steps(CONV, [STEPS]).__dict__.values(),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_embeddings_belong_to_the_weights_and_not_to_the_name(folder: Path) -> None:
    latents = Evaluator(checkpoint()).latents
    assert latents.model.startswith("wm-cuda-a100@1.0.0 (weights ")
    assert latents.width == 32
    assert load_evaluator(folder).latents == latents
    assert Evaluator(checkpoint(seed=1)).latents != latents
    newer = dataclasses.replace(checkpoint(), version="1.0.1")
    assert Evaluator(newer).latents != latents


def test_scores_do_not_depend_on_the_company() -> None:
    evaluator = Evaluator(checkpoint())
    scorer = _scorer(evaluator)
    rows = [[[3, [2, 4]], [5, [4, 4]]], [[3, [8, 1]], [5, [1, 16]]], [[3, [1, 8]], [5, [16, 1]]]]
    together = scorer.score_decisions(TILED, rows)
    alone = [scorer.score_decisions(TILED, [row]) for row in rows]
    as_traces = scorer.score_traces([[TILED, row] for row in rows])
    assert together.score == pytest.approx([one.score[0] for one in alone], abs=1e-5)
    assert together.score == pytest.approx(as_traces.score, abs=1e-6)
    assert len(set(together.score.tolist())) == 3
    # Doubt is about differences: between three there is some, of one alone none.
    assert together.uncertainty == pytest.approx(as_traces.uncertainty, abs=1e-6)
    assert (together.uncertainty > 0).all()
    assert [float(one.uncertainty[0]) for one in alone] == [0.0] * 3


def test_settings_of_several_spaces_are_judged_beside_each_other() -> None:
    scorer = _scorer(Evaluator(checkpoint()))
    shorter = TILED[:-1]
    one, other = [[3, [2, 4]], [5, [4, 4]]], [[3, [8, 1]], [5, [1, 16]]]
    together = scorer.score_spaces([Settings(TILED, [one]), Settings(shorter, [other, one])])
    as_traces = scorer.score_traces([[TILED, one], [shorter, other], [shorter, one]])
    assert (together.uncertainty > 0).all()
    for mine, theirs in zip(together.__dict__.values(), as_traces.__dict__.values(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    alone = scorer.score_spaces([Settings(shorter, [one])])
    assert alone.score[0] == pytest.approx(together.at(np.array([2])).score[0], abs=1e-5)


def _scorer(evaluator: Evaluator) -> Any:
    from wmhub.evaluator import _TraceScorer

    return _TraceScorer(evaluator, matmul())


def test_padded_batches_score_as_single_groups() -> None:
    from model.collating import collate

    from wmhub.model.encode import encode
    from wmhub.replay.ansor import replay_steps
    from wmhub.replay.meta_schedule import replay_traces

    subject = checkpoint()
    groups = [
        *replay_steps(CONV, [STEPS, STEPS[:5]]),
        *replay_traces(matmul(), [[TILED, [[3, [2, 4]], [5, [4, 4]]]]]),
    ]
    encoded = [encode(group.trajectories, subject.profile) for group in groups]
    with torch.no_grad():
        batch = collate([(e, torch.arange(e.count)) for e in encoded], None)
        together = subject.network(batch).members
        alone = torch.cat([subject.network.score(e).members for e in encoded], dim=1)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("parts", [{"dynamics": "bag"}, {"dynamics": "none"}, {"program": False},
                                   {"structured": False}, {"hardware": False}])  # fmt: skip
def test_every_part_can_be_left_out(parts: dict[str, Any]) -> None:
    from wmhub.model.encode import encode
    from wmhub.replay.ansor import replay_steps

    subject = checkpoint()
    spec = current_spec(structured_columns(subject.profile))
    network = WorldModel(ModelConfig(latent=16, hidden=32, **parts), spec).eval()
    (group,) = replay_steps(CONV, [STEPS])
    with torch.no_grad():
        output = network.score(encode(group.trajectories, subject.profile))
    assert torch.isfinite(output.members).all()


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no checkpoint\.json"):
        read_checkpoint(tmp_path)


def test_of_a_newer_wmhub(folder: Path) -> None:
    change(folder, schema_version=2)
    with pytest.raises(SchemaVersionError, match="upgrade"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema_version": "1"}', '{"schema_version": 0}', "[" * 100_000]
)
def test_of_a_damaged_manifest(text: str, folder: Path) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"files": {}}, {"files": None}, {"hardware": "nonsense"}, {"profile": {}},
        {"model": {"x": 1}}, {"dataset": {"id": "x"}}, {"metrics": 3}, {"features": {}},
        {"environment": []}, {"datasets": [{"x": 1}]}, {"datasets": 3}, {"base": {"name": "x"}},
    ],
)  # fmt: skip
def test_of_odd_fields(fields: dict[str, Any], folder: Path) -> None:
    change(folder, **fields)
    with pytest.raises(CheckpointError):
        read_checkpoint(folder)


def test_of_other_features(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    document["features"]["structured"][0] = "renamed"
    change(folder, features=document["features"])
    with pytest.raises(CheckpointError, match="features"):
        read_checkpoint(folder)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "foreign"])
def test_of_damaged_weights(damage: str, folder: Path, tmp_path: Path) -> None:
    path = folder / WEIGHTS
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-10])
    elif damage == "altered":
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        other = write(tmp_path / "other", checkpoint(seed=1))
        path.write_bytes((other / WEIGHTS).read_bytes())
    with pytest.raises(CheckpointError, match=WEIGHTS):
        read_checkpoint(folder)


def test_of_weights_that_do_not_fit(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    change(folder, model={**document["model"], "hidden": 24})
    with pytest.raises(CheckpointError, match="do not fit"):
        read_checkpoint(folder)


def with_trees() -> Checkpoint:
    subject = checkpoint()
    features = len(current_spec(structured_columns(subject.profile)).structured)
    subject.network.plant(Forest(2, features))
    subject.network.forest.leaf.normal_()
    return subject


def test_trees_are_kept(tmp_path: Path) -> None:
    before = with_trees()
    after = read_checkpoint(write(tmp_path / "trees", before)).network
    assert after.config.trees == 2
    assert torch.equal(after.forest.leaf, before.network.forest.leaf)


@pytest.mark.parametrize(("trees", "match"), [(1, "do not fit"), (3, "do not fit"),
                         (10**4, "too few"), (10**12, "whole number"), (-1, "whole number"),
                         (2.5, "whole number"),
                         (True, "whole number")])  # fmt: skip
def test_of_trees_that_are_not_there(trees: Any, match: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "trees", with_trees())
    document = json.loads((folder / MANIFEST).read_text())
    change(folder, model={**document["model"], "trees": trees})
    with pytest.raises(CheckpointError, match=match):
        read_checkpoint(folder)


def test_of_a_scale_that_would_divide_by_nothing(tmp_path: Path) -> None:
    subject = checkpoint()
    subject.network.structured_scale[3] = 0.0
    with pytest.raises(CheckpointError, match="scale of features that is not positive"):
        read_checkpoint(write(tmp_path / "scale", subject))


def test_of_a_tree_that_looks_beyond_the_features(tmp_path: Path) -> None:
    subject = with_trees()
    subject.network.forest.feature[1, 3] = 32000
    with pytest.raises(CheckpointError, match="a tree looks at none"):
        read_checkpoint(write(tmp_path / "trees", subject))


def test_of_weights_that_are_no_numbers(folder: Path, tmp_path: Path) -> None:
    subject = checkpoint()
    with torch.no_grad():
        subject.network.leave.bias[0] = float("nan")
    broken = write(tmp_path / "broken", subject)
    with pytest.raises(CheckpointError, match="not finite"):
        read_checkpoint(broken)


def test_an_interrupted_write_leaves_no_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("wmhub.checkpoint.write_file", fail)
    with pytest.raises(OSError, match="disk full"):
        write(folder, checkpoint())
    with pytest.raises(MissingInputError):
        read_checkpoint(folder)


def test_what_is_written_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and manifest are on disk before the manifest has its name, and then that is."""
    flushed: list[tuple[str, bool]] = []

    def flush(path: Path) -> None:
        name = UNFINISHED.sub("unfinished", path.name)
        flushed.append((name, (tmp_path / "new" / MANIFEST).exists()))

    for module in ("checkpoint", "flushing"):
        monkeypatch.setattr(f"wmhub.{module}.flush", flush)
    write(tmp_path / "new", checkpoint())
    assert flushed == [(WEIGHTS, False), ("unfinished", False), ("new", True)]


def test_a_metric_that_is_no_number_is_refused_before_it_is_written(tmp_path: Path) -> None:
    odd = dataclasses.replace(checkpoint(), metrics={"top1": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, odd)
    assert not (tmp_path / "checkpoint.json").exists()
