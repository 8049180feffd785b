from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm


@pytest.mark.slow
def test_sessions_of_a_search_are_told_the_cores_of_the_target() -> None:
    from wmhub.search.measuring import measuring

    called: list[Any] = []

    def get_function(name: str) -> Any:
        return lambda *given: called.append((name, *given)) or name

    session = SimpleNamespace(get_function=get_function)
    target = {"kind": "llvm", "num-cores": 2}
    with measuring(target, 2, rpc="127.0.0.1:9190/board") as means:
        # It goes to a process of its own.
        connect = pickle.loads(pickle.dumps(means.runner.f_create_session))
    assert connect(SimpleNamespace(connect_server=lambda: session)) is session
    assert called[-1] == ("runtime.config_threadpool", 1, 2, "ffi.Array")
