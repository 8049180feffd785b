"""``load_dataset``: where the plain call returns wrong rows without a word, ours does not.

Each pair of tests shows the fault of ``datasets.load_dataset`` and that ours is free of it; should
the first one fail some day, the library has mended itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from datasetmaking import Make, lines_of
from logmaking import ansor_line

import datasets
import wmhub
from wmhub.dataset.manifest import file_entry, read_manifest, write_manifest
from wmhub.dataset.spool import read_sorted
from wmhub.errors import DatasetError, InvalidInputError

NEW, OLD = 7, 3


def plain(folder: Path, **options: object) -> datasets.Dataset:
    return datasets.load_dataset(str(folder), "cuda-v100", split="train", **options)


def ours(folder: Path, **options: object) -> datasets.Dataset:
    loaded = wmhub.load_dataset(folder, split="train", **options)  # type: ignore[arg-type]
    assert isinstance(loaded, datasets.Dataset)
    return loaded


def seconds(rows: datasets.Dataset) -> set[float]:
    return {time for item in rows["run_seconds"] for time in item}


def lines(value: float) -> list[str]:
    return [ansor_line(key=f'["m", {n}]', seconds=[value]) for n in range(5)]


@pytest.fixture
def rewritten(make: Make) -> tuple[Path, Path]:
    """A dataset, and another of the same shape whose files will take its place."""
    return make("one", lines(OLD)), make("two", lines(NEW))


def replace_keeping_time(old: Path, new: Path) -> None:
    for path in new.iterdir():
        stat = (old / path.name).stat() if (old / path.name).exists() else path.stat()
        shutil.copyfile(path, old / path.name)
        os.utime(old / path.name, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_rewritten_files_are_stale_with_the_plain_call(rewritten: tuple[Path, Path]) -> None:
    old, new = rewritten
    assert seconds(plain(old)) == {OLD}
    replace_keeping_time(old, new)
    assert seconds(plain(old)) == {OLD}  # wrong: the files say NEW


def test_rewritten_files_are_fresh_with_ours(rewritten: tuple[Path, Path]) -> None:
    old, new = rewritten
    assert seconds(ours(old)) == {OLD}
    replace_keeping_time(old, new)
    assert seconds(ours(old)) == {NEW}


@pytest.fixture
def same_names(make: Make, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of one name, as two downloads to one machine are."""
    for name, value in (("a", OLD), ("b", NEW)):
        (tmp_path / name).mkdir()
        make(name + "-made", lines(value)).rename(tmp_path / name / "cuda-v100")
    return tmp_path / "a/cuda-v100", tmp_path / "b/cuda-v100"


def test_a_folder_of_the_same_name_answers_the_plain_call(same_names: tuple[Path, Path]) -> None:
    first, second = same_names
    assert seconds(plain(first)) == {OLD}
    assert seconds(plain(second)) == {OLD}  # wrong: that folder says NEW


def test_a_folder_of_the_same_name_does_not_answer_ours(same_names: tuple[Path, Path]) -> None:
    first, second = same_names
    assert seconds(ours(first)) == {OLD}
    assert seconds(ours(second)) == {NEW}


@pytest.mark.parametrize("name", ["run[1]", "run?", "run*", "run[!a]", "a b#c%20"])
def test_a_path_is_no_pattern(make: Make, tmp_path: Path, name: str) -> None:
    make("run1", lines(OLD))
    folder = tmp_path / name
    make("made", lines(NEW)).rename(folder)
    assert seconds(ours(folder)) == {NEW}
    stream = wmhub.load_dataset(folder, split="train", streaming=True)
    assert {time for row in stream for time in row["run_seconds"]} == {NEW}


def test_a_path_that_the_library_takes_for_a_chain_is_refused(make: Make, tmp_path: Path) -> None:
    folder = make("made", lines(NEW)).rename(tmp_path / "a::b")
    with pytest.raises(InvalidInputError, match="no path with ::"):
        ours(folder)


