"""Encoded datasets on disk: the same numbers as encoding anew, made once."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from logmaking import meta_database
from trainmaking import SMALL, line, make_dataset, steps

import wmhub
from wmhub.dataset.reader import Dataset, open_dataset
from wmhub.errors import DatasetError, InvalidInputError
from wmhub.model.encode import Encoded
from wmhub.program import Block, Program
from wmhub.records import Scheduler, Workload
from wmhub.training import encoding, packing, store
from wmhub.training.corpus import gather_corpus, profile_of
from wmhub.training.data import from_groups, from_store, load_candidates
from wmhub.training.encoding import open_store
from wmhub.training.packing import DamagedTraceWarning, pack, replay
from wmhub.training.store import ARRAYS, store_key


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("data"), workloads=6))


def assert_same(ours: Encoded, wanted: Encoded) -> None:
    for name in ("blocks", "hardware", "kinds", "structured"):
        assert np.array_equal(getattr(ours, name), getattr(wanted, name)), name
        assert getattr(ours, name).dtype == getattr(wanted, name).dtype
    for a, b in zip(ours.actions, wanted.actions, strict=True):
        assert len(a) <= len(b)
        assert np.array_equal(np.broadcast_to(a, b.shape), b)


def test_a_store_holds_what_encoding_gives(dataset: Dataset, tmp_path: Path) -> None:
    profile = profile_of(dataset)
    seen: list[tuple[int, int]] = []
    store = open_store(dataset, profile, tmp_path, 1, lambda *done: seen.append(done))
    assert seen[-1] == (6, 6)
    for split in ("train", "validation", "test"):
        wanted = list(load_candidates(dataset, split, profile))
        found = [from_store(stored) for stored in store.split(split)]
        assert len(found) == len(wanted) > 0
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.workload == theirs.workload
            for name in ("group_of", "row_of", "latency"):
                assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
            for a, b in zip(ours.groups, theirs.groups, strict=True):
                assert_same(a, b)


def test_two_processes_write_the_same_files(dataset: Dataset, tmp_path: Path) -> None:
    stores = [
        open_store(dataset, profile_of(dataset), tmp_path / str(processes), processes)
        for processes in (1, 2)
    ]
    for name in [*(f"{array}.npy" for array in ARRAYS), "index.json"]:
        one, two = ((store.folder / name).read_bytes() for store in stores)
        assert one == two, name


def test_what_is_encoded_is_not_encoded_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(dataset, profile_of(dataset), tmp_path, 1)
    monkeypatch.setattr(encoding, "_write", None)
    assert open_store(dataset, profile_of(dataset), tmp_path).folder == first.folder


def test_a_damaged_store_is_made_anew(dataset: Dataset, tmp_path: Path) -> None:
    store = open_store(dataset, profile_of(dataset), tmp_path, 1)
    whole = (store.folder / "data.npy").read_bytes()
    (store.folder / "data.npy").unlink()
    (store.folder / "data.npy").write_bytes(whole[:1000])
    again = open_store(dataset, profile_of(dataset), tmp_path, 1)
    assert (again.folder / "data.npy").read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "content"),
    [("data.npy", b""), ("latency.npy", b"x"), ("index.json", b"[]"), ("index.json", b"null")],
)
def test_a_store_that_lost_its_content_is_made_anew(
    dataset: Dataset, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = open_store(dataset, profile_of(dataset), tmp_path, 1).folder
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    open_store(dataset, profile_of(dataset), tmp_path, 1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_other_hardware_is_another_store(dataset: Dataset) -> None:
    profile = profile_of(dataset)
    larger = dataclasses.replace(profile, l2_bytes=2 * profile.l2_bytes)
    assert store_key(dataset, profile) != store_key(dataset, larger)


def test_an_interrupted_encoding_leaves_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(dataset, profile_of(dataset), tmp_path, 1, fail)
    assert list(tmp_path.iterdir()) == []


def test_stores_unused_for_longest_are_forgotten(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MOST_KEPT", 2)
    for age, name in enumerate(("old", "older", "oldest", ".encoding-left")):
        (tmp_path / name).mkdir()
        if not name.startswith("."):
            (tmp_path / name / "index.json").write_text("{}")
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    store = open_store(dataset, profile_of(dataset), tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"old", store.folder.name}


def test_packing_keeps_one_row_of_what_all_share() -> None:
    shared, single = np.full((1, 34), 2.0, np.float32), np.arange(3 * 34, dtype=np.float32)
    encoded = Encoded(
        blocks=np.ones((2, 5), np.float32),
        hardware=np.ones(3, np.float32),
        kinds=np.array([4, 7]),
        actions=(shared, single.reshape(3, 34)),
        structured=np.array([[1, 2], [1, 3], [1, 4]], np.float32),
    )
    packed = pack(encoded)
    assert packed.rows.shape == (3, 34 + 1)
    assert_same(packed.unpack(encoded.hardware), encoded)
    unpacked = packed.unpack(encoded.hardware)
    assert [len(rows) == 1 for rows in unpacked.actions].index(False) == 1
    nothing = dataclasses.replace(encoded, kinds=np.zeros(0, np.int64), actions=())
    assert_same(pack(nothing).unpack(encoded.hardware), nothing)


def test_a_damaged_trace_costs_no_other(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path))
    workload = next(iter(dataset.workloads().values()))
    good = [steps(256, tile, 16) for tile in (4, 8, 16)]
    traces: list[object] = [good[0], [["SP", 2]], good[1], [[7, {}]], good[2]]
    groups = replay(workload, traces)
    assert sorted(int(m) for group in groups for m in group.members) == [0, 2, 4]
    latency = np.array([1e-3, 9.0, 2e-3, 9.0, 4e-3])
    with pytest.warns(DamagedTraceWarning, match="2 of 5 traces are damaged"):
        found = from_groups(workload, groups, latency, profile_of(dataset))
    assert found.latency.tolist() == [1e-3, 2e-3, 4e-3]
    assert found.positions.tolist() == [0, 2, 4]


def test_a_dataset_that_is_not_what_its_manifest_says_is_not_encoded(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data")
    dataset = open_dataset(folder)
    name = dataset.manifest.names("trajectories-train-")[0]
    table = pq.read_table(folder / name)
    pq.write_table(table.slice(1), folder / name)
    with pytest.raises(DatasetError, match=name):
        open_store(dataset, profile_of(dataset), tmp_path / "cache", 1)


def test_all_code_that_encodes_decides_whether_a_folder_fits() -> None:
    """A change of what is imported on the way, but for what all of wmhub stands on, counts."""
    package = Path(wmhub.__file__).parent
    foundations = {"records", "names", "errors", "hardware.profile", "code_digest", "flushing"}
    foundations |= {"dataset.manifest", "dataset.reader", "training.data"}
    digested = {
        path.relative_to(package)
        .with_suffix("")
        .as_posix()
        .replace("/__init__", "")
        .replace("/", ".")
        for part in store._CODE
        for path in ([package / part] if part.endswith(".py") else (package / part).rglob("*.py"))
    }
    found, waiting = set[str](), ["training.packing", "model.encode"]
    while waiting:
        name = waiting.pop()
        if name in found or name in foundations:
            continue
        found.add(name)
        path = package / (name.replace(".", "/") + ".py")
        tree = ast.parse(
            (path if path.exists() else path.with_suffix("") / "__init__.py").read_text()
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wmhub."):
                waiting.append(str(node.module).removeprefix("wmhub."))
    assert {"model.movement", "replay.meta_schedule", "nest"} <= found
    assert found - {"model", "training"} <= digested


def test_programs_of_one_key_are_ranked_apart(tmp_path: Path) -> None:
    """As NNFusion logs a convolution, and one with what follows it, under one key."""
    lines = []
    for row in (json.loads(line(w, 2**t, 0)) for w in range(4) for t in range(6)):
        lines.append(json.dumps(row))
        row["i"][1][1].append(["AN", 4, 0, 3])
        row["r"][0] = [10 * row["r"][0][0]]
        lines.append(json.dumps(row))
    log = tmp_path / "log.json"
    log.write_text("\n".join(lines) + "\n")
    wmhub.collect([log], hardware="llvm-emeraldrapids-2c", output=tmp_path / "data", workers=1)
    dataset = open_dataset(tmp_path / "data")
    assert dataset.manifest.counts.workloads == 4
    found = list(encoding.rankable(dataset, None))
    assert sorted({one.program.partition(".")[2] for one in found}) == ["3", "5"]
    assert len(found) == 8
    for one in found:
        records = dataset.workload_records(one.workload.id)
        assert [records.traces[row] for row in one.rows] == one.traces
        # Nothing of the other program, which takes ten times as long, is among them.
        assert one.latency.max() < 10 * one.latency.min()
    loaded = list(load_candidates(dataset, None, profile_of(dataset)))
    assert [c.positions.tolist() for c in loaded] == [one.rows.tolist() for one in found]
    kept = open_store(dataset, profile_of(dataset), tmp_path / "cache", 1)
    assert {w.program for w in kept.workloads} == {one.program for one in found}
    assert {w.workload.id for w in kept.workloads} == set(dataset.workloads())
    without = next(iter(dataset.workloads()))
    left = load_candidates(dataset, None, profile_of(dataset), frozenset([without]))
    assert all(c.workload.id != without for c in left)


def test_a_candidate_that_was_measured_again_is_one_with_the_median_of_its_times(
    tmp_path: Path,
) -> None:
    rows = [json.loads(line(w, 2**t, 0)) for w in range(4) for t in range(6)]
    best = json.loads(line(0, 16, 0))
    for factor in (0.1, 3.0):
        again = json.loads(json.dumps(best))
        again["r"][0] = [factor * best["r"][0][0]]
        again["r"][3] += int(100 * factor)
        rows.append(again)
    failed = json.loads(line(1, 4, 0))
    failed["r"][:2] = [[1e10], 6]
    log = tmp_path / "log.json"
    log.write_text("".join(json.dumps(row) + "\n" for row in [*rows, failed]))
    wmhub.collect([log], hardware="llvm-emeraldrapids-2c", output=tmp_path / "data", workers=1)
    dataset = open_dataset(tmp_path / "data")
    assert dataset.manifest.counts.records == 27
    found = {one.workload.key: one for one in encoding.rankable(dataset, None)}
    assert sorted(len(one.traces) for one in found.values()) == [6] * 4
    for workload, one in enumerate(found[json.loads(line(w, 1, 0))["i"][0][0]] for w in range(4)):
        wanted = {json.loads(line(workload, 2**t, 0))["r"][0][0] for t in range(6)}
        assert set(one.latency) == wanted
        records = dataset.workload_records(one.workload.id)
        assert [records.traces[row] for row in one.rows] == one.traces
    kept = open_store(dataset, profile_of(dataset), tmp_path / "cache", 1)
    assert [w.count for w in kept.workloads] == [6] * 4


def test_a_split_with_nothing_to_rank_says_why(tmp_path: Path) -> None:
    (tmp_path / "database_tuning_record.json").write_text(meta_database()[1])
    wmhub.collect(tmp_path, hardware="llvm-emeraldrapids-2c", output=tmp_path / "data", workers=1)
    dataset = open_dataset(tmp_path / "data")
    assert list(encoding.rankable(dataset, None)) == []
    for split, ids in dataset.splits.items():
        why = encoding.nothing_to_rank(dataset, split)
        told = f"{len(ids)} of {len(ids)} came without their database_workload.json"
        assert (told if ids else f"{split} split has no workload (there are: ") in why
    with pytest.raises(DatasetError, match=r"3 came without their database_workload\.json"):
        gather_corpus(dataset.hardware, [dataset], SMALL, tmp_path / "cache", 1)


def test_a_damaged_trace_that_tells_no_program_is_counted(tmp_path: Path) -> None:
    lines = [line(w, 2**t, 0) for w in range(4) for t in range(6)]
    log = tmp_path / "log.json"
    log.write_text("\n".join([*lines, lines[0].replace('"SP", 2, 0', '"SP", "x", 0')]) + "\n")
    wmhub.collect([log], hardware="llvm-emeraldrapids-2c", output=tmp_path / "data", workers=1)
    dataset = open_dataset(tmp_path / "data")
    assert dataset.manifest.counts.records == len(lines) + 1
    found = list(encoding.rankable(dataset, None))
    assert sorted(len(one.rows) for one in found) == [6, 6, 6, 7]
    with pytest.warns(DamagedTraceWarning, match="1 of 7 traces are damaged"):
        kept = open_store(dataset, profile_of(dataset), tmp_path / "cache", 1)
    assert [w.count for w in kept.workloads] == [6, 6, 6, 6]


def test_a_workload_of_damaged_traces_alone_is_counted(tmp_path: Path) -> None:
    good = [line(w, 2**t, 0) for w in range(4) for t in range(6)]
    bad = [line(4, 2**t, 0).replace('"SP", 2, 0', '"SP", "x", 0') for t in range(6)]
    log = tmp_path / "log.json"
    log.write_text("\n".join([*good, *bad]) + "\n")
    wmhub.collect([log], hardware="llvm-emeraldrapids-2c", output=tmp_path / "data", workers=1)
    dataset = open_dataset(tmp_path / "data")
    with pytest.warns(DamagedTraceWarning, match="6 of 6 traces are damaged"):
        kept = open_store(dataset, profile_of(dataset), tmp_path / "cache", 1)
    assert len(kept.workloads) == 4


def test_a_program_that_cannot_be_read_costs_no_other_workload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function without blocks, as TVM has them before they are scheduled, is one."""
    dataset = open_dataset(make_dataset(tmp_path / "data", workloads=2))
    first, second = dataset.workloads().values()
    damaged = dataclasses.replace(first, scheduler=Scheduler.META_SCHEDULE, program="e30=")
    assert replay(damaged, [[[], []]]) == []
    with pytest.raises(InvalidInputError, match="not in the dataset"):
        replay(dataclasses.replace(damaged, program=None), [[[], []]])
    found = list(encoding.rankable(dataset, None))
    found = [dataclasses.replace(found[0], workload=damaged), *found[1:]]
    monkeypatch.setattr(
        encoding, "rankable", lambda _, split: iter(found if split == "train" else [])
    )
    with pytest.warns(DamagedTraceWarning, match="its program cannot be read, and all 28"):
        kept = open_store(dataset, profile_of(dataset), tmp_path / "cache", 1)
    assert [w.workload.id for w in kept.workloads] == [second.id]


