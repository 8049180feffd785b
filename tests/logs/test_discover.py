from __future__ import annotations

import gzip
import lzma
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from logmaking import ansor_log, meta_database

from wmhub.errors import LogFormatError, MissingInputError
from wmhub.logs.discover import LogFile, discover
from wmhub.logs.sniff import LogKind


def logs(inputs: Sequence[str | Path]) -> list[LogFile]:
    found = discover(inputs)
    assert found.ignored == []
    return found.logs


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
    found = logs([folder])
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
    (log,) = logs([folder / "db" / name])
    assert log.source == "database_tuning_record.json"
    assert log.workloads is not None


def test_a_database_whose_files_have_other_names(folder: Path) -> None:
    (folder / "db/database_workload.json.gz").rename(folder / "db/programs.gz")
    (log,) = logs([folder / "db"])
    assert log.workloads is not None
    assert log.workloads.name == "programs.gz"


def test_records_without_workloads_and_workloads_without_records(folder: Path) -> None:
    (folder / "db/database_workload.json.gz").rename(folder / "workloads.gz")
    (log,) = logs([folder / "db"])
    assert log.workloads is None
    with pytest.raises(MissingInputError, match=r"without records: no \S+ is beside it"):
        logs([folder / "workloads.gz"])


def test_records_that_lost_their_workloads_take_no_other_database_s(folder: Path) -> None:
    database = folder / "db"
    for name in ("conv_tuning_record.json", "database_tuning_record.json.bak"):
        (database / name).write_bytes((database / "database_tuning_record.json").read_bytes())
    found = {log.source: log.workloads for log in logs([database])}
    assert found.pop("database_tuning_record.json") is not None
    assert found == {"conv_tuning_record.json": None, "database_tuning_record.json.bak": None}
    # Two that could both be meant are nobody's.
    (database / "database_workload.json.gz").rename(database / "programs.gz")
    assert [log.workloads for log in logs([database])] == [None] * 3


def test_links_keep_their_names(folder: Path) -> None:
    """As the caches of the Hub and of git-annex lie on the disk."""
    blobs, snapshot = folder / "blobs", folder / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for number, path in enumerate(sorted((folder / "db").iterdir())):
        path.rename(blobs / f"{number:064x}")
        (snapshot / path.name).symlink_to(blobs / f"{number:064x}")
    for named in (snapshot, snapshot / "database_tuning_record.json"):
        (log,) = logs([named])
        assert log.source == "database_tuning_record.json"
        assert log.workloads is not None
        assert log.workloads.name == "database_workload.json.gz"


def test_a_database_that_never_got_a_record_stands_in_nobody_s_way(folder: Path) -> None:
    records = folder / "db/database_tuning_record.json"
    records.write_text("")
    assert [log.source for log in logs([folder])] == ["a.log", "b.json.gz"]
    with pytest.raises(MissingInputError, match=f"{records.name} beside it is empty"):
        logs([folder / "db/database_workload.json.gz"])
    with pytest.raises(LogFormatError, match="no measurement log"):
        logs([folder / "db"])


def test_a_pipe_is_not_read_as_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogFormatError, match="read it as -"):
        logs([tmp_path / "pipe"])


def test_globs_repeats_and_sources(folder: Path) -> None:
    found = logs([f"{folder}/ansor/*.log", folder / "ansor/a.log", f"{folder}/**/b.json.gz"])
    assert [log.source for log in found] == ["a.log", "b.json.gz"]
    assert all("/" not in log.source and ".." not in log.source for log in found)


def test_standard_input_is_sniffed_when_it_is_read() -> None:
    (log,) = logs(["-"])
    assert (log.path, log.kind, log.source) == (None, None, "stdin")