@pytest.fixture
def incomplete(make: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two shards, the second of which lacks a column."""
    monkeypatch.setattr("wmhub.dataset.writer._FILE_ROWS", 2)
    monkeypatch.setattr("wmhub.dataset.writer._GROUP_ROWS", 2)
    by_row = partial(read_sorted, range_bytes=1)
    monkeypatch.setattr("wmhub.dataset.assemble.read_sorted", by_row)
    monkeypatch.setattr("wmhub.dataset.spool._BATCH_ROWS", 1)
    folder = make("shards", lines_of(12))
    shard = folder / "trajectories-train-00001.parquet"
    pq.write_table(pq.read_table(shard).drop_columns(["timestamp"]), shard)
    return folder


def test_a_shard_without_a_column_is_filled_with_nulls_by_the_plain_call(incomplete: Path) -> None:
    assert None in plain(incomplete)["timestamp"]


def test_a_shard_without_a_column_is_refused_by_ours(incomplete: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"trajectories-train-00001\.parquet"):
        ours(incomplete)
    # Also where the digest was made to fit.
    entry = file_entry(incomplete, "trajectories-train-00001.parquet", 2)
    manifest = read_manifest(incomplete)
    files = tuple(entry if entry.name == file.name else file for file in manifest.files)
    write_manifest(incomplete, dataclasses.replace(manifest, files=files))
    with pytest.raises(DatasetError, match="lacks the column timestamp"):
        ours(incomplete)


def test_splits_columns_and_streams(make: Make) -> None:
    folder = make(lines=lines_of(20))
    whole = wmhub.load_dataset(folder)
    assert isinstance(whole, datasets.DatasetDict)
    assert sum(rows.num_rows for rows in whole.values()) == 20
    some = ours(folder, columns=["trace", "run_seconds"])
    assert some.column_names == ["trace", "run_seconds"]
    stream = wmhub.load_dataset(folder, split="test", streaming=True, columns=["line"])
    assert [row["line"] for row in stream] == [row["line"] for row in whole["test"]]
    with pytest.raises(InvalidInputError, match="split 'tests'"):
        wmhub.load_dataset(folder, split="tests")
    with pytest.raises(InvalidInputError, match="column 'latency'"):
        wmhub.load_dataset(folder, columns=["latency"])


def test_by_hardware_key_from_a_hub(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.hub.pushing import push

    monkeypatch.setenv("WMHUB_HUB", f"folder:{tmp_path / 'hub'}")
    monkeypatch.setenv("WMHUB_ORGANISATION", "acme")
    for version, value in (("1.0.0", OLD), ("2.0.0", NEW)):
        push(make(version, lines(value), version=version), "acme/cuda-v100")
    for name, value in (("cuda-v100", NEW), ("acme/cuda-v100@v1.0.0", OLD)):
        rows = wmhub.load_dataset(name, split="train")
        assert isinstance(rows, datasets.Dataset)
        assert seconds(rows) == {value}


_SCRIPT = """
import json, sys
import datasets, wmhub
datasets.disable_progress_bars()
name, revision = sys.argv[1:]
plain = datasets.load_dataset(name, "cuda-v100", split="train", revision=revision)
ours = wmhub.load_dataset(name, split="train", revision=revision)
print(json.dumps([rows["run_seconds"][0][0] for rows in (plain, ours)]))
"""


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # the client's upload
def test_an_older_version_offline(make: Make, tmp_path: Path) -> None:
    """Online once at both versions, then offline: the plain call answers with the newer one."""
    sys.path.append(str(Path(__file__).parents[1] / "hub"))
    from hub_server import HubServer

    name = "acme/cuda-v100"
    with HubServer() as server:
        server.tokens, server.orgs = {"ada": "hf_ada"}, {"ada": {"acme"}}
        api = huggingface_hub.HfApi(endpoint=server.url, token="hf_ada")
        api.create_repo(name, repo_type="dataset")
        for version, value in (("1.0.0", OLD), ("2.0.0", NEW)):
            folder = make(version, lines(value), version=version)
            commit = api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder)
            api.create_tag(name, tag=f"v{version}", repo_type="dataset", revision=commit.oid)

        def load(revision: str, **environment: str) -> object:
            variables = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf")}
            done = subprocess.run(
                [sys.executable, "-c", _SCRIPT, name, revision],
                capture_output=True,
                text=True,
                env={**variables, **environment},
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        assert load("v1.0.0") == [OLD, OLD]
        assert load("v2.0.0") == [NEW, NEW]
        assert load("v1.0.0", HF_HUB_OFFLINE="1") == [NEW, OLD]  # the plain call is wrong


def test_a_split_without_rows_is_named(make: Make) -> None:
    folder = make(lines=[ansor_line()])
    assert len(wmhub.load_dataset(folder, split="train")) == 1
    with pytest.raises(DatasetError, match="its test split is empty"):
        wmhub.load_dataset(folder, split="test")
