from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasetmaking import Make

import wmhub
from wmhub.dataset.check import check
from wmhub.dataset.export import export
from wmhub.dataset.manifest import MANIFEST, Manifest, read_manifest, sha256_of
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.rewrite import merge, split
from wmhub.dataset.verify import require_verified, verify
from wmhub.errors import DatasetError, MissingInputError, SchemaVersionError
from wmhub.live_collection import collect_live


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace_rows(folder: Path, name: str, table: pa.Table) -> None:
    """Writes the file ``name`` anew, as its manifest then says."""
    pq.write_table(table, folder / name)
    files = json.loads((folder / MANIFEST).read_text())["files"]
    size = (folder / name).stat().st_size
    files[name] |= {"sha256": sha256_of(folder / name), "bytes": size}
    edit(folder, files=files)


def test_a_fresh_dataset_is_as_its_manifest_says(make: Make) -> None:
    manifest, faults = verify(make())
    assert faults == []
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_all_faults_at_once(make: Make) -> None:
    folder = make()
    train, test = folder / "trajectories-train-00000.parquet", folder / "workloads-00000.parquet"
    data = bytearray(train.read_bytes())
    data[100] ^= 1
    train.write_bytes(data)
    test.unlink()
    shutil.copy(train, folder / "trajectories-train-00001.parquet")
    faults = {fault.file: fault.reason for fault in verify(folder)[1]}
    assert "SHA-256" in faults[train.name]
    assert "missing" in faults[test.name]
    assert "does not name" in faults["trajectories-train-00001.parquet"]
    with pytest.raises(DatasetError, match=r"\(and 2 more\)"):
        require_verified(folder)


def test_a_column_that_is_missing_or_of_another_type(make: Make) -> None:
    folder = make()
    name = "trajectories-train-00000.parquet"
    table = pq.read_table(folder / name)
    for changed, reason in (
        (table.drop_columns(["trace"]), "lacks the column trace"),
        (table.set_column(0, "workload_id", [list(range(len(table)))]), "column workload_id is"),
    ):
        replace_rows(folder, name, changed)
        (fault,) = verify(folder)[1]
        assert reason in fault.reason


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        ([0.0], "not a positive number"),
        ([1e-3, float("nan")], "not a positive number"),
        ([float("inf")], "not a positive number"),
        ([], "without any run time"),
    ],
)
def test_what_ran_has_times(make: Make, seconds: list[float], reason: str) -> None:
    folder = make()
    name = "trajectories-train-00000.parquet"
    table = pq.read_table(folder / name)
    at = table["failure"].to_pylist().index(None)
    runs = table["run_seconds"].to_pylist()
    runs[at] = seconds
    column = pa.array(runs, table["run_seconds"].type)
    field = table.schema.field("run_seconds")
    number = table.schema.get_field_index("run_seconds")
    replace_rows(folder, name, table.set_column(number, field, column))
    (fault,) = verify(folder)[1]
    assert reason in fault.reason


@pytest.mark.parametrize(
    "name", ["../out.parquet", "/etc/passwd", "a/../../b", "a\\b", "", "a\0b", ".", "a//b"]
)
def test_names_that_leave_the_folder_are_refused(make: Make, name: str) -> None:
    folder = make()
    edit(folder, files={name: {"sha256": "0" * 64, "bytes": 1, "rows": 1}})
    with pytest.raises(DatasetError, match="would leave"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "wmhub-dataset"}', "[" * 100_000, '{"format": 1}']
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DatasetError, match=r"manifest\.json: "):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("counts", "lines", "40"),
        ("counts", "records", -1),
        ("counts", "workloads", True),
        pytest.param("counts", "lines", 10**400, id="no such count"),
        ("profile", "matrix_flops", None),
        ("profile", "l1_bytes", None),
        pytest.param("profile", "peak_flops", 10**400, id="beyond floats"),
        ("counts", "failures", {"crash": None}),
        ("counts", "failures", []),
        pytest.param("contributors", "\ud800", 1, id="no text"),
        ("splits", "train", {"workloads": 1, "records": 1.5, "measured": 1}),
        ("splits", "train", 7),
        ("files", "a.parquet", {"sha256": "0" * 64, "bytes": -1, "rows": 1}),
        ("files", "a.parquet", {"sha256": "abc", "bytes": 1, "rows": 1}),
        ("files", "a.parquet", {"sha256": None, "bytes": 1, "rows": 1}),
        ("files", "a.parquet", {}),
    ],
)
def test_wrong_types_in_a_manifest(make: Make, place: str, name: str, value: object) -> None:
    folder = make()
    edit(folder, **{place: {**json.loads((folder / MANIFEST).read_text())[place], name: value}})
    with pytest.raises(DatasetError, match=r"manifest\.json: "):
        read_manifest(folder)


