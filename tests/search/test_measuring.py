from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import pytest
from boards import device, free_port, tracker_at

from wmhub.errors import InvalidInputError, MeasureError

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

TARGET = {"kind": "llvm", "num-cores": 2}


@pytest.mark.parametrize("rpc", ["", "nowhere", "host:1", "host:99999/board", "host:0/board"])
def test_a_place_that_makes_no_sense_is_refused(rpc: str) -> None:
    from wmhub.search.measuring import measuring

    with pytest.raises(InvalidInputError, match="HOST:PORT/KEY"), measuring(TARGET, 2, rpc=rpc):
        raise AssertionError


@pytest.mark.slow
def test_a_tracker_that_is_not_there_is_told_at_once_and_before_any_candidate() -> None:
    from wmhub.search.measuring import measuring

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        rpc = f"127.0.0.1:{nobody.getsockname()[1]}/board"
        began = time.monotonic()
        with (
            pytest.raises(MeasureError, match=r"'board': the tracker does not answer"),
            measuring(TARGET, 2, rpc=rpc),
        ):
            raise AssertionError
        assert time.monotonic() - began < 5


@pytest.mark.slow
def test_devices_of_a_tracker_measure_what_our_engine_builds() -> None:
    from wmhub.measure import zoo
    from wmhub.measure.remote import RemoteEngine, Tracker
    from wmhub.search.measuring import measure, measuring
    from wmhub.tvm_compat import use_target

    port = free_port()
    mods = [zoo.build(f"matmul-m{m}-n16-k16") for m in (2, 3)]
    place = f"127.0.0.1:{port}/board"
    with tracker_at(port), device(port), ExitStack() as devices:
        Tracker.parse(place).require_device(60.0)
        means = devices.enter_context(measuring(TARGET, 2, rpc=place))
        means.wait_ready()
        assert isinstance(means.builder._engine, RemoteEngine)
        target = use_target(TARGET)
        for _ in range(2):  # What is built once is timed again, as the fastest are.
            found = measure(mods, target, means.builder, means.runner, rounds=2)
            assert [problem for _, problem in found] == [None, None]
            assert all(seconds is not None and seconds > 0 for seconds, _ in found)
