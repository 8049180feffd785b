from __future__ import annotations

import gc
import weakref

import pytest

from wmhub.garbage import set_aside, uncollected


class Node:
    """Garbage that only the collector finds, once nobody else has it."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_collected_meanwhile_and_then_as_before() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with pytest.raises(ImportError), uncollected():
            raise ImportError
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_there_is_stays_and_what_comes_is_collected() -> None:
    with set_aside():
        pass
    left = weakref.ref(Node())
    with set_aside():
        assert left() is None  # Else it would stay for all of the second time.
    nodes = [Node()]
    old = weakref.ref(nodes[0])
    with set_aside():
        nodes.clear()
        new = weakref.ref(Node())
        with set_aside():
            pass
        gc.collect()
        assert old() is not None
        assert new() is None
    gc.collect()
    assert old() is None
