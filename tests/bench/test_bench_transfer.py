from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from dealing import Named

from wmhub.bench.runs import METRICS, Run
from wmhub.bench.transfer import VARIANTS, Transfer, deal, transfer
from wmhub.cli.bench_transfer import show_transfer
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.training.metrics import Metrics

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from trainmaking import SMALL, make_dataset

TINY = type(SMALL)(**{**vars(SMALL), "steps": 4})


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.set_num_threads(1)
    new = make_dataset(tmp_path_factory.mktemp("new"))
    return new, make_dataset(tmp_path_factory.mktemp("other"))


def test_each_workload_is_held_out_once_and_a_second_call_trains_nothing(
    datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    said: list[str] = []
    seen: set[str] = set()
    result = transfer(
        *datasets, tmp_path, samples=20, many=40, folds=2, config=TINY, on_run=said.append,
        watch=lambda name, _done, _steps: seen.add(name),
    )  # fmt: skip
    assert len(said) == 2 * len(VARIANTS)
    assert seen == {f"{variant}, fold {fold}" for variant in VARIANTS for fold in (0, 1)}
    zero = [run for run in result.runs if run.variant == "zero-shot"]
    assert sum(run.metrics.workloads for run in zero) == result.workloads
    # All are of one architecture, and training reached all of it.
    assert len({run.parameters for run in result.runs}) == 1
    assert result.runs[0].parameters > 1000
    again = transfer(
        *datasets, tmp_path, samples=20, many=40, folds=2, config=TINY, on_run=said.append
    )
    assert again == result
    assert len(said) == 2 * len(VARIANTS)
    found = json.loads(json.dumps(result.to_json()))
    assert set(found["configs"]) == set(VARIANTS)
    assert set(METRICS) <= set(found["configs"]["few"])


@dataclass(frozen=True)
class Held:
    """A stored workload as far as dealing looks at it."""

    store: str
    workload: Named
    program: str


def splits_of(store: str, **parts: str) -> Any:
    """Of each workload one program; of those in capitals two."""
    return lambda part: [
        Held(store, Named(name.lower()), f"{name.lower()}.{number}")
        for name in parts.get(part, "")
        for number in range(1 + name.isupper())
    ]


def test_all_programs_of_a_workload_are_in_one_fold() -> None:
    both = [splits_of(name, train="ABCDEFGH") for name in ("new", "other", "as other")]
    folds, count = deal(both, 3)
    assert count == 8
    for fold in folds:
        held = [w.program for w in fold.held_out]
        assert sorted(held) == [f"{w}.{n}" for w in sorted({p[0] for p in held}) for n in range(2)]
        assert not {w.workload.id for w in fold.own} & {w.workload.id for w in fold.held_out}


def test_one_program_of_two_versions_of_tvm_is_in_one_fold() -> None:
    def splits(part: str) -> Any:
        names = [f"{name}{version}" for name in "abcdefgh" for version in ("@0.25", "@0.27")]
        return [Held("new", Named(name), name) for name in names] if part == "train" else []

    folds, count = deal([splits] * 3, 3)
    assert count == 8
    for fold in folds:
        held = {w.workload.program_key for w in fold.held_out}
        assert len(fold.held_out) == 2 * len(held)
        assert not held & {w.workload.program_key for w in (*fold.own, *fold.other)}


def test_a_fold_is_ranked_by_what_has_not_seen_it() -> None:
    new = splits_of("new", train="abcdefgh", validation="ijkl", test="xy")
    other = splits_of("other", train="xjihgfedcba", validation="lyz", test="kq")
    folds, count = deal([new, other, splits_of("as other", train="abcdefghijkl")], 3)
    assert count == 11
    held = [[w.workload.id for w in fold.held_out] for fold in folds]
    # What both have and neither tests, each once.
    assert sorted(name for mine in held for name in mine) == list("abcdefghijl")
    for fold, mine in zip(folds, held, strict=True):
        assert [w.workload.id for w in fold.held_out_as_other] == mine
        assert {w.workload.id for w in fold.own} == set("abcdefghijl") - set(mine)
        # The other's model has seen what the new one lacks, too; but nothing that either tests.
        assert {w.workload.id for w in fold.other} == set("abcdefghijlz") - set(mine)
        stores = (fold.held_out, fold.held_out_as_other, fold.own, fold.other)
        assert [{w.store for w in one} for one in stores] == [
            {"new"}, {"as other"}, {"new"}, {"other"}
        ]  # fmt: skip


def test_more_records_than_there_are_is_an_error(
    datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"fold 0 .* records to train on, fewer than 20,000"):
        transfer(*datasets, tmp_path, samples=20, folds=2, config=TINY)
    # Before anything is trained: a second call would come to the same end.
    assert not list(tmp_path.iterdir())


def test_what_makes_no_sense_is_named(datasets: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="two folds"):
        transfer(*datasets, tmp_path, folds=1)
    with pytest.raises(InvalidInputError, match="many"):
        transfer(*datasets, tmp_path, samples=50, many=40)
    with pytest.raises(DatasetError, match=r"share \d+ workloads outside of their test splits"):
        transfer(*datasets, tmp_path, folds=50)


def test_the_table_has_means_over_folds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    def run(variant: str, fold: int, top1: float) -> Run:
        return Run(variant, fold, 1000, 2.0, Metrics(top1, 0.9, 0.7, 0.8, 0.75, 0.6, 9))

    runs = tuple(run(v, fold, 0.8 + fold / 10) for fold in (0, 1) for v in VARIANTS)
    show_transfer(Transfer("cuda-k80", "cuda-v100", 18, 2000, 20_000, runs))
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "cuda-k80 after cuda-v100, 18 workloads, each held out once",
        "records top-1 top-5 pairwise what it is",
        "zero-shot 0 0.850 0.900 0.750 the other hardware's model as it is",
        "fine-tuned 2,000 0.850 0.900 0.750 it goes on with the few records",
        "few 2,000 0.850 0.900 0.750 the few records, from nothing",
        "many 20,000 0.850 0.900 0.750 many records, from nothing",
    ]
