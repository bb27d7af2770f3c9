"""The real client of the Hub against a server on this machine that speaks the Hub's protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from engine import hub, tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"

#: Run in a process of its own, because the client reads its settings once, when it is imported.
CLIENT = """
import json, sys
from engine import models
from engine.errors import StudioError
told = []
limit = int(sys.argv[2])
try:
    found = models.locate(sys.argv[1], progress=told.append, cancelled=lambda: len(told) >= limit > 0)
    print(json.dumps({"path": str(found.path), "revision": found.revision, "source": found.source,
                      "licence": found.licence, "files": found.files, "told": told}))
except StudioError as error:
    print(json.dumps(error.as_dict()))
"""


class Hub(ThreadingHTTPServer):
    """Repositories by id, each a mapping of file name to content; `asked` are the paths requested."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append(path)
        parts = path.removeprefix("api/models/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        files = self.server.repositories.get(name)
        if name in self.server.gated:
            return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if files is None:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if path.startswith("api/models/"):
            if rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
                return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return self.json(tree(files) if rest[:1] == ["tree"] else information(name, files))
        content = files.get("/".join(rest[2:]))
        if content is None:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha256(content).hexdigest()
        return self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{etag}"',
                                          "X-Linked-Size": str(len(content))})

    do_HEAD = do_GET

    def json(self, content: Any) -> None:
        self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def information(name: str, files: dict[str, bytes]) -> dict[str, Any]:
    return {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0,
            "siblings": [{"rfilename": file, "size": len(content)} for file, content in files.items()]}


def tree(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest(),
             "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
            for file, content in files.items()]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    made = tiny.folder("bert", tmp_path)
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    card = b"---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"
    extra = {"README.md": card, "modeling_mine.py": b"raise SystemExit", "onnx/model.onnx": b"0",
             "pytorch_model.bin": b"not opened"}
    with Hub() as hub_server:
        hub_server.repositories["people/tiny"] = files | extra
        hub_server.repositories["people/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"0"}
        hub_server.repositories["people/empty"] = {"README.md": card}
        hub_server.gated.add("people/gated")
        thread = threading.Thread(target=hub_server.serve_forever, daemon=True)
        thread.start()
        yield hub_server
        hub_server.shutdown()
        thread.join()


def ask(model: str, cache: Path, url: str, *, offline: bool = False, stop_after: int = 0) -> dict[str, Any]:
    own = {"HF_HOME": str(cache), "HF_ENDPOINT": url, "HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_XET": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", CLIENT, model, str(stop_after)], capture_output=True, text=True,
                          check=False, env=kept | own | {"STUDIO_DATA_DIR": str(cache), "PYTHONPATH": root}, cwd=cache)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_model_comes_once_without_pickles_or_code_and_then_from_the_cache(server: Hub, tmp_path: Path) -> None:
    found = ask("people/tiny", tmp_path, server.url)
    assert found["source"] == "hub"
    assert found["revision"] == COMMIT
    assert found["licence"] == "apache-2.0"
    weights = server.repositories["people/tiny"]["model.safetensors"]
    assert found["files"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert found["told"]
    assert found["told"] == sorted(found["told"])
    assert found["told"][-1] <= 1
    names = {path.name for path in Path(found["path"]).iterdir()}
    assert "tokenizer.json" in names
    assert not names & {"pytorch_model.bin", "modeling_mine.py", "onnx"}
    server.asked.clear()
    assert ask("hub:people/tiny", tmp_path, server.url)["path"] == found["path"]
    assert ask("people/tiny", tmp_path, server.url, offline=True)["path"] == found["path"]
    assert server.asked == []


def test_offline_names_the_cache_that_lacks_the_model(server: Hub, tmp_path: Path) -> None:
    error = ask("people/tiny", tmp_path, server.url, offline=True)
    assert error["kind"] == "hub_unreachable"
    assert str(tmp_path / "hub") in error["what"]
    assert "HF_HUB_OFFLINE" in error["what"]
    assert server.asked == []
    error = ask("people/tiny", tmp_path, "http://127.0.0.1:9")
    assert error["kind"] == "hub_unreachable"


@pytest.mark.parametrize(("model", "kind"), [
    ("people/pickled", "pickle_refused"), ("people/empty", "weights_missing"), ("people/nobody", "hub_model_missing"),
    ("people/gated", "hub_model_gated"), ("people/../etc", "model_id_invalid")])
def test_a_model_that_cannot_be_used_is_refused_before_it_is_downloaded(
        model: str, kind: str, server: Hub, tmp_path: Path) -> None:
    assert ask(model, tmp_path, server.url)["kind"] == kind
    assert not any("/resolve/" in path for path in server.asked)


def test_a_download_stops_when_asked_and_finishes_later(server: Hub, tmp_path: Path) -> None:
    files = server.repositories["people/tiny"]
    files["extra.safetensors"] = os.urandom(40_000_000)
    assert ask("people/tiny", tmp_path, server.url, stop_after=1)["kind"] == "cancelled"
    assert ask("people/tiny", tmp_path, server.url)["revision"] == COMMIT


def test_the_licence_is_read_from_the_card(tmp_path: Path) -> None:
    assert hub.licence(tmp_path) == ""
    (tmp_path / "README.md").write_text("---\nlicense: 'mit'\n---\n", encoding="utf-8")
    assert hub.licence(tmp_path) == "mit"
    (tmp_path / "README.md").write_text("# license: none of ours\n", encoding="utf-8")
    assert hub.licence(tmp_path) == ""
