"""What README and CONTRIBUTING say against what the code knows."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import wmhub
from wmhub.cli import VERBS
from wmhub.evaluator import Evaluator
from wmhub.hardware.table import lookup
from wmhub.names import BACKENDS, HardwareKey

ROOT = Path(__file__).resolve().parents[1]
_KEY = re.compile(rf"\b(?:{'|'.join(BACKENDS)})-[a-z0-9-]+[a-z0-9]")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_hardware_key_has_a_profile(name: str) -> None:
    keys = set(_KEY.findall((ROOT / name).read_text()))
    assert keys
    assert {key for key in keys if lookup(HardwareKey.parse(key)) is None} == set()


def test_no_python_is_promised_that_wmhub_does_not_install_on() -> None:
    told = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert told is not None
    classic = inspect.getdoc(Evaluator.auto_scheduler_model) or ""
    for text in ((ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text(), classic):
        minors = [int(minor) for minor in re.findall(r"Python\s3\.(\d+)", text)]
        assert min(minors) == int(told[1])


def test_the_verbs_that_are_said_to_be_library_functions_are() -> None:
    text = (ROOT / "README.md").read_text()
    said = re.search(r"lists every verb; (.*?) are library functions", text, re.DOTALL)
    assert said is not None
    assert set(re.findall(r"`(\w+)`", said[1])) == VERBS.keys() & set(wmhub.__all__)
    for name in re.findall(r"`wmhub\.(\w+)`", text):
        assert name in wmhub.__all__