def test_what_is_not_there_or_no_log(folder: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        logs([folder / "missing.log"])
    with pytest.raises(MissingInputError, match="matches no measurement log"):
        logs([f"{folder}/*.nothing"])
    with pytest.raises(LogFormatError, match="neither an Ansor log nor"):
        logs([folder / "ansor/notes.txt"])
    (folder / "empty.log").touch()
    with pytest.raises(LogFormatError, match="it is empty"):
        logs([folder / "empty.log"])
    (folder / "bare").mkdir()
    with pytest.raises(LogFormatError, match="no measurement log in this folder"):
        logs([folder / "bare"])
    with pytest.raises(MissingInputError, match="no log given"):
        logs([])


def test_a_file_name_that_is_no_utf_8(folder: Path) -> None:
    target = os.fsencode(folder / "ansor") + b"/\xff.log"
    (folder / "ansor/a.log").rename(os.fsdecode(target))
    sources = [log.source for log in logs([folder / "ansor"])]
    assert sources == ["b.json.gz", "\ufffd.log"]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_cut_log_is_a_log(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "cut.log").write_bytes(compress(ansor_log().encode())[:-10])
    for named in (tmp_path, tmp_path / "cut.log"):
        assert [log.kind for log in logs([named])] == [LogKind.AUTO_SCHEDULER]


def test_a_link_that_goes_round_ends(folder: Path) -> None:
    (folder / "ansor/loop").symlink_to(folder)
    assert len(logs([folder])) == 3


def test_what_of_a_folder_cannot_be_read_is_named_and_stops_nothing(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gzip.compress(ansor_log().encode())
    (folder / "cut.log.gz").write_bytes(whole[:15])
    (folder / "zeros.log.gz").write_bytes(bytes(4096))
    (folder / "picture.png").write_bytes(b"\x89PNG" + bytes(range(256)))
    (folder / "gone.log").symlink_to(folder / "nowhere")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "c.log").write_text(ansor_log())
    (folder / "linked").symlink_to(elsewhere)
    (folder / "closed.log").write_text(ansor_log())
    (folder / "locked").mkdir()
    (folder / "locked/d.log").write_text(ansor_log())
    refuse(monkeypatch, "closed.log", "locked")
    found = discover([folder])
    assert len(found.logs) == 3
    assert {str(item).removeprefix(f"{folder}/") for item in found.ignored} == {
        "closed.log: cannot be opened: Permission denied",
        "cut.log.gz: the compressed stream is damaged or cut short (Compressed file ended before "
        "the end-of-stream marker was reached)",
        "gone.log: a link that leads to no file",
        "linked: a link to a folder, which is not followed; name it as well to have its logs",
        "locked: this folder cannot be read: Permission denied",
        "zeros.log.gz: it does not begin as a .gz file does",
    }
    # The picture, the notes and the hidden file.
    assert found.others == 3
    named = discover([folder, folder / "linked"])
    assert (len(named.logs), len(named.ignored)) == (4, 5)
    assert discover([f"{folder}/*", f"{folder}/**"]).ignored == named.ignored


def refuse(monkeypatch: pytest.MonkeyPatch, file: str, folder: str) -> None:
    """As the system refuses them to who may not read them; root may."""
    path_open, scandir = Path.open, os.scandir

    def open_(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == file:
            raise PermissionError(13, "Permission denied", str(self))
        return path_open(self, *arguments, **options)

    def scandir_(path: Any = ".") -> Any:
        if Path(path).name == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(os, "scandir", scandir_)


def test_a_named_file_that_cannot_be_read_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cut.log.gz").write_bytes(gzip.compress(ansor_log().encode())[:15])
    with pytest.raises(LogFormatError, match=r"cut\.log\.gz: the compressed stream is damaged"):
        discover([folder, folder / "cut.log.gz"])
    refuse(monkeypatch, "a.log", "")
    with pytest.raises(LogFormatError, match=r"a\.log: cannot be opened: Permission denied"):
        discover([folder / "ansor/b.json.gz", folder / "ansor/a.log"])


def test_a_folder_of_damaged_logs_only_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    (tmp_path / "cut.log.gz").write_bytes(gzip.compress(ansor_log().encode())[:15])
    for named in (tmp_path, f"{tmp_path}/*"):
        with pytest.raises(
            (LogFormatError, MissingInputError), match=r"not read: .*cut\.log\.gz: "
        ):
            discover([named])


def test_records_whose_workloads_cannot_be_read_are_read(folder: Path) -> None:
    programs = folder / "db/database_workload.json.gz"
    programs.write_bytes(programs.read_bytes()[:15])
    for named in (folder / "db", folder / "db/database_tuning_record.json"):
        found = discover([named])
        assert [log.workloads for log in found.logs] == [None]
        assert [Path(item.path).name for item in found.ignored] == [programs.name]


def test_workloads_whose_records_cannot_be_read_say_so(folder: Path) -> None:
    records = folder / "db/database_tuning_record.json"
    (folder / "db/database_tuning_record.json.gz").write_bytes(
        gzip.compress(records.read_bytes())[:15]
    )
    records.unlink()
    with pytest.raises(MissingInputError, match=r"without records: .*\.gz: the compressed stream"):
        discover([folder / "db/database_workload.json.gz"])


def test_two_halves_of_two_databases_are_no_database(folder: Path) -> None:
    database = folder / "db"
    (database / "database_workload.json.gz").rename(database / "matmul_workload.json.gz")
    (database / "database_tuning_record.json").rename(database / "conv_tuning_record.json")
    assert [log.workloads for log in logs([database])] == [None]


def test_of_two_names_the_one_with_its_programs_counts(folder: Path) -> None:
    """The root of a cache, whose links lead to files that are named by digests."""
    blobs, snapshot = folder / "db/blobs", folder / "db/snapshot"
    files = sorted(path for path in (folder / "db").iterdir())
    blobs.mkdir()
    snapshot.mkdir()
    for number, path in enumerate(files):
        for copy in ("conv_", "dense_"):
            blob = blobs / f"{copy}{number}"
            blob.write_bytes(path.read_bytes())
            (snapshot / path.name.replace("database_", copy)).symlink_to(blob)
    found = {log.source: log.workloads for log in logs([folder / "db"])}
    names = {name: workloads and workloads.name for name, workloads in found.items()}
    assert {name: names[name] for name in names if name.startswith("snapshot/")} == {
        "snapshot/conv_tuning_record.json": "conv_workload.json.gz",
        "snapshot/dense_tuning_record.json": "dense_workload.json.gz",
    }
    assert not [name for name in found if name.startswith("blobs/")]


def test_the_name_of_a_workload_file_is_text_as_well(tmp_path: Path) -> None:
    programs, records = meta_database()
    folder = os.fsencode(tmp_path)
    for name, text in {b"workload": programs, b"tuning_record": records}.items():
        with open(folder + b"/db\xff_" + name + b".json", "w") as file:  # noqa: PTH123
            file.write(text)
    (log,) = logs([tmp_path])
    assert log.workloads is not None
    assert log.source == "db\ufffd_tuning_record.json"
    assert log.workloads_source == "db\ufffd_workload.json"


def test_a_name_that_no_disk_can_have_is_a_clear_error() -> None:
    with pytest.raises(LogFormatError, match="cannot be read: File name too long"):
        discover(["x" * 5000])
