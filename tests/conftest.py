"""The fence around every test: a temporary home, no network but loopback, no shared state."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business.
settings.register_profile("wmhub", deadline=None)
settings.load_profile("wmhub")

# Read at import by huggingface_hub and datasets, so set before any test module is imported.
_HOME = Path(tempfile.mkdtemp(prefix="wmhub-test-home-"))
os.environ.update(
    HOME=str(_HOME),
    HF_HOME=str(_HOME / "hf"),
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    WMHUB_HOME=str(_HOME / "wmhub"),
    XDG_CACHE_HOME=str(_HOME / "cache"),
    MPLBACKEND="Agg",
)
for _name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "PYTHONWARNINGS"):
    os.environ.pop(_name, None)

#: Real measurement logs for development, beside the checkout; tests that need them skip without.
SHARED_LOGS = Path(__file__).resolve().parents[2] / "shared" / "logs"

_connect = socket.socket.connect


def _guarded_connect(self: socket.socket, address: object) -> None:
    if self.family != socket.AF_UNIX:
        host = address[0] if isinstance(address, tuple) else address
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {host}")
    _connect(self, address)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _guarded_connect)


@pytest.fixture
def shared_logs() -> Path:
    """The folder of real logs; skips where it is absent."""
    if not SHARED_LOGS.is_dir():
        pytest.skip("the real measurement logs are not beside this checkout")
    return SHARED_LOGS


@pytest.fixture(autouse=True)
def _tvm_logs_as_if_for_the_first_time() -> Iterator[None]:
    """Undoes what a search of TVM does to its logger: pytest hangs handlers of its own on a logger
    that does not propagate, and TVM's next search stumbles over them."""
    yield
    logger = logging.getLogger("tvm.s_tir.meta_schedule")
    for handler in logger.handlers:
        if handler.get_name() is not None:  # Pytest closes its own.
            handler.close()
    logger.handlers, logger.propagate = [], True
