from __future__ import annotations

import base64
import dataclasses
import errno
import json
import os
import struct
from pathlib import Path

import pytest
from datasetmaking import Make, lines_of
from logmaking import ansor_line, meta_database

import wmhub
from wmhub.dataset.assemble import part_of
from wmhub.dataset.card import CARD, PICTURE
from wmhub.dataset.diff import diff
from wmhub.dataset.manifest import Repeatability, read_manifest
from wmhub.dataset.reader import Dataset, open_dataset
from wmhub.dataset.rewrite import credit, merge, render_again, retime, split
from wmhub.dataset.verify import verify
from wmhub.dataset.version import Version
from wmhub.dataset.working import working
from wmhub.errors import (
    DatasetError,
    HardwareMismatchError,
    InvalidInputError,
    OutputExistsError,
)


def rows(dataset: Dataset) -> list[str]:
    drop = ["collector"]
    return sorted(
        json.dumps(row) for t in dataset.iter_tables() for row in t.drop_columns(drop).to_pylist()
    )


def test_merging_keeps_each_record_once_with_its_provenance(make: Make, tmp_path: Path) -> None:
    lines = lines_of(20)
    first = make("a", [*lines[:12], "broken"], contributor="ann")
    second = make("b", lines[8:], contributor="bob", licence="Apache-2.0")
    manifest = merge([first, second], tmp_path / "both")
    assert manifest.counts.records == 20
    assert manifest.counts.duplicates == 4
    assert (manifest.counts.lines, manifest.counts.rejected) == (25, 1)
    assert manifest.contributors == {"ann": 12, "bob": 8}
    assert manifest.licence == "Apache-2.0 AND MIT"
    assert str(manifest.version) == "1.1.0"
    assert verify(tmp_path / "both")[1] == []
    before, after = open_dataset(first).splits, open_dataset(tmp_path / "both").splits
    assert all(set(before[name]) <= set(after[name]) for name in before)
    assert (tmp_path / "both/rejected.jsonl").read_text().count("\n") == 1
    assert not list(tmp_path.glob("both.*"))


