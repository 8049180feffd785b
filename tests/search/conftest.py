"""An engine and a machine for the tests of ``tune``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from scorers import FakeEvaluator

from wmhub.names import HardwareKey


@pytest.fixture
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is what the fake evaluator was trained on."""
    monkeypatch.setattr(
        "wmhub.search.tune.this_hardware",
        lambda hardware: HardwareKey.parse(str(hardware)) if hardware else FakeEvaluator.hardware,
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """One builder and runner for all tests of a file: their workers take seconds to start."""
    from wmhub.search.measuring import measuring
    from wmhub.tvm_compat import llvm_target

    with measuring(llvm_target(cores=2), 2) as pair:
        yield pair


@pytest.fixture
def warm(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmhub.search.tune.measuring", lambda *_: nullcontext(engine))
