from __future__ import annotations

import errno
from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError, OutputExistsError
from wmhub.holding import held


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    output = tmp_path / "a" / "out"
    with held(output):
        with pytest.raises(OutputExistsError, match="another process"), held(output):
            raise AssertionError
        assert output.is_dir()
    # It was made for nothing; one with something in it stays.
    assert not output.exists()
    with held(output):
        (output / "schedule.py").write_text("")
    with held(output):
        pass
    assert [path.name for path in output.iterdir()] == ["schedule.py"]
    with pytest.raises(InvalidInputError, match="is a file"), held(output / "schedule.py"):
        raise AssertionError


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("wmhub.holding.fcntl.flock", refused)
    with pytest.raises(InvalidInputError, match=r"\.wmhub\.lock: this file system has no locks"):
        held(tmp_path / "out").__enter__()
    assert not (tmp_path / "out").exists()
