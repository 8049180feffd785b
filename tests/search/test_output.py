"""The folder of a tuning run: what may be gone on from, and what of a damaged database is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError
from wmhub.search.output import DATABASE, prepare, records_in

WORKLOADS, RECORDS = DATABASE


def database(folder: Path, records: str) -> Path:
    folder.mkdir()
    (folder / WORKLOADS).write_text('["1", "program"]\n')
    (folder / RECORDS).write_text(records)
    return folder


@pytest.mark.parametrize(
    ("records", "kept", "count"),
    [
        ("[0]\n[1]\n", "[0]\n[1]\n", 2),
        ("[0]\n[1, [2,", "[0]\n", 1),
        ("[0]\n[1]", "[0]\n[1]\n", 2),
        ("[0]\n\n[1]\n", "[0]\n\n[1]\n", 3),
        ("", "", 0),
    ],
    ids=["whole", "cut", "without its end", "blank line", "empty"],
)
def test_a_line_that_was_cut_is_taken_off(
    tmp_path: Path, records: str, kept: str, count: int
) -> None:
    known = database(tmp_path / "known", records)
    output = tmp_path / "out"
    assert prepare(output, known) == records_in(output) == count
    assert (output / RECORDS).read_text() == kept
    # What is only gone on from stays as it is.
    assert (known / RECORDS).read_text() == records
    assert prepare(known, known) == count
    assert (known / RECORDS).read_text() == kept


def test_a_damaged_line_has_a_place(tmp_path: Path) -> None:
    known = database(tmp_path / "known", "[0]\n[1, [\n[2]\n")
    with pytest.raises(InvalidInputError, match=r"tuning_record\.json:2: .*damaged"):
        prepare(tmp_path / "out", known)


def test_a_new_run_has_no_records(tmp_path: Path) -> None:
    assert prepare(tmp_path / "out", None) == records_in(tmp_path / "out") == 0
