"""Two processes of torch's launcher train what one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from trainmaking import SMALL, make_dataset

import wmhub
from wmhub.checkpoint import read_checkpoint
from wmhub.dataset.reader import open_dataset
from wmhub.errors import InvalidInputError
from wmhub.training.config import with_settings
from wmhub.training.data import load_candidates
from wmhub.training.distributed import World, joined
from wmhub.training.evaluate import rank
from wmhub.training.loop import Loop
from wmhub.training.run import train

ROOT = Path(wmhub.__file__).parents[1]
#: Dropout draws other numbers for other shapes, so the comparison goes without.
SETTINGS = ("steps=20", "trees=3", "model.dropout=0.0", "consistency_weight=0")


@pytest.mark.slow
def test_two_processes_end_as_one(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    report = train(dataset, tmp_path / "one", config=with_settings(SMALL, SETTINGS))
    config = tmp_path / "small.toml"
    config.write_text(_toml())
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "wmhub", "train", "--dataset", str(dataset), "--output", str(tmp_path / "two"),
         "--config", str(config), *(f"--set={setting}" for setting in SETTINGS), "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Only the first process prints.
    assert json.loads(done.stdout)["steps"] == report.steps
    assert done.stderr.count("step 20/20") == 1
    one, two = (_scores(tmp_path / name, dataset) for name in ("one", "two"))
    assert two == pytest.approx(one, abs=2e-3)
    curves = [(tmp_path / name / "training.csv").read_text() for name in ("one", "two")]
    first, second = ([line.split(",") for line in text.splitlines()[1:]] for text in curves)
    for ours, theirs in zip(first, second, strict=True):
        assert [float(v) for v in ours] == pytest.approx([float(v) for v in theirs], abs=2e-3)


def _scores(checkpoint: Path, dataset: Path) -> list[float]:
    """Scores of the validation candidates; only differences within a workload are trained."""
    loaded = read_checkpoint(checkpoint)
    found = []
    for candidates in load_candidates(open_dataset(dataset), "validation", loaded.profile):
        (ranking,) = rank(loaded.network, [candidates])
        found += (ranking.score - ranking.score.mean()).tolist()
    return found


def _toml() -> str:
    model = SMALL.model
    return "\n".join(
        [
            f"workloads_per_step = {SMALL.workloads_per_step}",
            f"candidates_per_list = {SMALL.candidates_per_list}",
            f"validate_every = {SMALL.validate_every}",
            f"learning_rate = {SMALL.learning_rate}",
            "[model]",
            *(f"{name} = {getattr(model, name)}"
              for name in ("latent", "hidden", "layers", "members")),
        ]
    )  # fmt: skip


def test_lists_are_shared_evenly_or_not_at_all() -> None:
    with pytest.raises(InvalidInputError, match="3 processes cannot share"):
        Loop(torch.nn.Linear(1, 1), SMALL, [], World(0, 3))  # type: ignore[arg-type]


def test_one_process_agrees_with_itself() -> None:
    assert World().agreed([0.5, 2.0]) == [0.5, 2.0]
    assert World().mean(0.5) == 0.5
    assert World().is_main


def test_a_process_without_a_gpu_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InvalidInputError, match=r"process 2 .* sees 1 GPU"), joined("auto"):
        raise AssertionError


def test_processes_agree_or_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    assert world.is_first_here
    assert [world.all_or_none(value) for value in (False, True)] == [False, True]
    monkeypatch.setattr(World, "mean", lambda self, value: 0.5)
    assert world.all_or_none(True) is None
    assert not World(rank=8, size=16, local_rank=1).is_first_here
    assert World(rank=8, size=16, local_rank=0).is_first_here


def test_a_run_that_some_processes_do_not_find_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(tmp_path / "data")
    monkeypatch.setattr(World, "all_or_none", lambda self, value: None)
    with pytest.raises(InvalidInputError, match="a file system that they share"):
        train(dataset, tmp_path / "run", config=SMALL, resume=True)
