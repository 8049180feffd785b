from __future__ import annotations

import pytest

from wmhub.errors import InvalidInputError
from wmhub.hub.huggingface import HuggingFaceHub
from wmhub.hub.patience import require_address


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
        HuggingFaceHub()


@pytest.mark.parametrize(
    "address", ["https://hub.example", "http://127.0.0.1:8080/a", "https://a:b@c"]
)
def test_addresses_pass(address: str) -> None:
    require_address(address)
