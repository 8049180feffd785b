"""The folder of a tuning run: what may be gone on from, and what of a damaged database is kept."""

from __future__ import annotations

import platform
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wmhub.errors import InvalidInputError, MissingInputError, OutputExistsError
from wmhub.holding import held
from wmhub.search import output as files
from wmhub.search.output import DATABASE, records_in, refuse_overwriting

WORKLOADS, RECORDS = DATABASE
FOREIGN = "aarch64-linux-gnu" if platform.machine() == "x86_64" else "x86_64-linux-gnu"


def prepare(output: Path, known: Path | None, opens: Callable[[Path], object] = bool) -> int:
    """With a TVM that reads everything."""
    return files.prepare(output, known, opens).records


def database(folder: Path, records: str, workloads: str = '["1", "program"]\n') -> Path:
    folder.mkdir()
    (folder / WORKLOADS).write_text(workloads)
    (folder / RECORDS).write_text(records)
    return folder


@pytest.mark.parametrize(
    ("records", "kept", "count"),
    [
        ("[0, 1]\n[0, 2]\n", "[0, 1]\n[0, 2]\n", 2),
        ("[0, 1]\n[0, [2,", "[0, 1]\n", 1),
        ("[0, 1]\n[0, 2]", "[0, 1]\n[0, 2]\n", 2),
        ("", "", 0),
    ],
    ids=["whole", "cut", "without its end", "empty"],
)
def test_a_line_that_was_cut_is_taken_off(
    tmp_path: Path, records: str, kept: str, count: int
) -> None:
    known = database(tmp_path / "known", records)
    output = tmp_path / "out"
    with held(output):
        assert prepare(output, known) == records_in(output) == count
    assert (output / RECORDS).read_text() == kept
    # What is only gone on from stays as it is.
    assert (known / RECORDS).read_text() == records
    assert prepare(known, known) == count
    assert (known / RECORDS).read_text() == kept


def test_a_damaged_workload_has_a_place(tmp_path: Path) -> None:
    known = database(tmp_path / "known", "[0, 1]\n", "{}\n")
    with pytest.raises(InvalidInputError, match=r"workload\.json:1: .*damaged"):
        prepare(known, known)
    assert (known / RECORDS).read_text() == "[0, 1]\n"
    assert (known / WORKLOADS).read_text() == "{}\n"


@pytest.mark.parametrize(
    ("bad", "workloads", "reason"),
    [
        ("[0, [[0, 3]\n", '["1", "program"]\n', "line 2: no row of a database"),
        ("\n", '["1", "program"]\n', "line 2: no row of a database"),  # TVM crashes on it.
        ("[null, 1]\n", '["1", "program"]\n', "line 2: no row of a database"),
        ("[1, 1]\n", '["1", "program"]\n["2", "pro', "line 2: workload 1 of 1 is not there"),
        ("[-1, 1]\n", '["1", "program"]\n', "line 2: workload -1 of 1 is not there"),
    ],
    ids=["glued to one that was cut", "blank", "no row", "of a workload that was cut", "of none"],
)
def test_a_damaged_record_costs_no_other(
    tmp_path: Path, bad: str, workloads: str, reason: str
) -> None:
    known = database(tmp_path / "known", f"[0, 1]\n{bad}[0, 2]\n", workloads)
    output = tmp_path / "out"
    for folder in (output, known):
        with held(output):
            assert files.prepare(folder, known, bool) == (2, (reason,), True)
        assert (folder / RECORDS).read_text() == "[0, 1]\n[0, 2]\n"
        assert (folder / "database_rejected.txt").read_text() == bad
    assert files.prepare(known, known, bool) == (2, (), True)
    assert (known / "database_rejected.txt").read_text() == bad


def test_what_tvm_cannot_read_is_not_written(tmp_path: Path) -> None:
    known = database(tmp_path / "known", "[0, 1]\n[0, [2,")
    seen: list[str] = []

    def opens(folder: Path) -> None:
        seen.append((folder / RECORDS).read_text())
        raise RuntimeError("parallel_for_dynamic error with\nNo instruction kind GetBlock")

    with held(tmp_path / "out"), pytest.raises(InvalidInputError) as raised:
        prepare(tmp_path / "out", known, opens)
    reason = "TVM cannot read this database: No instruction kind GetBlock"
    assert str(raised.value) == f"{known}: {reason}"
    # What it saw had no line that was cut.
    assert seen == ["[0, 1]\n"]
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidInputError, match="GetBlock"):
        prepare(known, known, opens)
    assert (known / RECORDS).read_text() == "[0, 1]\n[0, [2,"


