from __future__ import annotations

import pytest

from wmhub.dataset.version import Change, Version
from wmhub.errors import InvalidInputError, InvalidNameError


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (Change.NONE, "1.2.3"),
        (Change.PATCH, "1.2.4"),
        (Change.MINOR, "1.3.0"),
        (Change.MAJOR, "2.0.0"),
    ],
)
def test_rules(change: Change, least: str) -> None:
    before = Version.parse("1.2.3")
    assert str(before.after(change)) == least
    assert before.after(change).allows(change, before)
    assert not Version.parse("1.2.2").allows(change, before)
    if change is not Change.NONE:
        assert not before.allows(change, before)
        assert Version.parse("3.0.0").allows(change, before)


@pytest.mark.parametrize("text", ["v1.2.3", "0.0.0", "10.20.30"])
def test_parse_and_print(text: str) -> None:
    assert text.lstrip("v") == str(Version.parse(text))
    assert Version.parse(Version.parse(text).tag) == Version.parse(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "01.2.3", "1.2.3-a", "1.2.3\n", "x1.2.3", "1.2.٣"]
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InvalidNameError):
        Version.parse(text)


def test_what_cannot_follow_is_known_before_anything_is_measured() -> None:
    before = Version(1, 2, 0)
    Version(1, 2, 1).require_after(Change.PATCH, before)
    for version in (before, Version(1, 1, 9)):
        with pytest.raises(
            InvalidInputError, match=r"cannot follow 1\.2\.0: it must be 1\.2\.1 or later"
        ):
            version.require_after(Change.PATCH, before)


def test_what_was_added_asks_for_more_than_a_patch() -> None:
    with pytest.raises(InvalidInputError, match=r"must be 1\.3\.0 or later"):
        Version(1, 2, 1).require_after(Change.MINOR, Version(1, 2, 0))
