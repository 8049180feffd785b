from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wmhub.measure.building import Build, Building, Patience
from wmhub.measure.candidate import InFlight, Program
from wmhub.measure.messages import Built, Ran
from wmhub.measure.wire import Channel
from wmhub.records import FailureKind


def test_a_build_may_take_a_multiple_of_what_is_usual() -> None:
    patience = Patience(timeout_seconds=30.0, ratio=12.0)
    for _ in range(7):
        patience.learn("dense", 0.5)
    # Too few to tell.
    assert patience.seconds("dense") == 30.0
    patience.learn("dense", 9.0)
    assert patience.seconds("dense") == 6.0
    for _ in range(30):
        patience.learn("dense", 0.01)
    assert patience.seconds("dense") == 4.0
    for _ in range(99):
        patience.learn("dense", 10.0)
    assert patience.seconds("dense") == 30.0


def test_without_a_ratio_only_the_time_limit_counts() -> None:
    patience = Patience(timeout_seconds=30.0)
    for _ in range(20):
        patience.learn("dense", 0.01)
    assert patience.seconds("dense") == 30.0


def test_what_is_usual_is_known_of_each_group() -> None:
    patience = Patience(timeout_seconds=30.0, ratio=12.0)
    for _ in range(20):
        patience.learn("softmax", 0.1)
    assert patience.seconds("softmax") == 4.0
    assert patience.seconds("convolution") == 30.0


class Worker:
    """Something to be known by; its end of the channel is all that is used."""


def test_what_a_broken_off_call_left_is_no_answer() -> None:
    ours, theirs = Channel.pair()
    worker: Any = Worker()
    worker.channel = ours
    crew: Any = SimpleNamespace(workers=[worker], wait_ready=lambda: None)
    candidate = InFlight(Program("module"))
    theirs.send(Ran(6, [1.0], 1.0))
    theirs.send(Built(6, 9.0, FailureKind.COMPILE_HOST, "another program's"))
    theirs.send(Built(7, 0.5))
    Building(crew, Patience(timeout_seconds=30.0)).run([Build(7, candidate, None)])
    assert candidate.outcome is None
    assert (candidate.home, candidate.build_seconds) == (worker, 0.5)
    ours.close()
    theirs.close()


def test_builds_that_fail_at_once_do_not_shorten_the_patience_with_others() -> None:
    ours, theirs = Channel.pair()
    worker: Any = Worker()
    worker.channel = ours
    crew: Any = SimpleNamespace(workers=[worker], wait_ready=lambda: None)
    patience = Patience(timeout_seconds=30.0, ratio=12.0)
    builds = [Build(id_, InFlight(Program("module")), None) for id_ in range(16)]
    for build in builds:
        # Half of them fail in no time, the others are built in two seconds.
        failure = FailureKind.COMPILE_HOST if build.id % 2 else None
        theirs.send(Built(build.id, 0.01 if failure else 2.0, failure, "no such intrinsic"))
        Building(crew, patience).run([build])
    assert sum(build.candidate.outcome is not None for build in builds) == 8
    assert patience.seconds("") == 24.0
    ours.close()
    theirs.close()
