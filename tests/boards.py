"""A tracker and devices of this machine, as TVM has them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def device(port: int) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    arguments = ["--host", "127.0.0.1", "--tracker", f"127.0.0.1:{port}", "--key", "board"]
    return running(
        "wmhub.measure.device_server", *arguments, "--port", str(port + 1), "--port-end", "65535"
    )


@contextlib.contextmanager
def tracker_at(port: int) -> Iterator[None]:
    span = ["--port", str(port), "--port-end", str(port + 1)]
    with running("tvm.exec.rpc_tracker", "--host", "127.0.0.1", *span):
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield
