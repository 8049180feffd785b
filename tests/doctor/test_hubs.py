"""The hub that names are looked up at."""

from __future__ import annotations

import io
import urllib.request
from pathlib import Path

import pytest
from looking import only

from wmhub.doctor import hubs
from wmhub.doctor.finding import Severity


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:secret@127.0.0.1:9",
        "http://user:se@cret@127.0.0.1:9/hub",
        "http://user:secret@127.0.0.1:port",
        "user:secret@127.0.0.1",
        "http://127.0.0.1:9/?token=secret",
    ],
)
def test_an_unreachable_hub_is_a_note_without_the_password(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    finding = only(hubs.hub())
    assert finding.severity is Severity.NOTE
    assert "127.0.0.1" in finding.said
    assert "cret" not in finding.said + finding.remedy
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    finding = only(hubs.hub())
    assert finding.severity is Severity.OK
    assert "cret" not in finding.said


def test_a_hub_is_asked_without_the_login_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        asked.append(request.full_url)
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", answer)
    monkeypatch.setenv("HF_ENDPOINT", "https://ada:hunter2secret@mirror.invalid:8443")
    assert only(hubs.hub()).said.startswith("https://mirror.invalid:8443 answered")
    assert asked == ["https://mirror.invalid:8443"]


def test_a_folder_hub_that_is_not_there_is_a_note_that_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WMHUB_HUB", f"folder:{tmp_path / 'hub'}")
    finding = only(hubs.hub())
    assert finding.severity is Severity.NOTE
    assert finding.said == f"{tmp_path / 'hub'}, which WMHUB_HUB names, is no folder yet"
    assert "`wmhub push` makes it" in finding.remedy
    (tmp_path / "hub").mkdir()
    finding = only(hubs.hub())
    assert (finding.severity, finding.said) == (Severity.OK, str(tmp_path / "hub"))
