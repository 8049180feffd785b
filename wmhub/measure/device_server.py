"""TVM's RPC server, started again whenever a program that it ran has taken it down.

``python -m wmhub.measure.device_server --tracker HOST:PORT --key KEY`` on the machine of a device.
TVM 0.27's own ``tvm.exec.rpc_server`` stops serving, without ending, once a session's process
crashes; a collection meets such programs every hour.

As every TVM RPC server, it runs whatever it is sent: for trusted networks only.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
import time
from typing import NoReturn

from wmhub.measure.remote import Tracker
from wmhub.tvm_compat import tvm

_LOG = logging.getLogger("wmhub.device_server")
#: Between two starts, so that a server that cannot start does not burn a core, in seconds.
_PAUSE_SECONDS = 1.0


def end_with_the_loop() -> None:
    """In the server's process: an error that ends its listening thread ends the process."""

    def end(failure: threading.ExceptHookArgs) -> None:
        print(f"{failure.exc_type.__name__}: {failure.exc_value}", flush=True)
        os._exit(1)

    threading.excepthook = end


def serve(
    tracker: Tracker, *, host: str = "0.0.0.0", port: int = 9090, port_end: int = 9199
) -> NoReturn:
    """Serves ``tracker`` for ever on the first free port from ``port`` to ``port_end``."""
    while True:
        server = tvm.rpc.Server(
            host,
            port,
            port_end,
            tracker_addr=(tracker.host, tracker.port),
            key=tracker.key,
            server_init_callback=end_with_the_loop,
        )
        _LOG.info("serving %s on port %s", tracker.key, server.port)
        server.proc.join()
        _LOG.warning("a program took the server down; starting it again")
        time.sleep(_PAUSE_SECONDS)


def main() -> NoReturn:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m wmhub.measure.device_server")
    parser.add_argument("--tracker", required=True, metavar="HOST:PORT")
    parser.add_argument("--key", required=True, help="what the device is called at the tracker")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--port", type=int, default=9090, help="first port to try")
    parser.add_argument("--port-end", type=int, default=9199, help="last port to try, exclusive")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tracker = Tracker.parse(f"{options.tracker}/{options.key}")
    serve(tracker, host=options.host, port=options.port, port_end=options.port_end)


if __name__ == "__main__":
    main()