def test_what_no_manifest_names_gets_into_no_dataset(make: Make, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    data = make("data", lines_of(3))
    (data / "rejected.jsonl").symlink_to(tmp_path / "secret")
    assert part_of(open_dataset(data), tmp_path, "runs").rejections == []


def test_merging_again_changes_nothing(make: Make, tmp_path: Path) -> None:
    first = make("a", lines_of(9))
    again = merge([first, first], tmp_path / "again", version=None)
    assert str(again.version) == "1.0.1"
    assert diff(first, tmp_path / "again").follows_rules
    assert rows(open_dataset(tmp_path / "again")) == rows(open_dataset(first))
    assert str(merge([first], tmp_path / "named", version="3.0.0").version) == "3.0.0"


def test_hardware_does_not_mix(make: Make, tmp_path: Path) -> None:
    other = make("b", hardware="cuda-k80")
    with pytest.raises(HardwareMismatchError, match="do not mix"):
        merge([make("a"), other], tmp_path / "both")
    with pytest.raises(InvalidInputError, match="no dataset"):
        merge([], tmp_path / "both")
    with pytest.raises(OutputExistsError):
        merge([other], other)


def test_splitting_moves_whole_workloads_and_keeps_every_row(make: Make, tmp_path: Path) -> None:
    lines = [ansor_line(key=f'["m", {n % 10}]', timestamp=n) for n in range(100)]
    first = make("a", lines)
    chosen = ['["m", 2]', '["m", 3]']
    manifest = split(first, tmp_path / "moved", test_workloads=chosen)
    moved = open_dataset(tmp_path / "moved")
    assert {moved.workloads()[id_].key for id_ in moved.splits["test"]} == set(chosen)
    assert manifest.splits["test"].records == 20
    assert rows(moved) == rows(open_dataset(first))
    assert split(tmp_path / "moved", tmp_path / "back").version.major == 3
    assert open_dataset(tmp_path / "back").splits == open_dataset(first).splits
    same = split(first, tmp_path / "same")
    assert str(same.version) == "1.0.0"
    by_hand = [moved.workloads()[id_].key for id_ in open_dataset(first).splits["test"]]
    named = split(first, tmp_path / "named", test_workloads=by_hand)
    assert diff(first, tmp_path / "named").follows_rules
    assert str(named.version) != "1.0.0"


def test_a_card_that_cannot_be_written_leaves_the_dataset_as_it_was(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("a", lines_of(9))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(path: Path, _: object) -> None:
        path.write_bytes(b"half a pict")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("wmhub.dataset.writer.draw_picture", fail)
        with pytest.raises(OSError, match="No space left"):
            render_again(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(tmp_path.glob("a.*"))
    assert str(render_again(folder).version) == "1.0.1"


def test_a_card_whose_writing_was_killed_is_mended_by_another(make: Make) -> None:
    folder = make("a", lines_of(9))
    (folder / PICTURE).write_bytes(b"of the card that its manifest did not follow")
    assert verify(folder)[1] != []
    render_again(folder)
    assert verify(folder)[1] == []
    (folder / "workloads-00000.parquet").write_bytes(b"other damage")
    with pytest.raises(DatasetError, match="workloads"):
        render_again(folder)


def test_other_splits_keep_how_the_rows_repeat(make: Make, tmp_path: Path) -> None:
    folder = make("a", lines_of(9))
    repeated = Repeatability("2026-01-31", 9, 0, 1.0, 0.5, 0.6, 0.7, 0.8, 0.9)
    render_again(folder, repeated)
    assert split(folder, tmp_path / "same").repeatability == repeated
    assert merge([folder], tmp_path / "joined").repeatability is None


def test_what_is_known_to_be_wrong_goes_with_the_rows(make: Make, tmp_path: Path) -> None:
    data, other = make(), make("other", lines=[ansor_line(seconds=[9.0], timestamp=9)])
    manifest = render_again(data, limits=["Times | are late."])
    assert render_again(data, limits=["Times | are late.", "So is [this](x)."]).limits == (
        "Times | are late.",
        "So is [this](x).",
    )
    assert manifest.version == Version(1, 0, 1)
    card = (data / CARD).read_text()
    assert "- Times \\| are late.\n- So is \\[this\\](x).\n" in card
    joined = merge([other, data], tmp_path / "joined")
    parted = split(tmp_path / "joined", tmp_path / "parted", test_workloads=[])
    grown = wmhub.collect([tmp_path / "other-log"], data, update=True, licence="MIT")
    for one in (joined, parted, grown.manifest, read_manifest(data)):
        assert one.limits == ("Times | are late.", "So is [this](x).")


@pytest.mark.parametrize("limit", ["", " ", "x" * 401, "\udcff"])
def test_a_limit_that_no_card_can_hold_is_refused(make: Make, limit: str) -> None:
    folder = make()
    with pytest.raises(InvalidInputError, match="a limit m"):
        render_again(folder, limits=[limit])
    assert read_manifest(folder).limits == ()


def test_a_version_that_goes_back_is_refused(make: Make, tmp_path: Path) -> None:
    folder = make("a", lines_of(3))
    more = make("b", lines_of(9))
    for version, least in (("0.5.0", "1.0.1"), ("1.0.5", "1.1.0")):
        with pytest.raises(
            InvalidInputError, match=f"cannot follow 1.0.0: it must be {least} or later"
        ):
            merge([folder, more], tmp_path / "joined", version=version)
        with pytest.raises(InvalidInputError, match="cannot follow"):
            wmhub.collect(tmp_path / "b-log", folder, update=True, version=version)
    assert open_dataset(folder).manifest.counts.records == 3
    report = wmhub.collect(tmp_path / "b-log", folder, update=True, version="1.1.0")
    assert str(report.manifest.version) == "1.1.0"


def test_crediting_fills_in_what_rows_do_not_name(make: Make, tmp_path: Path) -> None:
    lines = lines_of(20)
    named = make("a", lines[:12], contributor="ann", licence="MIT")
    bare = make("b", lines[12:], contributor="", licence="")
    both = tmp_path / "both"
    merge([named, bare], both)
    splits = open_dataset(both).splits
    manifest = credit(both, contributor="bob", licence="CC-BY-4.0")
    assert manifest.licences == {"CC-BY-4.0": 8, "MIT": 12}
    assert manifest.contributors == {"ann": 12, "bob": 8}
    assert str(manifest.version) == "2.0.0"
    assert manifest.counts.records == 20
    assert open_dataset(both).splits == splits
    assert verify(both)[1] == []
    for options in ({"licence": "Apache-2.0"}, {}):
        with pytest.raises(InvalidInputError, match=r"names one already|nothing to write"):
            credit(both, **options)
    assert not list(tmp_path.glob("both.*"))


def test_a_licence_that_is_none_can_be_replaced(make: Make, tmp_path: Path) -> None:
    lines = lines_of(20)
    parts = [("a", lines[:12], "CC BY 4.0"), ("b", lines[12:18], ""), ("c", lines[18:], "MIT")]
    both = tmp_path / "both"
    merge([make(name, mine, licence=licence) for name, mine, licence in parts], both)
    with pytest.raises(InvalidInputError, match=r"no row has the licence 'BSD'; there is 'CC BY 4"):
        credit(both, contributor="", licence="CC-BY-4.0", instead_of="BSD")
    with pytest.raises(InvalidInputError, match="without a licence"):
        credit(both, contributor="ann", instead_of="CC BY 4.0")
    manifest = credit(both, licence="CC-BY-4.0", instead_of="CC BY 4.0")
    assert manifest.licences == {"CC-BY-4.0": 18, "MIT": 2}
    assert verify(both)[1] == []


@pytest.mark.parametrize("what", ["contributor", "licence"])
def test_credit_that_is_no_utf8_is_refused(make: Make, tmp_path: Path, what: str) -> None:
    folder = make("a", lines_of(3), contributor="", licence="")
    latin = {what: os.fsdecode("Jörg".encode("latin-1"))}
    with pytest.raises(InvalidInputError, match=rf"{what} 'J\\udcf6rg' is no UTF-8"):
        credit(folder, **latin)
    with pytest.raises(InvalidInputError, match="is no UTF-8"):
        wmhub.collect(tmp_path / "a-log", tmp_path / "new", hardware="cuda-v100", **latin)  # type: ignore[arg-type]


def test_rows_take_other_times_and_nothing_else_changes(make: Make, tmp_path: Path) -> None:
    folder = make("a", [*lines_of(9), "broken"], contributor="ann")
    older = open_dataset(folder)
    before = [row for _, records in older.iter_workload_records() for row in records.records()]
    doubled = {
        number: dataclasses.replace(row, run_seconds=tuple(2 * s for s in row.run_seconds))
        for number, row in enumerate(before)
        if number % 2
    }
    with working(tmp_path / "new"):
        manifest, ratios = retime(older, tmp_path / "new", doubled, "bob")
    assert ratios == pytest.approx([2.0] * 4)
    assert str(manifest.version) == "2.0.0"
    assert (manifest.counts, manifest.limits) == (older.manifest.counts, older.manifest.limits)
    assert manifest.contributors == {"ann": 5, "bob": 4}
    after = open_dataset(tmp_path / "new")
    assert after.split_of == older.split_of
    assert verify(tmp_path / "new")[1] == []
    found = [row for _, records in after.iter_workload_records() for row in records.records()]
    wanted = [doubled.get(number, row) for number, row in enumerate(before)]
    assert sorted(found, key=str) == sorted(wanted, key=str)


def test_merging_keeps_a_program_of_two_versions_of_tvm_in_one_split(tmp_path: Path) -> None:
    programs, records = meta_database(records=60, workloads=20)
    # As another version writes the same: the keys stay, the digests of the texts do not.
    rows = [json.loads(line) for line in programs.splitlines()]
    text = json.dumps({"nodes": [], "root_index": 0})
    length = struct.pack("<Q", len(text) + 1)
    other = [
        [key, base64.b64encode(length + text.encode() + b" " * (1 + n)).decode()]
        for n, (key, _) in enumerate(rows)
    ]
    folders = []
    for name, lines in (("one", rows), ("two", other)):
        folder = tmp_path / name
        folder.mkdir()
        workloads = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "database_workload.json").write_text(workloads)
        (folder / "database_tuning_record.json").write_text(records)
        report = wmhub.collect([folder], tmp_path / f"{name}-data", hardware="llvm-znver4-2c")
        folders.append(report.output)
    first, second = map(open_dataset, folders)
    keys = [{w.key: d.split_of[w.id] for w in d.workloads().values()} for d in (first, second)]
    assert keys[0].keys() == keys[1].keys()
    assert keys[0] != keys[1]
    merged_manifest = merge(folders, tmp_path / "both")
    assert merged_manifest.counts.workloads == 40
    both = open_dataset(tmp_path / "both")
    assert {(w.key, both.split_of[w.id]) for w in both.workloads().values()} == {*keys[0].items()}
