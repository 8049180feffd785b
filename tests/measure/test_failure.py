from __future__ import annotations

import pytest

from wmhub.measure.failure import attempt, build_failure, run_failure
from wmhub.records import FailureKind


@pytest.mark.parametrize(
    ("text", "built", "ran"),
    [
        ("std::bad_alloc", FailureKind.OUT_OF_MEMORY, FailureKind.OUT_OF_MEMORY),
        ("ptxas error: too many resources", FailureKind.COMPILE_DEVICE, FailureKind.RUNTIME_DEVICE),
        ("Cannot allocate memory", FailureKind.COMPILE_HOST, FailureKind.OUT_OF_MEMORY),
        ("assert fail", FailureKind.COMPILE_HOST, FailureKind.RUNTIME_DEVICE),
    ],
)
def test_kinds_are_told_by_the_text(text: str, built: FailureKind, ran: FailureKind) -> None:
    assert (build_failure(text), run_failure(text)) == (built, ran)


def test_of_an_error_its_end_is_kept() -> None:
    def fails() -> None:
        raise ValueError("x" * 1000 + "the reason")

    def exhausts() -> None:
        raise MemoryError

    found = attempt(fails, run_failure)
    assert found is not None
    assert (len(found[1]), found[1].endswith("the reason")) == (600, True)
    assert attempt(exhausts, build_failure) == (FailureKind.OUT_OF_MEMORY, "MemoryError")
    assert attempt(lambda: None, build_failure) is None
