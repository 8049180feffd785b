"""A server of the Hub's HTTP calls for the unmodified client, with faults on demand.

The repositories live in memory (``hub_store.py``). ``HubServer.fault`` makes the next requests that
match fail: with a status, with a cut connection, with a truncated or a slow body.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import uvicorn
from hub_large import ROUTES
from hub_routes import HubRoutes
from hub_store import RefusedError, Repo
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send


@dataclass
class Fault:
    """What happens to requests whose ``METHOD path`` matches ``pattern``, ``times`` times."""

    pattern: str
    status: int | None = None
    cut: bool = False
    """Closes the connection after the answer's head."""
    keep: float | None = None
    """Sends only this share of the body, then closes the connection."""
    shorten: bool = False
    """Leaves out the last bytes and says so in Content-Length: a file that really is too short."""
    slow_seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    """The request is carried out, and only its answer is lost."""
    times: int = 1


class HubServer(HubRoutes):
    """``with HubServer() as server: server.url``; users are ``name -> token``."""

    def __init__(self) -> None:
        self.reset()
        self._lock = threading.Lock()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self, log_level="critical", lifespan="off", ws="none")
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def reset(self) -> None:
        """Forgets everything."""
        self.repos: dict[tuple[str, str], Repo] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.tokens: dict[str, str] = {}
        self.orgs: dict[str, set[str]] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.authorisations: list[str] = []
        self.ranges: list[str] = []

    def __enter__(self) -> HubServer:
        self._thread.start()
        while not self._uvicorn.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._uvicorn.should_exit = True
        self._uvicorn.force_exit = True
        self._thread.join()
        self._socket.close()

    def fault(self, pattern: str, **options: object) -> Fault:
        fault = Fault(pattern, **options)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["raw_path"].decode().partition("?")[0]
        line = f"{request.method} {path}"
        body = await request.body()
        with self._lock:
            self.requests.append(line)
            self.authorisations.append(request.headers.get("authorization", ""))
            self.ranges += request.headers.getlist("range")
            fault = next((f for f in self.faults if f.times and re.search(f.pattern, line)), None)
            if fault:
                fault.times -= 1
        if fault and not fault.after and (fault.status or fault.cut):
            response: Response = self._failed(fault)
        else:
            response = self._answer(request, path, body)
        if fault and (fault.after or fault.keep is not None or fault.shorten or fault.slow_seconds):
            response = self._spoiled(fault, response)
        try:
            await response(scope, receive, send)
        except ConnectionAbortedError:
            # Left without finishing the body: uvicorn then closes the connection.
            return

    def _failed(self, fault: Fault) -> Response:
        if fault.cut:
            return StreamingResponse(_cut(b"", 0.0), headers={"Content-Length": "100"})
        headers = {"X-Error-Message": "a fault of the test", **fault.headers}
        return JSONResponse({"error": "a fault of the test"}, fault.status or 500, headers)

    def _spoiled(self, fault: Fault, response: Response) -> Response:
        if fault.after:
            return self._failed(fault)
        body = bytes(response.body)
        headers = dict(response.headers)
        if fault.shorten:
            return Response(
                body[:-1], response.status_code, {**headers, "content-length": str(len(body) - 1)}
            )
        share = body if fault.keep is None else body[: int(len(body) * fault.keep)]
        content = _cut(share, fault.slow_seconds, ends=fault.keep is None)
        return StreamingResponse(content, response.status_code, headers)

    def _answer(self, request: Request, path: str, body: bytes) -> Response:
        try:
            with self._lock:
                user = self._user(request)
                method = "GET" if request.method == "HEAD" else request.method
                for wanted, pattern, name in ROUTES:
                    match = pattern.match(path) if wanted == method else None
                    if match:
                        found = {
                            key: unquote(value or "") for key, value in match.groupdict().items()
                        }
                        if "type" in found:
                            found["type"] = (found["type"] or "models").rstrip("s")
                        answer = getattr(self, name)(request, user, body, **found)
                        return answer if isinstance(answer, Response) else JSONResponse(answer)
            raise RefusedError(404, "Not found", "EntryNotFound")
        except RefusedError as error:
            headers = {
                "X-Error-Message": error.message,
                **({"X-Error-Code": error.code} if error.code else {}),
            }
            headers.update(error.extra.pop("headers", {}))  # type: ignore[arg-type]
            return JSONResponse({"error": error.message, **error.extra}, error.status, headers)

    def _user(self, request: Request) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            return None
        for user, known in self.tokens.items():
            if token == known and scheme == "Bearer":
                return user
        raise RefusedError(401, "Invalid credentials in Authorization header")


async def _cut(content: bytes, slow_seconds: float, ends: bool = False) -> AsyncIterator[bytes]:
    import anyio

    step = max(1, len(content) // 8)
    for start in range(0, len(content), step):
        await anyio.sleep(slow_seconds / 8)
        yield content[start : start + step]
    if not ends:
        raise ConnectionAbortedError
