from __future__ import annotations

from wmhub.measure.candidate import InFlight, Program
from wmhub.records import FailureKind


def lost(*innocent: bool) -> InFlight:
    candidate = InFlight(Program("module"))
    for may_be in innocent:
        candidate.lost_process(FailureKind.OUT_OF_MEMORY, "killed by the system", may_be, 0.5)
    return candidate


def test_who_may_be_innocent_is_tried_twice() -> None:
    assert lost(True).outcome is None
    failed = lost(True, True).outcome
    assert failed is not None
    assert (failed.failure, failed.message) == (FailureKind.OUT_OF_MEMORY, "killed by the system")
    assert failed.wall_seconds == 0.5


def test_who_killed_its_process_is_not_tried_again() -> None:
    assert lost(False).outcome is not None


def test_a_worker_that_dies_over_and_over_is_given_up() -> None:
    candidate = InFlight(Program("module"))
    for _ in range(3):
        assert candidate.outcome is None
        candidate.lost_with_worker()
    assert candidate.outcome is not None
    assert candidate.outcome.failure is FailureKind.CRASH
    # What is over stays as it is.
    before = candidate.outcome
    candidate.lost_with_worker()
    assert candidate.outcome is before
