"""What several datasets are for: the target's judge, all train, and nobody trains on a judge."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from trainmaking import SMALL, make_dataset

from wmhub.checkpoint import SeenWorkloads
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.rewrite import split
from wmhub.errors import DatasetError, HardwareMismatchError
from wmhub.names import HardwareKey
from wmhub.records import Scheduler, Workload
from wmhub.training.corpus import gather_corpus, open_datasets

TARGET = HardwareKey.parse("llvm-emeraldrapids-2c")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small dataset, whose splits are not those of the larger one."""
    folder = tmp_path_factory.mktemp("data")
    return (
        make_dataset(folder / "few", workloads=3),
        make_dataset(folder / "many", workloads=12, hardware="cuda-a100"),
    )


def test_the_first_dataset_names_the_hardware(folders: tuple[Path, Path]) -> None:
    few, many = folders
    assert str(open_datasets([many, few], None)[0]) == "cuda-a100"
    target, datasets = open_datasets([many, few], TARGET)
    assert (target, [dataset.path for dataset in datasets]) == (TARGET, [few, many])
    with pytest.raises(HardwareMismatchError, match="did you mean cuda-a100"):
        open_datasets([many, few], HardwareKey.parse("cuda-a10"))
    with pytest.raises(DatasetError, match="at least one"):
        open_datasets([], None)


def test_no_dataset_trains_on_what_judges(folders: tuple[Path, Path], tmp_path: Path) -> None:
    target, datasets = open_datasets(folders, None)
    corpus = gather_corpus(target, datasets, SMALL, tmp_path, 1)
    judges = {stored.workload.id for stored in [*corpus.validation, *corpus.test]}
    assert len(judges) == 2
    others = set(datasets[1].splits["train"])
    assert judges & others
    assert [len(part) for part in corpus.training] == [1, len(others - judges)]
    assert corpus.records == 28 * (1 + len(others - judges))


def test_few_samples_are_of_the_target(folders: tuple[Path, Path], tmp_path: Path) -> None:
    target, datasets = open_datasets(folders, None)
    config = dataclasses.replace(SMALL, samples=10)
    corpus = gather_corpus(target, datasets, config, tmp_path, 1)
    assert [len(examples.gains) for examples in corpus.training[0]] == [10]
    assert {len(examples.gains) for examples in corpus.training[1]} == {28}


def test_what_is_test_in_one_dataset_chooses_no_weights(tmp_path: Path) -> None:
    one = make_dataset(tmp_path / "one", workloads=30)
    held = open_dataset(one).splits
    # The same workloads, of which those that were to test are to validate.
    split(one, tmp_path / "other", test_workloads=held["train"][:1])
    target, datasets = open_datasets([one, tmp_path / "other"], None)
    assert set(held["test"]) & set(datasets[1].splits["validation"])
    corpus = gather_corpus(target, datasets, SMALL, tmp_path / "cache", 1)
    chosen, tested = (
        {stored.workload.id for stored in part} for part in (corpus.validation, corpus.test)
    )
    assert chosen
    assert set(held["test"]) <= tested
    assert not chosen & tested


def test_what_a_base_has_seen_does_not_judge(tmp_path: Path) -> None:
    one = make_dataset(tmp_path / "one", workloads=30)
    target, datasets = open_datasets([one], None)
    splits = datasets[0].splits
    base = SeenWorkloads(
        learned=frozenset({splits["validation"][0], "another"}),
        chosen_by=frozenset({splits["validation"][1], splits["test"][0]}),
    )
    corpus = gather_corpus(target, datasets, SMALL, tmp_path / "cache", 1, base=base)
    chosen, tested = (
        {stored.workload.id for stored in part} for part in (corpus.validation, corpus.test)
    )
    assert chosen == set(splits["validation"][1:])
    assert tested == set(splits["test"][1:])
    assert corpus.left_out == 2
    assert corpus.seen.learned == base.learned | set(splits["train"])
    assert corpus.seen.chosen_by == base.chosen_by | chosen
    everything = SeenWorkloads(learned=frozenset(splits["test"]))
    with pytest.raises(DatasetError, match=r"test 0 without the \d+ that the base has seen"):
        gather_corpus(target, datasets, SMALL, tmp_path / "cache", 1, base=everything)


def test_rows_that_were_changed_are_not_learned_from(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data", workloads=3)
    (rows,) = folder.glob("trajectories-train-*.parquet")
    rows.write_bytes(rows.read_bytes()[:-1] + b"?")
    with pytest.raises(DatasetError, match="trajectories-train"):
        open_datasets([folder], None)


def test_a_workload_of_two_datasets_judges_once_and_as_the_first_has_it(tmp_path: Path) -> None:
    one = make_dataset(tmp_path / "one", workloads=30)
    two = make_dataset(tmp_path / "two", workloads=40)
    target, datasets = open_datasets([one, two], None)
    corpus = gather_corpus(target, datasets, SMALL, tmp_path / "cache", 1)
    tested = [stored.workload.id for stored in corpus.test]
    assert sorted(tested) == sorted(datasets[0].splits["test"])
    chosen = [stored.workload.id for stored in corpus.validation]
    assert len(chosen) == len({*chosen})
    assert {*chosen} == {*datasets[0].splits["validation"], *datasets[1].splits["validation"]}
    # Nor is what only the second tests trained on.
    assert not corpus.seen.learned & {*datasets[1].splits["test"]}


def test_a_program_that_two_versions_of_tvm_wrote_is_known_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Workload("w1", Scheduler.META_SCHEDULE, "42", "of one version")
    two = Workload("w2", Scheduler.META_SCHEDULE, "42", "of another")
    assert one.identities & two.identities
    assert Workload("w3", Scheduler.AUTO_SCHEDULER, "42", None).identities == {"w3"}

    # As if every workload from the 20th on were one of the first 20, written by another version.
    def identities(workload: Workload) -> frozenset[str]:
        return frozenset({workload.id, f"twin {json.loads(workload.key)[-1] % 20}"})

    monkeypatch.setattr(Workload, "identities", property(identities))
    few = make_dataset(tmp_path / "few", workloads=20)
    many = make_dataset(tmp_path / "many", workloads=60, hardware="cuda-a100")
    target, datasets = open_datasets([few, many], None)
    corpus = gather_corpus(target, datasets, SMALL, tmp_path / "cache", 1)
    judges = {name for w in (*corpus.validation, *corpus.test) for name in w.workload.identities}
    assert len(judges) > 2
    assert corpus.seen.chosen_by <= judges
    assert not corpus.seen.learned & judges
    split = datasets[1].splits["train"]
    assert 0 < len(corpus.training[1]) < len(set(split) - judges)
    # Nor is a twin of what a base has seen looked at.
    base = SeenWorkloads(learned=frozenset(sorted(n for n in judges if n.startswith("twin"))[:1]))
    again = gather_corpus(target, datasets, SMALL, tmp_path / "cache", 1, base=base)
    assert again.left_out == 1
