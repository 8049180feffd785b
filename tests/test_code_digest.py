from __future__ import annotations

from pathlib import Path

import pytest

from wmhub.code_digest import code_digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "one.py").write_text("a = 1\n")
    (tmp_path / "alone.py").write_text("b = 2\n")
    (tmp_path / "other.py").write_text("c = 3\n")
    return tmp_path


def _digest(package: Path) -> str:
    code_digest.cache_clear()
    return code_digest("room", "alone.py", package=package)


@pytest.mark.parametrize("changed", ["room/one.py", "room/new.py", "alone.py"])
def test_a_change_of_any_part_changes_it(package: Path, changed: str) -> None:
    before = _digest(package)
    (package / changed).write_text("a = 4\n")
    assert _digest(package) != before


def test_other_files_do_not(package: Path) -> None:
    before = _digest(package)
    (package / "other.py").write_text("c = 5\n")
    (package / "room" / "notes.txt").write_text("nothing that runs")
    assert _digest(package) == before


def test_what_is_not_there_is_an_error(package: Path) -> None:
    code_digest.cache_clear()
    with pytest.raises(FileNotFoundError):
        code_digest("no_such.py", package=package)
