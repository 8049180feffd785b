from __future__ import annotations

import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from logmaking import ansor_log, meta_database

from wmhub.errors import LogFormatError, MissingInputError
from wmhub.logs.discover import LogKind, discover, sniff


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ansor").mkdir()
    (tmp_path / "ansor/a.log").write_text(ansor_log())
    (tmp_path / "ansor/b.json.gz").write_bytes(gzip.compress(ansor_log().encode()))
    (tmp_path / "ansor/notes.txt").write_text("nothing to see\n")
    (tmp_path / "ansor/.hidden.log").write_text(ansor_log())
    (tmp_path / "db").mkdir()
    programs, records = meta_database()
    (tmp_path / "db/database_workload.json.gz").write_bytes(gzip.compress(programs.encode()))
    (tmp_path / "db/database_tuning_record.json").write_text(records)
    return tmp_path


def test_a_folder_stands_for_all_logs_below_it(folder: Path) -> None:
    found = discover([folder])
    assert [log.source for log in found] == [
        "ansor/a.log",
        "ansor/b.json.gz",
        "db/database_tuning_record.json",
    ]
    assert [log.kind for log in found] == [
        LogKind.AUTO_SCHEDULER,
        LogKind.AUTO_SCHEDULER,
        LogKind.META_SCHEDULE,
    ]
    assert found[2].workloads == (folder / "db/database_workload.json.gz").resolve()


@pytest.mark.parametrize("name", ["database_workload.json.gz", "database_tuning_record.json", ""])
def test_a_database_is_found_from_either_file_or_its_folder(folder: Path, name: str) -> None:
    (log,) = discover([folder / "db" / name])
    assert log.source == "database_tuning_record.json"
    assert log.workloads is not None


def test_a_database_whose_files_have_other_names(folder: Path) -> None:
    (folder / "db/database_workload.json.gz").rename(folder / "db/programs.gz")
    (log,) = discover([folder / "db"])
    assert log.workloads is not None
    assert log.workloads.name == "programs.gz"


def test_records_without_workloads_and_workloads_without_records(folder: Path) -> None:
    (folder / "db/database_workload.json.gz").rename(folder / "workloads.gz")
    (log,) = discover([folder / "db"])
    assert log.workloads is None
    with pytest.raises(MissingInputError, match=r"without records: no \S+ is beside it"):
        discover([folder / "workloads.gz"])


def test_records_that_lost_their_workloads_take_no_other_database_s(folder: Path) -> None:
    database = folder / "db"
    for name in ("conv_tuning_record.json", "database_tuning_record.json.bak"):
        (database / name).write_bytes((database / "database_tuning_record.json").read_bytes())
    found = {log.source: log.workloads for log in discover([database])}
    assert found.pop("database_tuning_record.json") is not None
    assert found == {"conv_tuning_record.json": None, "database_tuning_record.json.bak": None}
    # Two that could both be meant are nobody's.
    (database / "database_workload.json.gz").rename(database / "programs.gz")
    assert [log.workloads for log in discover([database])] == [None] * 3


def test_links_keep_their_names(folder: Path) -> None:
    """As the caches of the Hub and of git-annex lie on the disk."""
    blobs, snapshot = folder / "blobs", folder / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for number, path in enumerate(sorted((folder / "db").iterdir())):
        path.rename(blobs / f"{number:064x}")
        (snapshot / path.name).symlink_to(blobs / f"{number:064x}")
    for named in (snapshot, snapshot / "database_tuning_record.json"):
        (log,) = discover([named])
        assert log.source == "database_tuning_record.json"
        assert log.workloads is not None
        assert log.workloads.name == "database_workload.json.gz"


def test_a_database_that_never_got_a_record_stands_in_nobody_s_way(folder: Path) -> None:
    records = folder / "db/database_tuning_record.json"
    records.write_text("")
    assert [log.source for log in discover([folder])] == ["a.log", "b.json.gz"]
    with pytest.raises(MissingInputError, match=f"{records.name} beside it is empty"):
        discover([folder / "db/database_workload.json.gz"])
    with pytest.raises(LogFormatError, match="no measurement log"):
        discover([folder / "db"])


def test_a_pipe_is_not_read_as_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogFormatError, match="read it as -"):
        discover([tmp_path / "pipe"])


def test_globs_repeats_and_sources(folder: Path) -> None:
    found = discover([f"{folder}/ansor/*.log", folder / "ansor/a.log", f"{folder}/**/b.json.gz"])
    assert [log.source for log in found] == ["a.log", "b.json.gz"]
    assert all("/" not in log.source and ".." not in log.source for log in found)


def test_standard_input_is_sniffed_when_it_is_read() -> None:
    (log,) = discover(["-"])
    assert (log.path, log.kind, log.source) == (None, None, "stdin")


def test_what_is_not_there_or_no_log(folder: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        discover([folder / "missing.log"])
    with pytest.raises(MissingInputError, match="matches no measurement log"):
        discover([f"{folder}/*.nothing"])
    with pytest.raises(LogFormatError, match="neither an Ansor log nor"):
        discover([folder / "ansor/notes.txt"])
    (folder / "empty.log").touch()
    with pytest.raises(LogFormatError, match="it is empty"):
        discover([folder / "empty.log"])
    (folder / "bare").mkdir()
    with pytest.raises(LogFormatError, match="no measurement log in this folder"):
        discover([folder / "bare"])
    with pytest.raises(MissingInputError, match="no log given"):
        discover([])


def test_a_file_name_that_is_no_utf_8(folder: Path) -> None:
    target = os.fsencode(folder / "ansor") + b"/\xff.log"
    (folder / "ansor/a.log").rename(os.fsdecode(target))
    sources = [log.source for log in discover([folder / "ansor"])]
    assert sources == ["b.json.gz", "\ufffd.log"]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_cut_log_is_a_log(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "cut.log").write_bytes(compress(ansor_log().encode())[:-10])
    for named in (tmp_path, tmp_path / "cut.log"):
        assert [log.kind for log in discover([named])] == [LogKind.AUTO_SCHEDULER]


def test_a_link_that_goes_round_ends(folder: Path) -> None:
    (folder / "ansor/loop").symlink_to(folder)
    assert len(discover([folder])) == 3


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"i": [["k"', LogKind.AUTO_SCHEDULER),
        (b'{"v": "v0.6", "i"', LogKind.AUTO_SCHEDULER),
        (b'# comment\n\n{"r": [', LogKind.AUTO_SCHEDULER),
        (b"garbage\n[0, [[[", LogKind.META_SCHEDULE),
        (b'["74459984568761439","U/cA', LogKind.META_SCHEDULE_WORKLOADS),
        (b"\xef\xbb\xbf[12,[", LogKind.META_SCHEDULE),
        (b"", None),
        (b"\x00\xff\xfe", None),
        (b'{"input": ["llvm"', None),
    ],
)
def test_sniffing(head: bytes, kind: LogKind | None) -> None:
    assert sniff(head) is kind
