from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from wmhub.bench.ablation import VARIANTS, Ablation, ablation, configured
from wmhub.bench.runs import METRICS, Run
from wmhub.cli.bench_ablation import show_ablation
from wmhub.dataset.verify import open_verified
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.training.corpus import profile_of
from wmhub.training.encoding import open_store
from wmhub.training.metrics import Metrics
from wmhub.training.run import default_cache

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from trainmaking import SMALL, make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_dataset(tmp_path_factory.mktemp("data"))


def test_every_configuration_trains_and_a_second_call_trains_nothing(
    dataset: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    steps: list[tuple[str, int, int]] = []
    config = configured("full", SMALL, 0)
    config = type(config)(**{**vars(config), "steps": 3})
    result = ablation(
        dataset, tmp_path, seeds=1, config=config, on_run=said.append,
        watch=lambda *step: steps.append(step),
    )  # fmt: skip
    assert result.variants == list(VARIANTS)
    assert result.split == "validation"
    assert len(said) == len(VARIANTS)
    assert steps[:3] == [("full, seed 0", n, 3) for n in (1, 2, 3)]
    found = json.loads(json.dumps(result.to_json()))
    assert set(found["configs"]) == set(VARIANTS)
    assert set(METRICS) <= set(found["configs"]["tlp"])
    # Trees read structured features and nothing else.
    for name, variant in VARIANTS.items():
        if not variant.model.get("structured", True):
            assert configured(name, SMALL, 0).trees == 0
    sizes = {name: found["configs"][name]["parameters"] for name in VARIANTS}
    assert sizes["boosting"] == 0
    assert sizes["no-dynamics"] < sizes["bag"] < sizes["full"]
    assert sizes["transformer"] != sizes["full"]
    # Weights of inputs that are always zero were reached by nothing.
    assert sizes["no-structured"] < sizes["full"]
    more = ablation(
        dataset, tmp_path, variants=["full", "bag"], seeds=2, config=config, on_run=said.append
    )
    assert len(said) == len(VARIANTS) + 2
    assert more.of("bag")[0] == result.of("bag")[0]
    # Other steps are other runs.
    other = type(config)(**{**vars(config), "steps": 2})
    ablation(dataset, tmp_path, variants=["bag"], seeds=1, config=other, on_run=said.append)
    assert len(said) == len(VARIANTS) + 3


def test_in_folds_each_workload_is_held_out_once(dataset: Path, tmp_path: Path) -> None:
    names: list[str] = []
    config = type(SMALL)(**{**vars(SMALL), "steps": 1})
    chosen = ["full", "boosting"]
    result = ablation(
        dataset, tmp_path, variants=chosen, seeds=1, config=config, split="folds", folds=2,
        watch=lambda name, _done, _steps: names.append(name),
    )  # fmt: skip
    source = open_verified(dataset)
    store = open_store(source, profile_of(source), default_cache())
    workloads = store.split("train") + store.split("validation")
    assert list(dict.fromkeys(names)) == [
        f"{name}, seed 0, fold {fold}" for name in chosen for fold in (0, 1)
    ]
    assert {run.metrics.workloads for run in result.runs} == {len(workloads)}
    assert result.random.workloads == len(workloads)
    assert (result.folds, result.to_json()["folds"]) == (2, 2)
    # Of other folds are other runs.
    ablation(dataset, tmp_path, variants=chosen, seeds=1, config=config, split="folds", folds=3)
    ablation(dataset, tmp_path, variants=chosen, seeds=1, config=config)
    assert len(list(tmp_path.glob("*.json"))) == 6


def test_what_is_no_result_is_not_taken_for_one(dataset: Path, tmp_path: Path) -> None:
    config = type(SMALL)(**{**vars(SMALL), "steps": 1})
    ablation(dataset, tmp_path, variants=["bag"], seeds=1, config=config)
    (path,) = tmp_path.glob("*.json")
    whole = path.read_text()
    for text in ("", "{}", "[1]", whole.replace('"bag"', '"full"')):
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=r"bag-seed0|the result of full"):
            ablation(dataset, tmp_path, variants=["bag"], seeds=1, config=config)


def test_bad_arguments_are_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no-dynamics"):
        ablation(dataset, tmp_path, variants=["no-dynamic"])
    with pytest.raises(InvalidInputError, match="validation, test, folds"):
        ablation(dataset, tmp_path, split="train")
    with pytest.raises(InvalidInputError, match="two folds"):
        ablation(dataset, tmp_path, split="folds", folds=1)
    few = make_dataset(tmp_path, workloads=1)
    with pytest.raises(DatasetError, match="training needs workloads"):
        ablation(few, tmp_path / "out", seeds=1)


def test_the_table_has_means_and_spreads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    def run(variant: str, seed: int, top1: float) -> Run:
        return Run(variant, seed, 1000, 2.0, Metrics(top1, 0.9, 0.7, 0.8, 0.75, 0.6, 9))

    peer = Run("boosting", 0, 0, 2.0, Metrics(0.7, 0.8, 0.7, 0.8, 0.7, 0.6, 9))
    runs = (run("full", 0, 0.8), run("full", 1, 0.9), run("tlp", 0, 0.6), run("tlp", 1, 0.6), peer)
    random = Metrics(0.4, 0.7, 0.3, 0.6, 0.5, 0.0, 9)
    show_ablation(Ablation("cuda-k80", "folds", 5, 3000, (0, 1), random, runs))
    assert "cuda-k80, 9 workloads in 5 folds, 3,000 steps, 2 seeds" in capsys.readouterr().err
    show_ablation(Ablation("cuda-k80", "validation", 0, 3000, (0, 1), random, runs))
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "cuda-k80, 9 validation workloads, 3,000 steps, 2 seeds",
        "top-1 top-5 pairwise weights what differs",
        "full 0.850 ± 0.071 0.900 ± 0.000 0.750 ± 0.000 1,000 the default",
        "tlp 0.600 ± 0.000 0.900 ± 0.000 0.750 ± 0.000 1,000 attention alone, as TLP",
        "boosting 0.700 ± 0.000 0.800 ± 0.000 0.700 ± 0.000 gradient boosting, no model",
        "random order 0.400 0.700 0.500",
    ]
