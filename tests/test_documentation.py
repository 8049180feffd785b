"""What README and CONTRIBUTING say against what the code knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wmhub.hardware.table import lookup
from wmhub.names import BACKENDS, HardwareKey

ROOT = Path(__file__).resolve().parents[1]
_KEY = re.compile(rf"\b(?:{'|'.join(BACKENDS)})-[a-z0-9-]+[a-z0-9]")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_hardware_key_has_a_profile(name: str) -> None:
    keys = set(_KEY.findall((ROOT / name).read_text()))
    assert keys
    assert {key for key in keys if lookup(HardwareKey.parse(key)) is None} == set()
