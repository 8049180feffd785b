"""Large files of the test server: in one piece, or from ``PART_BYTES`` on in parts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

from hub_store import RefusedError, Repo
from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[..., "Response | dict | list"]
ROUTES: list[tuple[str, re.Pattern[str], str]] = []
ID = r"(?P<id>[^/]+/[^/]+)"
TYPE = r"/api/(?P<type>models|datasets)"
#: Longest part of a large file; longer files arrive in several.
PART_BYTES = 4 * 2**20
_LARGE = f"/lfs/(?P<type>model|dataset)/{ID}/(?P<oid>[0-9a-f]{{64}})"


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(pattern + r"\Z"), handler.__name__))
        return handler

    return register


class LargeFileRoutes:
    """Git LFS as the Hub speaks it; ``HubRoutes`` has the repositories."""

    url: str
    parts: dict[str, dict[int, bytes]]
    """Digest of a file -> the parts that have arrived."""

    def repo(self, type_: str, id_: str) -> Repo:
        raise NotImplementedError

    def _readable(self, type_: str, id_: str, user: str | None) -> Repo:
        raise NotImplementedError

    @route("POST", f"/(?:(?P<type>datasets)/)?{ID}\\.git/info/lfs/objects/batch")
    def lfs_batch(
        self, request: Request, user: str | None, body: bytes, type: str, id: str
    ) -> dict:
        repo = self._readable(type, id, user)
        if user is None:
            raise RefusedError(401, "Invalid username or password.")
        asked = json.loads(body)
        for item in asked["objects"]:
            if item["oid"] in repo.large:
                continue
            href = f"{self.url}/lfs/{type}/{id}/{item['oid']}"
            upload: dict[str, object] = {"href": href}
            if item["size"] > PART_BYTES and "multipart" in asked["transfers"]:
                count = -(-item["size"] // PART_BYTES)
                parts = {f"{n:05d}": f"{href}/part/{n}?X-Sig=secret" for n in range(1, count + 1)}
                upload["header"] = {"chunk_size": str(PART_BYTES), **parts}
            item["actions"] = {"upload": upload, "verify": {"href": f"{href}/verify"}}
        return {"transfer": "basic", "objects": asked["objects"]}

    @route("PUT", _LARGE)
    def lfs_put(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, oid: str
    ) -> dict:
        return self._keep(type, id, oid, body)

    @route("PUT", f"{_LARGE}/part/(?P<number>[0-9]+)")
    def lfs_part(
        self,
        request: Request,
        user: str | None,
        body: bytes,
        type: str,
        id: str,
        oid: str,
        number: str,
    ) -> Response:
        self.parts.setdefault(oid, {})[int(number)] = body
        return Response(headers={"ETag": hashlib.md5(body).hexdigest()})

    @route("POST", _LARGE)
    def lfs_complete(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, oid: str
    ) -> dict:
        if oid in self.repo(type, id).large:
            return {}  # Asked again, because the first answer was lost.
        arrived = self.parts.pop(oid)
        told = {part["partNumber"]: part["etag"] for part in json.loads(body)["parts"]}
        if told != {number: hashlib.md5(part).hexdigest() for number, part in arrived.items()}:
            raise RefusedError(400, "the parts are not those that arrived")
        return self._keep(type, id, oid, b"".join(arrived[number] for number in sorted(arrived)))

    @route("POST", f"{_LARGE}/verify")
    def lfs_verify(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, oid: str
    ) -> dict:
        if len(self.repo(type, id).large[oid]) != json.loads(body)["size"]:
            raise RefusedError(400, "wrong size")
        return {}

    def _keep(self, type_: str, id_: str, oid: str, content: bytes) -> dict:
        if hashlib.sha256(content).hexdigest() != oid:
            raise RefusedError(400, "the content is not what its oid says")
        self.repo(type_, id_).large[oid] = content
        return {}
