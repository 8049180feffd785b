"""Training: it learns, it is deterministic, and it goes on after an interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from trainmaking import SMALL, make_dataset

import wmhub
from wmhub.checkpoint import read_checkpoint
from wmhub.errors import DatasetError, InvalidInputError, MissingInputError, OutputExistsError
from wmhub.training.metrics import Validation
from wmhub.training.run import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "checkpoint"
    report = train(dataset, output, name="wm-test", version="1.2.0", config=SMALL)
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


def test_evaluation_finds_the_metrics_of_the_checkpoint(trained: Path, dataset: Path) -> None:
    report = wmhub.evaluate(trained, dataset)
    stored = read_checkpoint(trained).metrics
    assert dataclasses.asdict(report.metrics).items() <= stored.items()
    assert report.to_json()["random"] == stored["random"]
    assert len(report.curve) == 64
    assert report.curve[-1] == 1.0
    assert report.curve[0] == pytest.approx(report.metrics.top1)
    assert list(report.kinds) == ["matmul"]
    with pytest.raises(InvalidInputError, match="split"):
        wmhub.evaluate(trained, dataset, split="nonsense")


def test_the_same_seed_gives_the_same_weights(dataset: Path, trained: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "again", config=SMALL)
    assert weights_of(tmp_path / "again") == weights_of(trained)
    train(dataset, tmp_path / "other", config=dataclasses.replace(SMALL, seed=1))
    assert weights_of(tmp_path / "other") != weights_of(trained)


def weights_of(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


class Killed(BaseException):
    """Stands for a signal."""


@pytest.mark.parametrize("at", [3, 10, 25])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    at: int, dataset: Path, trained: Path, tmp_path: Path
) -> None:
    def kill(step: int, _steps: int, _loss: float, _looked: Validation | None) -> None:
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        train(dataset, tmp_path / "run", config=SMALL, watch=kill)
    assert not (tmp_path / "run" / "checkpoint.json").exists()
    train(dataset, tmp_path / "run", config=SMALL, resume=True)
    assert weights_of(tmp_path / "run") == weights_of(trained)
    ours, whole = (read_checkpoint(folder).metrics for folder in (tmp_path / "run", trained))
    assert ours == whole
    assert (tmp_path / "run" / "training.csv").read_text() == (trained / "training.csv").read_text()


def test_a_run_of_another_configuration_is_not_resumed(dataset: Path, tmp_path: Path) -> None:
    def kill(step: int, _steps: int, _loss: float, _looked: Validation | None) -> None:
        if step == 12:
            raise Killed

    with pytest.raises(Killed):
        train(dataset, tmp_path, config=SMALL, watch=kill)
    other = dataclasses.replace(SMALL, temperature=1.0)
    with pytest.raises(InvalidInputError, match="another configuration"):
        train(dataset, tmp_path, config=other, resume=True)
    (tmp_path / "training-state.safetensors").write_bytes(b"\x08" + bytes(40))
    with pytest.raises(InvalidInputError, match="not the state"):
        train(dataset, tmp_path, config=SMALL, resume=True)


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
    "change", [{"steps": 0}, {"candidates_per_list": 1}, {"learning_rate": 0.0}, {"average": 1.0}]
)
def test_senseless_configurations_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="training"):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]
