"""Training: it learns, it is deterministic, and it goes on after an interruption."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from trainmaking import SMALL, make_dataset

import wmhub
from wmhub import flushing
from wmhub.checkpoint import BasePin, SeenWorkloads, read_checkpoint
from wmhub.dataset.reader import open_dataset
from wmhub.errors import (
    CheckpointError,
    DatasetError,
    HardwareMismatchError,
    InvalidInputError,
    InvalidNameError,
    MissingInputError,
    OutputExistsError,
    WmhubError,
)
from wmhub.evaluator import Evaluator, load_evaluator
from wmhub.hub.artifact import MODEL
from wmhub.training.config import with_settings
from wmhub.training.metrics import Validation
from wmhub.training.run import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "checkpoint"
    report = train(dataset, output, name="wm-test", version="v1.2.0", config=SMALL)
    assert report.test.pairwise_accuracy > 0.8
    assert report.test.top1 > report.random.top1
    return output


def test_a_checkpoint_says_what_it_is(trained: Path, dataset: Path) -> None:
    checkpoint = read_checkpoint(trained)
    assert (checkpoint.name, checkpoint.version) == ("wm-test", "1.2.0")
    assert str(checkpoint.hardware) == "llvm-emeraldrapids-2c"
    assert checkpoint.dataset.id == "llvm-emeraldrapids-2c"
    assert checkpoint.dataset.revision == "v1.0.0"
    assert len(checkpoint.dataset.digest) == 64
    assert checkpoint.metrics["split"] == "test"
    assert {"top1", "top5", "random", "workloads"} <= set(checkpoint.metrics)
    assert checkpoint.training["steps"] == SMALL.steps
    assert (trained / "training.csv").read_text().startswith("step,loss,validation.top1")
    assert (trained / "training.png").stat().st_size > 1000
    assert not (trained / "training-state.safetensors").exists()
    assert checkpoint.datasets == (checkpoint.dataset,)
    assert checkpoint.base is None


def test_evaluation_finds_the_metrics_of_the_checkpoint(trained: Path, dataset: Path) -> None:
    report = wmhub.evaluate(trained, dataset)
    stored = read_checkpoint(trained).metrics
    assert dataclasses.asdict(report.metrics).items() <= stored.items()
    assert report.to_json()["random"] == stored["random"]
    model = report.scorers["model"]
    assert len(model.curve) == 64
    assert model.curve[-1] == 1.0
    assert model.curve[0] == pytest.approx(report.metrics.top1)
    assert list(model.kinds) == ["matmul"]
    with pytest.raises(InvalidInputError, match="split"):
        wmhub.evaluate(trained, dataset, split="nonsense")


def test_rows_that_were_changed_are_not_evaluated(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(dataset, changed)
    path = changed / "trajectories-test-00000.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(DatasetError, match=path.name):
        wmhub.evaluate(trained, changed)


def test_the_same_seed_gives_the_same_weights(dataset: Path, trained: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "again", config=SMALL)
    assert weights_of(tmp_path / "again") == weights_of(trained)
    train(dataset, tmp_path / "other", config=dataclasses.replace(SMALL, seed=1))
    assert weights_of(tmp_path / "other") != weights_of(trained)


def weights_of(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


class Killed(BaseException):
    """Stands for a signal."""


def killed(dataset: Path, output: Path, at: int) -> None:
    """Trains until the step ``at``, where the process would have died."""

    def kill(step: int, _steps: int, _loss: float, _looked: Validation | None) -> None:
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        train(dataset, output, config=SMALL, watch=kill)


@pytest.mark.parametrize("at", [3, 10, 25])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    at: int, dataset: Path, trained: Path, tmp_path: Path
) -> None:
    killed(dataset, tmp_path / "run", at)
    assert not (tmp_path / "run" / "checkpoint.json").exists()
    train(dataset, tmp_path / "run", config=SMALL, resume=True)
    assert weights_of(tmp_path / "run") == weights_of(trained)
    ours, whole = (read_checkpoint(folder).metrics for folder in (tmp_path / "run", trained))
    assert ours == whole
    assert (tmp_path / "run" / "training.csv").read_text() == (trained / "training.csv").read_text()


def test_an_interrupted_run_is_not_overwritten(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(dataset, tmp_path, at=12)
    state = tmp_path / "training-state.safetensors"
    before = state.read_bytes()
    with pytest.raises(OutputExistsError, match="go on with --resume, or begin anew in another"):
        train(dataset, tmp_path, config=SMALL)
    monkeypatch.setattr("wmhub.training.run._versions", lambda *_: {"torch": "9.9"})
    with pytest.raises(InvalidInputError, match="other versions of its libraries"):
        train(dataset, tmp_path, config=SMALL, resume=True)
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    with pytest.raises(InvalidInputError, match="threads"):
        train(dataset, tmp_path, config=SMALL, resume=True)
    assert state.read_bytes() == before


def test_a_run_of_another_configuration_is_not_resumed(dataset: Path, tmp_path: Path) -> None:
    killed(dataset, tmp_path, at=12)
    other = dataclasses.replace(SMALL, temperature=1.0)
    with pytest.raises(InvalidInputError, match="another configuration"):
        train(dataset, tmp_path, config=other, resume=True)
    (tmp_path / "training-state.safetensors").write_bytes(b"\x08" + bytes(40))
    with pytest.raises(InvalidInputError, match="not the state"):
        train(dataset, tmp_path, config=SMALL, resume=True)


def test_a_run_on_other_data_is_not_resumed(
    dataset: Path, other: Path, tmp_path: Path, trained: Path
) -> None:
    killed(dataset, tmp_path, at=12)
    for changes in ({"dataset": [dataset, other]}, {"dataset": dataset, "start_from": trained}):
        with pytest.raises(InvalidInputError, match=r"other data|another configuration"):
            train(output=tmp_path, config=SMALL, resume=True, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("other"), hardware="cuda-a100")


def test_several_datasets_make_one_model(dataset: Path, other: Path, tmp_path: Path) -> None:
    few = dataclasses.replace(SMALL, samples=30)
    report = train([other, dataset], tmp_path / "a", hardware="llvm-emeraldrapids-2c", config=few)
    checkpoint = read_checkpoint(report.checkpoint)
    assert checkpoint.name == "wm-llvm-emeraldrapids-2c"
    assert str(checkpoint.profile.key) == "llvm-emeraldrapids-2c"
    assert [pin.id for pin in checkpoint.datasets] == [
        "llvm-emeraldrapids-2c",
        "cuda-a100",
    ]
    assert checkpoint.dataset == checkpoint.datasets[0]
    # All of the other hardware's, and few of the target's.
    counts = open_dataset(other).manifest.counts.records
    assert 30 < report.records < 30 + counts
    assert checkpoint.training["records"] == report.records
    with pytest.raises(HardwareMismatchError, match=r"only of cuda-a100, llvm-emerald"):
        train([other, dataset], tmp_path / "b", hardware="cuda-v100", config=SMALL)


def test_training_starts_from_a_checkpoint(
    trained: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever validates best here: of the base as it was the trees would say nothing new.
    monkeypatch.setattr("wmhub.training.blend._SHARES", (0.5, 0.0))
    none = dataclasses.replace(SMALL, steps=1, learning_rate=1e-12, samples=40)
    report = train(other, tmp_path / "a", start_from=trained, config=none)
    ours, base = (read_checkpoint(folder) for folder in (report.checkpoint, trained))
    assert str(ours.hardware) == "cuda-a100"
    assert report.records == 40
    assert (ours.training["learning_rate"], ours.training["base_rate"]) == (2.5e-13, 1.0)
    share = report.base_share
    assert ours.base == BasePin("wm-test", "1.2.0", MODEL.verify(trained).digest, share)
    for name, value in base.network.state_dict().items():
        # Other trees grow, and the uncertainty is scaled anew; all else is the base's.
        if not name.startswith("forest.") and name != "uncertainty_scale":
            assert torch.allclose(value, ours.network.state_dict()[name], atol=1e-6), name
    # They go on from the roofline: what a CPU's say is not in them.
    assert ours.network.config.trees == 1 + SMALL.trees
    assert ours.seen.learned == base.seen.learned | set(open_dataset(other).splits["train"])
    assert ours.seen.chosen_by >= base.seen.chosen_by > set()
    wider = dataclasses.replace(none, model=dataclasses.replace(SMALL.model, latent=24))
    with pytest.raises(InvalidInputError, match="keeps its network"):
        train(other, tmp_path / "b", start_from=trained, config=wider)


def test_trees_of_a_gpu_go_on_from_half_of_another_s(tmp_path: Path, other: Path) -> None:
    first = make_dataset(tmp_path / "first", hardware="cuda-v100")
    train(first, tmp_path / "base", config=SMALL)
    base = read_checkpoint(tmp_path / "base").network.forest
    for trees in (SMALL.trees, 0):
        config = dataclasses.replace(SMALL, trees=trees)
        folder = tmp_path / f"grown-{trees}"
        report = train(other, folder, start_from=tmp_path / "base", config=config)
        assert report.base_share < 1
        ours = read_checkpoint(folder).network.forest
        assert ours.trees == 1 + SMALL.trees + trees
        assert torch.equal(ours.leaf[:1], base.leaf[:1])
        assert torch.equal(ours.leaf[1 : base.trees], base.leaf[1:] / 2)


def test_trees_of_a_cpu_go_on_from_those_of_another(trained: Path, tmp_path: Path) -> None:
    other = make_dataset(tmp_path, hardware="llvm-znver4-2c")
    report = train(other, tmp_path / "a", start_from=trained, config=SMALL)
    assert report.base_share < 1
    ours, base = (read_checkpoint(folder).network for folder in (report.checkpoint, trained))
    assert ours.config.trees == 2 * SMALL.trees
    assert torch.equal(ours.forest.leaf[: SMALL.trees], base.forest.leaf)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_what_training_spoils_is_not_written(
    trained: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    # Of halfway first, then of what came of it, then of the base.
    found = iter([0.9 if share == 0.5 else 0.8, 0.7, 0.8 if share == 0.5 else 0.9])
    monkeypatch.setattr("wmhub.training.blend.quality", lambda _metrics: next(found))
    spoiling = dataclasses.replace(SMALL, steps=2, samples=40)
    report = train(other, tmp_path / "a", start_from=trained, config=spoiling)
    assert report.base_share == share
    written, begun = (read_checkpoint(folder) for folder in (report.checkpoint, trained))
    assert written.base is not None
    assert (written.base.share, begun.base) == (share, None)
    ours, base = written.network, begun.network
    assert ours.config.trees == (base.config.trees if share == 1 else 1 + SMALL.trees)
    same = [torch.equal(value, ours.state_dict()[name]) for name, value in base.named_parameters()]
    assert all(same) if share == 1 else not any(same)


def test_a_checkpoint_of_other_features_is_refused(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(trained, base)
    document = json.loads((base / "checkpoint.json").read_text())
    document["features"]["structured"][0] = "renamed"
    (base / "checkpoint.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"features \(structured\)"):
        train(dataset, tmp_path / "out", start_from=base, config=SMALL)


def test_bf16_trains(dataset: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, precision="bf16", steps=10)
    report = train(dataset, tmp_path / "out", config=config)
    checkpoint = read_checkpoint(report.checkpoint)
    assert checkpoint.training["precision"] == "bf16"
    tensors = checkpoint.network.state_dict()
    # The numbers of features that the trees look at are whole.
    assert tensors.pop("forest.feature").dtype == torch.int32
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_a_device_that_is_not_there(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="none of auto, cpu, cuda"):
        train(dataset, tmp_path, config=SMALL, device="tpu")


def test_a_checkpoint_is_not_overwritten(dataset: Path, trained: Path) -> None:
    with pytest.raises(OutputExistsError):
        train(dataset, trained, config=SMALL)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        train(tmp_path / "nowhere", tmp_path / "out", config=SMALL)
    few = make_dataset(tmp_path, workloads=2)
    with pytest.raises(DatasetError, match="each split"):
        train(few, tmp_path / "out", config=SMALL)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"version": "1.0"}, "1.0"),
        ({"config": {"seed": -1}}, "seed"),
        ({"config": {"model.dropout": 2.0}}, "dropout"),
        ({"config": {"model.layers": 0}}, "layers"),
        ({"config": {"model.members": 65.0}}, "members"),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_the_beginning(
    dataset: Path, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    given = options.pop("config", {})

    def begin() -> None:
        config = with_settings(SMALL, [f"{name}={value}" for name, value in given.items()])
        train(dataset, tmp_path / "model", config=config, **options)

    with pytest.raises(WmhubError, match=says):
        begin()
    assert not (tmp_path / "model").exists()


def test_what_cannot_be_resumed_is_refused_before_trees_grow(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "training-state.safetensors").write_bytes(b"no state")
    monkeypatch.setattr("wmhub.training.run.fit_forest", die)
    with pytest.raises(InvalidInputError, match="not the state of a training run"):
        train(dataset, output, config=SMALL, resume=True)


def test_trees_have_their_say_in_validation(dataset: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, Validation]] = []
    told: list[str] = []

    def watch(step: int, _steps: int, _loss: float, looked: Validation | None) -> None:
        if looked is not None:
            seen.append((step, looked))

    config = dataclasses.replace(SMALL, steps=10, trees=5)
    report = train(
        dataset, tmp_path / "model", config=config, cache=tmp_path / "cache", watch=watch,
        preparing=lambda what, done, total: told.append(f"{what} {done}/{total}"),
    )  # fmt: skip
    # The one validation chose the weights, so the checkpoint's own is the same.
    assert [(step, looked.metrics) for step, looked in seen] == [(10, report.validation)]
    assert told[-1] == "growing trees 5/5"
    assert any(line.startswith("encoding workloads") for line in told)


def die(*_: object, **__: object) -> None:
    raise AssertionError("trees were grown")


def test_what_a_model_has_seen_does_not_judge_it(trained: Path, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "more", workloads=40)
    evaluator = load_evaluator(trained)
    (first, *others) = open_dataset(dataset).splits["test"]
    seen = SeenWorkloads(chosen_by=frozenset([first]))
    knowing = Evaluator(dataclasses.replace(evaluator.checkpoint, seen=seen))
    report = wmhub.evaluate(knowing, dataset)
    assert report.metrics.workloads == len(others)
    assert report.notes[0].startswith("1 workloads of the test split are left out")
    assert wmhub.evaluate(knowing, dataset, split="validation").notes == ()
    (told,) = wmhub.evaluate(evaluator, dataset, split="train").notes
    assert "was trained on" in told
    all_seen = SeenWorkloads(learned=frozenset([first, *others]))
    knowing = Evaluator(dataclasses.replace(evaluator.checkpoint, seen=all_seen))
    with pytest.raises(DatasetError, match="but those that wm-test has seen"):
        wmhub.evaluate(knowing, dataset)
    with pytest.raises(InvalidInputError, match="lock"):
        wmhub.evaluate(evaluator, dataset, locked="wmhub.lock")


def test_what_fails_at_the_very_end_can_be_resumed(
    dataset: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    config = dataclasses.replace(SMALL, validate_every=SMALL.steps)
    with monkeypatch.context() as patch:
        patch.setattr("wmhub.training.run.write_curves", no_space)
        with pytest.raises(OSError, match="space"):
            train(dataset, tmp_path / "run", config=SMALL)
    assert not (tmp_path / "run" / "checkpoint.json").exists()
    train(dataset, tmp_path / "run", config=SMALL, resume=True)
    assert weights_of(tmp_path / "run") == weights_of(trained)
    state = tmp_path / "run" / "training-state.safetensors"
    state.write_bytes(b"of a kill after the checkpoint")
    with pytest.raises(OutputExistsError):
        train(dataset, tmp_path / "run", config=config, resume=True)
    assert not state.exists()


def test_a_name_that_no_repository_can_have_is_refused_before_the_work(
    dataset: Path, tmp_path: Path
) -> None:
    for name in ("wm a100", "../../x", "a/b"):
        with pytest.raises(InvalidNameError):
            train(dataset, tmp_path / "run", name=name)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_as_one_and_the_state_before_stays(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(path: Path) -> None:
        raise OSError(28, "No space left on device")

    state = tmp_path / "run" / "training-state.safetensors"
    count = itertools.count()
    with monkeypatch.context() as patch:
        real = flushing.flush
        patch.setattr(flushing, "flush", lambda p: real(p) if next(count) < 1 else no_space(p))
        with pytest.raises(OSError, match="space"):
            train(dataset, tmp_path / "run", config=SMALL)
    assert [path.name for path in state.parent.iterdir()] == [state.name]
    resumed = train(dataset, tmp_path / "run", config=SMALL, resume=True)
    assert resumed.steps == SMALL.steps
