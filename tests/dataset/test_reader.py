from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasetmaking import Make, lines_of
from logmaking import ansor_line, tiled

from wmhub.dataset.reader import open_dataset
from wmhub.dataset.schema import TRAJECTORIES
from wmhub.dataset.spool import read_sorted
from wmhub.errors import DatasetError, InvalidInputError


def test_each_workload_comes_once_with_all_its_records(make: Make) -> None:
    dataset = open_dataset(make())
    pairs = list(dataset.iter_workload_records())
    assert sorted(workload.id for workload, _ in pairs) == sorted(dataset.workloads())
    assert [len(rows) for _, rows in pairs] == [10] * 4
    for workload, rows in pairs:
        assert {record.workload_id for record in rows.records()} == {workload.id}
        alone = dataset.workload_records(workload.id)
        assert alone.table.to_pylist() == rows.table.to_pylist()


def test_workloads_that_span_batches_and_row_groups(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmhub.dataset.reader.READ_ROWS", 3)
    monkeypatch.setattr("wmhub.dataset.writer._GROUP_ROWS", 4)
    monkeypatch.setattr("wmhub.dataset.writer._FILE_ROWS", 8)
    by_row = partial(read_sorted, range_bytes=1)
    monkeypatch.setattr("wmhub.dataset.assemble.read_sorted", by_row)
    monkeypatch.setattr("wmhub.dataset.spool._BATCH_ROWS", 3)
    folder = make()
    assert len(list(folder.glob("trajectories-train-*.parquet"))) > 1
    test_each_workload_comes_once_with_all_its_records(lambda: folder)


def test_columns_and_splits_are_chosen(make: Make) -> None:
    dataset = open_dataset(make())
    for split, ids in dataset.splits.items():
        pairs = list(dataset.iter_workload_records(split, ["trace"]))
        assert [workload.id for workload, _ in pairs] == ids
        assert all(rows.table.column_names == ["trace"] for _, rows in pairs)
    with pytest.raises(InvalidInputError, match="none of train"):
        list(dataset.iter_tables("training"))
    with pytest.raises(InvalidInputError, match="no workload"):
        dataset.workload_records("w0")
    assert "w0" not in dataset
    assert dataset.splits["test"][0] in dataset


def test_latency_is_the_median_and_infinite_for_a_failure(make: Make) -> None:
    lines = [
        ansor_line(steps=tiled(n), seconds=seconds, error=error)
        for n, (seconds, error) in enumerate(
            [([3.0, 1.0, 2.0], 0), ([1e10], 4), ([4.0, 2.0], 0), ([5.0], 0)]
        )
    ]
    dataset = open_dataset(make(lines=lines))
    ((_, rows),) = dataset.iter_workload_records(columns=["run_seconds", "failure"])
    assert sorted(rows.latency_seconds) == [2.0, 3.0, 5.0, np.inf]
    ((_, whole),) = dataset.iter_workload_records()
    medians = [record.latency_seconds for record in whole.records()]
    assert [np.inf if m is None else m for m in medians] == list(whole.latency_seconds)


def test_a_file_that_is_gone_is_named(make: Make) -> None:
    folder = make()
    (folder / "trajectories-train-00000.parquet").unlink()
    with pytest.raises(DatasetError, match="it is missing"):
        list(open_dataset(folder).iter_tables())
    (folder / "workloads-00000.parquet").write_text("no parquet")
    with pytest.raises(DatasetError, match="no readable Parquet"):
        open_dataset(folder).workloads()


def test_damage_amid_a_file_is_named(make: Make) -> None:
    """What opening it does not show: its pages are broken, or it lacks a column."""
    folder = make()
    path = folder / "trajectories-train-00000.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 2000 + whole[2004:])
    dataset = open_dataset(folder)
    train = dataset.splits["train"][0]
    for read in (
        lambda: list(dataset.iter_tables("train")),
        lambda: dataset.workload_records(train),
    ):
        with pytest.raises(DatasetError, match=r"train-00000\.parquet: no readable"):
            read()
    path.write_bytes(whole)
    pq.write_table(pq.read_table(path).drop_columns(["trace"]), path)
    with pytest.raises(DatasetError, match=r"train-00000\.parquet: no readable"):
        list(dataset.iter_tables("train"))


def test_pandas_polars_duckdb_and_datasets_open_the_files(make: Make) -> None:
    """And all see the same rows."""
    import duckdb
    import pandas as pd
    import polars as pl

    import datasets

    folder = make(lines=lines_of(12))
    path = str(folder / "trajectories-train-00000.parquet")
    expected = sum(len(table) for table in open_dataset(folder).iter_tables("train"))
    frame = pd.read_parquet(path)
    assert (len(frame), list(frame.columns)) == (expected, TRAJECTORIES.names)
    assert pl.read_parquet(path)["run_seconds"].to_list() == [[0.001]] * expected
    query = f"select count(*), min(len(trace)), max(run_seconds[1]) from '{path}'"
    counted = duckdb.sql(query).fetchall()[0]
    assert (counted[0], counted[2]) == (expected, 0.001)
    rows = datasets.load_dataset("parquet", data_files=path, split="train")
    assert rows.num_rows == expected
    assert rows[0]["run_seconds"] == [0.001]


def test_the_card_names_what_plain_load_dataset_opens(make: Make) -> None:
    import datasets

    folder = make(lines=lines_of(30))
    loaded = datasets.load_dataset(str(folder), "cuda-v100")
    counts = open_dataset(folder).manifest.splits
    assert {name: loaded[name].num_rows for name in loaded} == {
        name: count.records for name, count in counts.items()
    }
    assert Path(folder / "README.md").read_text().startswith("---\n")