def test_a_program_is_read_once_however_many_traces_are_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block = Block("B", (), (("i", 4, -1),), (), (), (), has_init=False)
    read: list[str] = []

    def parse(text: str) -> Program:
        read.append(text)
        return Program((block,), {})

    monkeypatch.setattr(packing, "parse_program", parse)
    workload = Workload("w", Scheduler.META_SCHEDULE, "1", "program")
    (group,) = replay(workload, [[[], []], [["GetBlock"], []], 7, [[], []]])
    assert group.members.tolist() == [0, 3]
    assert read == ["program"]


@pytest.mark.parametrize("extent", ["no json", str(10**400)])
def test_what_is_no_json_to_us_is_a_damaged_trace(tmp_path: Path, extent: str) -> None:
    """A dataset of others may hold any text; ours hold what Python reads, such as huge numbers."""
    dataset = open_dataset(make_dataset(tmp_path / "data", workloads=4))
    first, *_ = encoding.rankable(dataset, None)
    traces = [*first.traces[:-1], first.traces[-1].replace("256", extent)]
    assert traces != list(first.traces)
    found = packing.encode_workload(first.workload, traces, profile_of(dataset))
    assert sum(len(members) for members, _ in found) == len(traces) - 1


def test_a_workload_with_very_many_candidates_is_encoded_part_by_part(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(dataset)
    one, *_ = encoding.rankable(dataset, None)

    def rows() -> np.ndarray:
        parts = packing.encode_workload(one.workload, one.traces, profile)
        members = np.concatenate([places for places, _ in parts])
        assert sorted(members.tolist()) == list(range(len(one.traces)))
        told = [group.unpack(np.zeros(1, np.float32)).structured for _, group in parts]
        return np.concatenate(told)[np.argsort(members)]

    whole = rows()
    monkeypatch.setattr(packing, "_AT_ONCE", 5)
    assert np.array_equal(rows(), whole)


def test_whoever_else_encodes_the_same_may_be_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(make_dataset(tmp_path / "data", workloads=4))
    profile, cache = profile_of(dataset), tmp_path / "cache"
    there = open_store(dataset, profile, cache, 1).folder
    (tmp_path / "aside").mkdir()
    there.rename(tmp_path / "aside" / there.name)
    real = shutil.rmtree

    def too_late(path: Path, **options: Any) -> None:
        real(path, **options)
        if Path(path) == there:
            (tmp_path / "aside" / there.name).rename(there)

    monkeypatch.setattr(encoding.shutil, "rmtree", too_late)
    assert len(open_store(dataset, profile, cache, 1).workloads) == 4
    assert [path.name for path in cache.iterdir()] == [there.name]
