"""What is copied from the page Predict predicts exactly the rows that are on the screen, as they are on the screen."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from studio import batch_snippets as snippets
from studio.batch_snippets import Wanted

NAME = "it's \"my\" rows; (1).csv"
EVIL = "it's \"$HOME\" `id` é {x}"
FILE = Wanted("ad_1", "local/b", "text_classification", file=NAME, columns={"text": EVIL}, options={"kind": EVIL},
              format="parquet", prepare=False)
DATASET = Wanted(None, "local/b", "causal_lm", dataset="ds_1", title="My data", columns={"prompt": "a"})


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes rows, has them predicted when it is asked again, and gives a file back; and what it heard."""
    heard: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers["Content-Type"]
            if kind.startswith("multipart/"):
                parts: Any = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()
                found = {part.get_param("name", header="Content-Disposition"): part for part in parts}
                heard.append({name: part.get_payload(decode=True).decode() for name, part in found.items()})
                heard[-1]["filename"] = re.findall(r'filename="(.*)"', str(found["file"]["Content-Disposition"]))[0]
            else:
                heard.append(json.loads(body))
            self._send({"id": "ba_1", "kind": "predict", "state": "queued"})

        def do_GET(self) -> None:
            heard.append({"path": self.path, "token": self.headers["Authorization"]})
            if self.path.startswith("/download"):
                self._send("predicted")
            else:
                self._send({"id": "ba_1", "kind": "predict", "state": "ready", "download": "/download/batches/ba_1"})

        def _send(self, value: Any) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(value.encode() if isinstance(value, str) else json.dumps(
                value, separators=(",", ":")).encode())

        def log_message(self, *given: Any) -> None:
            """Say nothing."""

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}", heard
    made.shutdown()
    made.server_close()


def run(kind: str, wanted: Wanted, url: str, folder: Path, *, signed: bool = False) -> None:
    text = getattr(snippets, kind)(wanted, url, signed=signed)
    words = ["sh", "-c", text] if kind == "curl" else [sys.executable, "-c", text]
    subprocess.run(words, cwd=folder, check=True, env={"PATH": "/usr/bin:/bin", "STUDIO_TOKEN": "secret"}, timeout=30)


@pytest.mark.parametrize("kind", ["curl", "python"])
def test_a_script_sends_a_file_waits_and_fetches_what_comes_back(
        kind: str, server: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    url, heard = server
    (tmp_path / NAME).write_text("a,b\n1,é\n", encoding="utf-8")
    run(kind, FILE, url, tmp_path, signed=True)
    sent = heard[0]
    assert sent.pop("filename").replace("%22", '"').replace('\\"', '"') == NAME
    assert sent.pop("file") == "a,b\n1,é\n"
    assert {name: json.loads(sent[name]) for name in ("columns", "options", "prepare")} == {
        "columns": {"text": EVIL}, "options": {"kind": EVIL}, "prepare": False}
    assert (sent["adapter"], sent["format"], len(sent)) == ("ad_1", "parquet", 5)
    assert [one["path"] for one in heard[1:]] == ["/api/v1/batches/ba_1", "/download/batches/ba_1"]
    assert {one["token"] for one in heard[1:]} == {"Bearer secret"}
    assert (tmp_path / FILE.out).read_text() == "predicted" and FILE.out == "it's \"my\" rows; (1) predictions.parquet"


@pytest.mark.parametrize("kind", ["curl", "python"])
def test_a_script_names_a_dataset_and_a_base_model(
        kind: str, server: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    url, heard = server
    run(kind, DATASET, url, tmp_path)
    assert heard[0] == {"model": "local/b", "task": "causal_lm", "dataset": "ds_1", "columns": {"prompt": "a"},
                        "format": "csv"}
    assert (tmp_path / "My data predictions.csv").is_file() and heard[-1]["token"] is None


def test_the_command_line_says_the_same() -> None:
    assert shlex.split(snippets.command(FILE)) == [
        "peft-studio", "predict-file", NAME, "--adapter", "ad_1", "--column", f"text={EVIL}", "--options",
        json.dumps({"kind": EVIL}, ensure_ascii=False), "--as-is", "--format", "parquet", "--out", FILE.out]
    assert shlex.split(snippets.command(DATASET)) == [
        "peft-studio", "predict-file", "ds_1", "--model", "local/b", "--task", "causal_lm", "--column", "prompt=a",
        "--format", "csv", "--out", "My data predictions.csv"]
    odd = Wanted("ad_1", "", "", file="-rows.csv")
    assert shlex.split(snippets.command(odd))[2] == "./-rows.csv"


def test_the_page_part_escapes_what_it_shows() -> None:
    shown = snippets.shown(Wanted("ad_1", "m", "t", file="<b>.csv"), "http://127.0.0.1:1")
    assert "<b>" not in shown and shown.count("predict-file") == 1
