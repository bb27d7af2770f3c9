"""The real client of the Hub against a server on this machine that speaks the Hub's protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, Hub, serving

from engine import hub, tiny

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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    made = tiny.folder("bert", tmp_path)
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    card = b"---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"
    extra = {"README.md": card, "modeling_mine.py": b"raise SystemExit", "onnx/model.onnx": b"0",
             "pytorch_model.bin": b"not opened"}
    with serving() as hub_server:
        hub_server.repositories["people/tiny"] = files | extra
        hub_server.repositories["people/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"0"}
        hub_server.repositories["people/empty"] = {"README.md": card}
        hub_server.gated.add("people/gated")
        yield hub_server


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
