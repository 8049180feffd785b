from __future__ import annotations

import socket
import time

import pytest

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