def test_a_new_run_has_no_records(tmp_path: Path) -> None:
    with held(tmp_path / "out"):
        assert prepare(tmp_path / "out", None) == records_in(tmp_path / "out") == 0


def test_an_empty_database_is_of_no_run(tmp_path: Path) -> None:
    database(tmp_path / "out", "", "")
    files.refuse(tmp_path / "out", None)
    (tmp_path / "out" / WORKLOADS).write_text('["1", "program"]\n')
    with pytest.raises(OutputExistsError, match="holds an earlier run"):
        files.refuse(tmp_path / "out", None)


@pytest.mark.parametrize("suffix", [".py", ".so", ".tar"])
def test_what_no_run_has_written_is_not_replaced(tmp_path: Path, suffix: str) -> None:
    mine = tmp_path / f"matmul{suffix}"
    refuse_overwriting(tmp_path, None, ["matmul"], ["net"], "matmul-m8-n8-k8")
    mine.write_text("mine")
    with pytest.raises(OutputExistsError, match=f"matmul{suffix} would be replaced"):
        refuse_overwriting(tmp_path, None, ["dense", "matmul"], ["net"], "matmul-m8-n8-k8")
    # A run that goes on replaces what it wrote, but never what it is to schedule.
    refuse_overwriting(tmp_path, tmp_path, ["matmul"], ["net"], "matmul-m8-n8-k8")
    with pytest.raises(OutputExistsError, match="would be replaced"):
        refuse_overwriting(tmp_path, tmp_path, ["matmul"], ["net"], mine)


def test_of_a_network_a_library_is_written_and_no_script(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text("net = ...")
    refuse_overwriting(tmp_path, None, ["matmul"], ["net"], source)
    (tmp_path / "net.so").touch()
    with pytest.raises(OutputExistsError, match=r"net\.so would be replaced"):
        refuse_overwriting(tmp_path, None, ["matmul"], ["net"], source)


def test_a_run_that_is_to_go_on_begins_where_none_has_begun(tmp_path: Path) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    assert files.begun(output, output) is None
    assert files.begun(output, None) is None
    # What is not its own has to be there.
    assert files.begun(output, other) == other
    with pytest.raises(MissingInputError, match=f"{WORKLOADS} and {RECORDS} missing"):
        files.refuse(output, other)
    output.mkdir()
    (output / RECORDS).touch()
    assert files.begun(output, output) == output
    with pytest.raises(MissingInputError, match=f"{WORKLOADS} missing"):
        files.refuse(output, output)


@pytest.mark.tvm
@pytest.mark.parametrize(
    ("target", "suffix"),
    [
        ({"kind": "llvm"}, ".so"),
        ({"kind": "llvm", "mtriple": f"{platform.machine()}-linux-gnu"}, ".so"),
        ({"kind": "rocm", "mcpu": "gfx90a"}, ".so"),
        ({"kind": "cuda", "arch": "sm_80", "host": {"kind": "llvm", "mtriple": FOREIGN}}, ".tar"),
        ({"kind": "llvm", "mtriple": FOREIGN}, ".tar"),
    ],
)
def test_what_this_machine_cannot_link_is_linked_where_it_is_loaded(
    tmp_path: Path, target: dict[str, Any], suffix: str
) -> None:
    pytest.importorskip("tvm")
    from wmhub.measure import zoo
    from wmhub.tvm_compat import use_target

    used = use_target(target, intrinsics=False)
    assert files._suffix(used) == suffix
    if target["kind"] == "llvm":
        mod = zoo.build("matmul-m8-n8-k8")
        path, problem = files.write_library(tmp_path, "matmul", mod, used)
        assert (path, problem) == (tmp_path / f"matmul{suffix}", None)
        assert tarfile.is_tarfile(path) == (suffix == ".tar")
