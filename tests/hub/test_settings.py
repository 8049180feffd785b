from __future__ import annotations

from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError
from wmhub.hub.settings import home


def test_a_folder_that_is_named_needs_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setenv("WMHUB_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("WMHUB_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home() == tmp_path / "cache" / "wmhub"
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(InvalidInputError, match="set WMHUB_HOME"):
        home()
