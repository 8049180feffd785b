"""The Hub's HTTP calls, as methods of the test server; what each must answer is in its handler."""

from __future__ import annotations

import base64
import json
import re

from hub_large import ID, TYPE, LargeFileRoutes, route
from hub_store import Commit, File, PullRequest, RefusedError, Repo, is_large, now
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_ID, _TYPE = ID, TYPE


class HubRoutes(LargeFileRoutes):
    """Every route; ``HubServer`` finds it by method and raw path, and gives it what matched."""

    url: str
    repos: dict[tuple[str, str], Repo]
    tokens: dict[str, str]
    orgs: dict[str, set[str]]

    def repo(self, type_: str, id_: str) -> Repo:
        if (type_, id_) not in self.repos:
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        return self.repos[type_, id_]

    def _readable(self, type_: str, id_: str, user: str | None) -> Repo:
        repo = self.repo(type_, id_)
        if repo.private and not self._may_write(id_, user):
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        return repo

    def _may_write(self, id_: str, user: str | None) -> bool:
        owner = id_.split("/")[0]
        return user is not None and (owner == user or owner in self.orgs.get(user, set()))

    def _writable(self, type_: str, id_: str, user: str | None) -> Repo:
        if user is None:
            raise RefusedError(401, "Invalid username or password.")
        repo = self._readable(type_, id_, user)
        if not self._may_write(id_, user):
            raise RefusedError(403, "You don't have the rights to write here")
        return repo

    @route("GET", "/api/whoami-v2")
    def whoami(self, request: Request, user: str | None, body: bytes) -> dict:
        if user is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        orgs = [{"name": org} for org in self.orgs.get(user, ())]
        token = {"role": "write", "displayName": "test"}
        return {
            "type": "user",
            "name": user,
            "fullname": user,
            "orgs": orgs,
            "auth": {"accessToken": token},
        }

    @route("POST", "/api/repos/create")
    def create(self, request: Request, user: str | None, body: bytes) -> dict:
        data = json.loads(body)
        id_ = f"{data.get('organization') or user}/{data['name']}"
        if user is None:
            raise RefusedError(401, "Invalid username or password.")
        if not self._may_write(id_, user):
            raise RefusedError(403, "You don't have the rights to create here")
        type_ = data.get("type") or "model"
        url = f"{self.url}/{'datasets/' if type_ == 'dataset' else ''}{id_}"
        if (type_, id_) in self.repos:
            raise RefusedError(409, "You already created this repo", url=url)
        private = bool(data.get("private")) or data.get("visibility") == "private"
        self.repos[type_, id_] = Repo(type_, id_, private)
        return {"url": url, "name": id_, "id": id_}

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, request: Request, user: str | None, body: bytes) -> Response:
        import yaml

        content = json.loads(body)["content"]
        try:
            header = (
                yaml.safe_load(content.split("---\n", 2)[1]) if content.startswith("---") else {}
            )
            errors = [] if isinstance(header, dict) else [{"message": "no mapping"}]
        except (yaml.YAMLError, IndexError) as error:
            errors = [{"message": str(error)}]
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    @route("GET", _TYPE)
    def listing(self, request: Request, user: str | None, body: bytes, type: str) -> Response:
        wanted, author = request.query_params.getlist("filter"), request.query_params.get("author")
        infos = []
        for (repo_type, id_), repo in sorted(self.repos.items()):
            info = repo.info(repo.commit_of("main"))
            known = {*info["tags"], info["library_name"]}  # type: ignore[misc]
            if repo_type != type or (repo.private and not self._may_write(id_, user)):
                continue
            if set(wanted) <= known and author in (None, info["author"]):
                infos.append(info)
        start = int(request.query_params.get("cursor", 0))
        # Pages of two, so that the client has to follow them.
        headers = {}
        if start + 2 < len(infos):
            url = request.url.include_query_params(cursor=start + 2)
            headers["Link"] = f'<{url}>; rel="next"'
        return JSONResponse(infos[start : start + 2], headers=headers)

    @route("GET", f"{_TYPE}/{_ID}(?:/revision/(?P<rev>[^/]+))?")
    def info(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, rev: str
    ) -> dict:
        repo = self._readable(type, id, user)
        return repo.info(repo.commit_of(rev or "main"))

    @route("GET", f"{_TYPE}/{_ID}/tree/(?P<rev>[^/]+)(?:/(?P<path>.+))?")
    def tree(
        self,
        request: Request,
        user: str | None,
        body: bytes,
        type: str,
        id: str,
        rev: str,
        path: str,
    ) -> Response:
        repo = self._readable(type, id, user)
        recursive = request.query_params.get("recursive", "").lower() in ("1", "true")
        entries = repo.tree(repo.commit_of(rev), path, recursive)
        start = int(request.query_params.get("cursor", 0))
        headers = {}
        if start + 4 < len(entries):
            path = request.scope["raw_path"].decode()
            url = f"{self.url}{path}?recursive={recursive}&cursor={start + 4}"
            headers["Link"] = f'<{url}>; rel="next"'
        return JSONResponse(entries[start : start + 4], headers=headers)

    @route("POST", f"{_TYPE}/{_ID}/paths-info/(?P<rev>[^/]+)")
    def paths_info(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, rev: str
    ) -> list:
        from urllib.parse import parse_qs

        repo = self._readable(type, id, user)
        commit = repo.commit_of(rev)
        wanted = parse_qs(body.decode()).get("paths", [])
        return [repo.entry(commit, path) for path in wanted if path in commit.files]

    @route("GET", f"{_TYPE}/{_ID}/refs")
    def refs(self, request: Request, user: str | None, body: bytes, type: str, id: str) -> dict:
        repo = self._readable(type, id, user)

        def under(prefix: str) -> list[dict[str, str]]:
            return [
                {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
                for ref, commit in repo.refs.items()
                if ref.startswith(prefix)
            ]

        pulls = [{**item, "name": item["ref"]} for item in under("refs/pr/")]
        return {
            "branches": under("refs/heads/"),
            "tags": under("refs/tags/"),
            "converts": [],
            "pullRequests": pulls,
        }

    @route("GET", f"{_TYPE}/{_ID}/commits/(?P<rev>[^/]+)")
    def commits(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, rev: str
    ) -> list:
        repo = self._readable(type, id, user)
        commit: Commit | None = repo.commit_of(rev)
        history = []
        while commit is not None:
            authors = [{"user": commit.author}]
            item = {"id": commit.id, "title": commit.title, "message": "", "date": commit.date}
            history.append({**item, "authors": authors})
            commit = repo.commits.get(commit.parent or "")
        return history

    @route("POST", f"{_TYPE}/{_ID}/tag/(?P<rev>[^/]+)")
    def tag(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, rev: str
    ) -> dict:
        repo = self._writable(type, id, user)
        ref = f"refs/tags/{json.loads(body)['tag']}"
        if ref in repo.refs:
            raise RefusedError(409, "Tag reference exists already")
        repo.refs[ref] = repo.commit_of(rev).id
        return {}

    @route("POST", f"{_TYPE}/{_ID}/preupload/(?P<rev>[^/]+)")
    def preupload(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, rev: str
    ) -> dict:
        repo = self._committable(request, type, id, user)
        files = repo.commit_of(rev).files
        answer = []
        for item in json.loads(body)["files"]:
            large = is_large(item["path"], item["size"])
            there = files.get(item["path"])
            oid = {"oid": there.sha256 if large else there.git_oid} if there else {}
            mode = "lfs" if large else "regular"
            answer.append({"path": item["path"], "uploadMode": mode, "shouldIgnore": False, **oid})
        return {"files": answer}

    def _committable(self, request: Request, type_: str, id_: str, user: str | None) -> Repo:
        if request.query_params.get("create_pr") in ("1", "true", "True") and user is not None:
            return self._readable(type_, id_, user)
        return self._writable(type_, id_, user)

    @route("POST", f"{_TYPE}/{_ID}/commit/(?P<rev>[^/]+)")
    def commit(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, rev: str
    ) -> dict:
        repo = self._committable(request, type, id, user)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        base: Commit = repo.commit_of(rev)
        parent = header["value"].get("parentCommit")
        if parent and parent != base.id:
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(base.files)
        for operation in operations:
            value = operation["value"]
            path = value["path"]
            if ".." in path.split("/") or path.startswith(("/", ".git/")):
                raise RefusedError(400, f"Invalid path {path}")
            if operation["key"] == "file":
                files[path] = File(base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile":
                files[path] = File(repo.large[value["oid"]])
            elif operation["key"] == "deletedFile":
                if path not in files:
                    raise RefusedError(404, "A file with this name doesn't exist", "EntryNotFound")
                del files[path]
        title = header["value"]["summary"]
        if request.query_params.get("create_pr") not in ("1", "true", "True"):
            commit = repo.add_commit(f"refs/heads/{rev}", files, title, str(user))
            return self._committed(repo, commit)
        number = len(repo.pulls) + 1
        repo.pulls[number] = PullRequest(number, title, str(user), base.id, date=now())
        repo.refs[f"refs/pr/{number}"] = base.id
        commit = repo.add_commit(f"refs/pr/{number}", files, title, str(user))
        return {
            **self._committed(repo, commit),
            "pullRequestUrl": f"{self._page(repo)}/discussions/{number}",
        }

    def _page(self, repo: Repo) -> str:
        return f"{self.url}/{'datasets/' if repo.type == 'dataset' else ''}{repo.id}"

    def _committed(self, repo: Repo, commit: Commit) -> dict:
        url = f"{self._page(repo)}/commit/{commit.id}"
        return {"success": True, "commitOid": commit.id, "commitUrl": url}

    @route("GET", f"{_TYPE}/{_ID}/discussions/(?P<number>[0-9]+)")
    def discussion(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, number: str
    ) -> dict:
        repo = self._readable(type, id, user)
        pull = repo.pulls[int(number)]
        return {
            "num": pull.number,
            "title": pull.title,
            "status": pull.status,
            "isPullRequest": True,
            "createdAt": pull.date,
            "author": {"name": pull.author},
            "repo": {"name": id, "type": type},
            "events": pull.events,
            "changes": {"base": "refs/heads/main", "mergeCommitId": pull.merge_commit},
            "filesWithConflicts": [],
            "diff": "",
        }

    @route("POST", f"{_TYPE}/{_ID}/discussions/(?P<number>[0-9]+)/merge")
    def merge(
        self, request: Request, user: str | None, body: bytes, type: str, id: str, number: str
    ) -> dict:
        repo = self._writable(type, id, user)
        commit = repo.merge(int(number), str(user))
        event = {
            "id": commit.id,
            "type": "status-change",
            "createdAt": now(),
            "author": {"name": user},
        }
        return {"newStatus": {**event, "data": {"status": "merged"}}}

    @route("GET", f"/(?:(?P<type>datasets)/)?{_ID}/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
    def resolve(
        self,
        request: Request,
        user: str | None,
        body: bytes,
        type: str,
        id: str,
        rev: str,
        path: str,
    ) -> Response:
        repo = self._readable(type, id, user)
        commit = repo.commit_of(rev)
        file = commit.files.get(path)
        if file is None:
            headers = {"X-Repo-Commit": commit.id}
            raise RefusedError(404, "Entry not found", "EntryNotFound", headers=headers)
        large = is_large(path, len(file.content))
        etag = file.sha256 if large else file.git_oid
        headers = {"X-Repo-Commit": commit.id, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if large:
            headers.update({"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(file.content))})
        content, status = file.content, 200
        start = re.match(r"bytes=([0-9]+)-", request.headers.get("range", ""))
        if start:
            content, status = content[int(start[1]) :], 206
            headers["Content-Range"] = (
                f"bytes {start[1]}-{len(file.content) - 1}/{len(file.content)}"
            )
        if request.method == "HEAD":
            return Response(
                status_code=status, headers={**headers, "Content-Length": str(len(content))}
            )
        return Response(content, status, headers, "application/octet-stream")
