"""The rules of the content version: rows added, changed or removed, and the card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from datasetmaking import Make, lines_of
from logmaking import ansor_line

import wmhub
from wmhub.dataset.diff import Difference, diff
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.rewrite import render_again, split
from wmhub.dataset.version import Change
from wmhub.errors import DatasetError

LINES = lines_of(6)


@pytest.mark.parametrize(
    ("after", "change", "counts"),
    [
        (LINES, Change.NONE, (0, 0, 0, 6)),
        ([*LINES, ansor_line(timestamp=9)], Change.MINOR, (1, 0, 0, 6)),
        (LINES[:5], Change.MAJOR, (0, 1, 0, 5)),
        ([*LINES[:5], ansor_line(key='["matmul", 5]', seconds=[9.0])], Change.MAJOR, (0, 0, 1, 5)),
        ([*LINES[:5], ansor_line(timestamp=9)], Change.MAJOR, (1, 1, 0, 5)),
        (LINES[::-1], Change.MAJOR, (0, 0, 6, 0)),
    ],
    ids=["same", "added", "removed", "changed", "replaced", "other provenance"],
)
def test_rows(make: Make, after: list[str], change: Change, counts: tuple[int, ...]) -> None:
    chosen = ['["matmul", 0]', '["matmul", 1]']
    found = diff(make("a", LINES, test_workloads=chosen), make("b", after, test_workloads=chosen))
    assert found.change is change or found.moved_workloads
    assert (found.added, found.removed, found.changed, found.same) == counts
    assert found.follows_rules is (change is Change.NONE)


def compare(before: Path, after: Path) -> Difference:
    found = diff(before, after)
    assert found.least_version == found.before.after(found.change)
    return found


def test_each_change_asks_for_its_version(make: Make, tmp_path: Path) -> None:
    first = make("a", LINES)
    log = tmp_path / "more.log"
    log.write_text("".join(f"{ansor_line(key=key)}\n" for key in ('["x"]', '["y"]')))
    grown = tmp_path / "grown"
    shutil.copytree(first, grown)
    wmhub.collect([log], grown, update=True)
    added = compare(first, grown)
    assert (added.change, str(added.after), added.follows_rules) == (Change.MINOR, "1.1.0", True)
    assert len(added.added_workloads) == 2

    shutil.copytree(first, tmp_path / "card")
    (tmp_path / "card/README.md").write_text("another card\n")
    card = compare(first, tmp_path / "card")
    assert (card.change, card.follows_rules) == (Change.PATCH, False)
    render_again(tmp_path / "card")
    patched = compare(first, tmp_path / "card")
    assert str(patched.after) == "1.0.1"
    assert (patched.change, patched.follows_rules) == (Change.NONE, True)

    trained = open_dataset(first).splits["train"]
    split(first, tmp_path / "moved", test_workloads=trained[:1])
    moved = compare(first, tmp_path / "moved")
    assert (moved.change, str(moved.after), moved.follows_rules) == (Change.MAJOR, "2.0.0", True)
    assert moved.moved_workloads
    assert moved.same == 6

    removed = compare(grown, first)
    assert (removed.change, removed.follows_rules) == (Change.MAJOR, False)
    assert len(removed.removed_workloads) == 2


def test_rows_that_were_changed_are_not_compared(make: Make, tmp_path: Path) -> None:
    first = make("a", LINES)
    shutil.copytree(first, tmp_path / "changed")
    (rows,) = (tmp_path / "changed").glob("trajectories-train-*.parquet")
    rows.write_bytes(rows.read_bytes()[:-1] + b"?")
    with pytest.raises(DatasetError, match="SHA-256"):
        diff(first, tmp_path / "changed")