@pytest.mark.parametrize(
    "changes", [{"name": [1]}, {"licence": 3}, {"test_workloads": [7]}, {"collector": None}]
)
def test_what_must_be_text_in_a_manifest(make: Make, changes: dict[str, object]) -> None:
    folder = make()
    edit(folder, **changes)
    with pytest.raises(DatasetError, match=r"manifest\.json: "):
        read_manifest(folder)


def test_what_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such dataset folder"):
        open_dataset(tmp_path / "none")
    with pytest.raises(DatasetError, match="interrupted"):
        open_dataset(tmp_path)


def test_a_dataset_that_a_killed_replacement_put_aside_can_be_found(
    make: Make, tmp_path: Path
) -> None:
    folder = make()
    beside = tmp_path / "data.wmhub"
    beside.mkdir()
    folder.rename(beside / "older")
    with pytest.raises(MissingInputError, match=f"cut short, see {beside}: run again"):
        open_dataset(folder)
    folder.mkdir()
    with pytest.raises(DatasetError, match=f"interrupted; work on it was cut short, see {beside}"):
        open_dataset(folder)


def test_rows_that_were_changed_do_not_get_new_digests(make: Make, tmp_path: Path) -> None:
    folder = make()
    name = "trajectories-train-00000.parquet"
    table = pq.read_table(folder / name)
    faster = pa.array([[1e-6]] * len(table), table.schema.field("run_seconds").type)
    index = table.schema.get_field_index("run_seconds")
    pq.write_table(table.set_column(index, table.schema.field(index), faster), folder / name)
    new = tmp_path / "new"
    log = tmp_path / "data-log"
    for rewrite in (
        lambda: merge([folder], new),
        lambda: split(folder, new),
        lambda: export(folder, new),
        lambda: wmhub.collect(log, folder, update=True),
        lambda: collect_live(folder, workloads=["zoo"]),
    ):
        with pytest.raises(DatasetError, match=rf"{name}: "):
            rewrite()
    assert not new.exists()
    assert not list(tmp_path.glob("*.wmhub"))


def test_a_manifest_without_workloads_is_a_fault(make: Make) -> None:
    folder = make()
    files = json.loads((folder / MANIFEST).read_text())["files"]
    (folder / "workloads-00000.parquet").unlink()
    del files["workloads-00000.parquet"]
    edit(folder, files=files)
    assert "no file of workloads" in verify(folder)[1][0].reason
    assert [finding.kind for finding in check(folder).findings] == ["damage"]
    with pytest.raises(DatasetError, match="no file of workloads"):
        open_dataset(folder).workloads()


def test_counts_that_do_not_add_up(make: Make) -> None:
    folder = make()
    counts = json.loads((folder / MANIFEST).read_text())["counts"]
    edit(folder, counts={**counts, "lines": 41, "duplicates": 1})
    reasons = [fault.reason for fault in verify(folder)[1]]
    assert reasons == [
        "lines are not measured + failed + rejected",
        "records + duplicates are not measured + failed",
    ]


def test_a_newer_schema_is_refused_and_an_older_one_upgraded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One function a step: here a version 0 that called ``trace`` by another name."""

    from wmhub.dataset import schema

    folder = make()
    edit(folder, schema_version=2)
    with pytest.raises(SchemaVersionError, match="upgrade wmhub"):
        open_dataset(folder)
    name = "trajectories-train-00000.parquet"
    table = pq.read_table(folder / name)
    old = [{"trace": "schedule"}.get(column, column) for column in table.column_names]
    pq.write_table(table.rename_columns(old), folder / name)
    edit(folder, schema_version=0)
    with pytest.raises(SchemaVersionError, match="no upgrade"):
        open_dataset(folder)

    def from_0(rows: pa.Table) -> pa.Table:
        return rows.rename_columns([{"schedule": "trace"}.get(c, c) for c in rows.column_names])

    monkeypatch.setitem(schema.UPGRADES, 0, from_0)
    dataset = open_dataset(folder)
    traces = [
        t for _, rows in dataset.iter_workload_records("train", ["trace"]) for t in rows.traces
    ]
    assert traces == table["trace"].to_pylist()


@pytest.mark.parametrize(
    ("column", "value"), [("split", "foo"), ("workload_id", "w1"), ("scheduler", "ansor")]
)
def test_words_that_mean_nothing(make: Make, column: str, value: str) -> None:
    folder = make()
    name = "workloads-00000.parquet"
    table = pq.read_table(folder / name)
    at, field = table.schema.get_field_index(column), table.schema.field(column)
    values = [value, *table[column].to_pylist()[1:]]
    replace_rows(folder, name, table.set_column(at, field, pa.array(values, field.type)))
    assert [fault.file for fault in verify(folder)[1]] == [name]
    assert f"column {column}" in verify(folder)[1][0].reason
