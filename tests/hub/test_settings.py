from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError
from wmhub.hub.settings import home, open_hub, require_address


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


@pytest.mark.parametrize(
    "address", ["http://hub:80a", "https://ada:sec/ret@hub.example", "hub.example", "ftp://x", "//"]
)
def test_what_is_no_address_is_told_without_its_text(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match="HF_ENDPOINT is no address") as raised:
        require_address(address)
    assert "sec" not in str(raised.value).replace("such", "")
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(InvalidInputError):
        open_hub("hf-hub")


@pytest.mark.parametrize(
    "address", ["https://hub.example", "http://127.0.0.1:8080/a", "https://a:b@c"]
)
def test_addresses_pass(address: str) -> None:
    require_address(address)


def test_a_verb_that_lists_says_what_is_wrong_with_the_address() -> None:
    """The client itself fails at its import."""
    environment = {**os.environ, "HF_ENDPOINT": "http://hub:80a"}
    command = [sys.executable, "-m", "wmhub", "models", "--hardware", "cuda-a100"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "HF_ENDPOINT is no address" in done.stderr


def test_a_slash_at_the_end_of_the_address_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wmhub.hub.huggingface import HuggingFaceHub

    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    assert HuggingFaceHub().location == "https://hub.example"
