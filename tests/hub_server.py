"""A server on this machine that speaks the protocol of the Hugging Face Hub, for its real client."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

#: The commits of "main" and of the branch where converted datasets lie.
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"
CONVERTED = "refs/convert/parquet"


class Hub(ThreadingHTTPServer):
    """Repositories by id, each a mapping of file name to content; `asked` are the paths requested.

    Those of datasets begin with "datasets/"; `converted` are their other branches; `moved` maps old names to new ones;
    the `broken` are answered with an error. `sent` are the bytes of files.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.converted: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.private: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.sent = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def files(self, name: str, revision: str) -> dict[str, bytes] | None:
        """Return the files of a repository at a revision; None where there is no such revision."""
        if revision in ("main", COMMIT):
            return self.repositories[name]
        return self.converted.get(name) if revision in (CONVERTED, OTHER) else None


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.server.asked.append("/".join(parts))
        api = parts[0] == "api"
        if api:
            parts = parts[1:]
        kind = "datasets/" if parts[0] == "datasets" else ""
        if parts[0] in ("datasets", "models"):
            parts = parts[1:]
        name, rest = kind + "/".join(parts[:2]), parts[2:]
        name = self.server.moved.get(name, name)
        if name in self.server.broken:
            return self.answer(400, b"{}", {})
        if name in self.server.private and self.headers.get("Authorization") != f"Bearer {self.server.private[name]}":
            return self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if name not in self.server.repositories and name not in self.server.gated:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if name in self.server.gated and not (kind and api):
            return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        what, revision, path = rest[0] if rest else "", rest[1] if len(rest) > 1 else "main", "/".join(rest[2:])
        files = self.server.files(name, revision)
        if files is None:
            return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        commit = OTHER if revision in (CONVERTED, OTHER) else COMMIT
        if api:
            return self.json(tree(files, path) if what == "tree" else self.paths(files) if what == "paths-info"
                             else information(name.removeprefix("datasets/"), files, commit))
        return self.file(files.get(path), commit)

    do_HEAD = do_POST = do_GET

    def paths(self, files: dict[str, bytes]) -> list[dict[str, Any]]:
        """Return what is asked of some files."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return [one for one in tree(files) if one["path"] in body["paths"]]

    def file(self, content: bytes | None, commit: str) -> None:
        """Answer with a file, or the part of it that is asked for."""
        if content is None:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "X-Linked-Etag": f'"{etag}"',
                   "X-Linked-Size": str(len(content))}
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if not asked:
            return self.answer(200, content, headers)
        first, _, last = asked.partition("-")
        part = content[int(first):int(last) + 1 if last else None]
        headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self.answer(206, part, headers)

    def json(self, content: Any) -> None:
        """Answer with JSON."""
        self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        """Answer; a HEAD request gets no content."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.server.sent += len(content) if "ETag" in headers else 0
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def information(name: str, files: dict[str, bytes], commit: str) -> dict[str, Any]:
    """Return what the Hub says about a repository as a whole."""
    return {"id": name, "modelId": name, "sha": commit, "private": False, "tags": [], "downloads": 0, "likes": 0,
            "siblings": [{"rfilename": file, "size": len(content)} for file, content in files.items()]}


def tree(files: dict[str, bytes], folder: str = "") -> list[dict[str, Any]]:
    """Return what the Hub says about each file below a folder."""
    return [{"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest(),
             "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
            for file, content in files.items() if not folder or file.startswith(f"{folder}/")]


@contextmanager
def serving() -> Iterator[Hub]:
    """Run a Hub without repositories."""
    with Hub() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()
