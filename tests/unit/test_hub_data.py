"""The real client of the Hub against a server on this machine: what a dataset holds, its first rows, all of a split."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, OTHER, Hub, serving

from engine.hub_data import Config, Listing, Split, layout
from engine.hub_data.errors import ConfigNeeded, NoSuchConfig, NoSuchSplit

#: Run in a process of its own, because the client reads its settings once, when it is imported.
CLIENT = """
import json, sys
from pathlib import Path
from engine import hub_data
from engine.data import read
from engine.errors import StudioError
asked = json.loads(sys.argv[1])
told, limit = [], asked.get("stop_after", 0)
try:
    found = hub_data.look(asked["id"], asked.get("revision"), Path("memory") if asked.get("memory", True) else None)
    out = {"listing": found.model_dump(mode="json"), "torch": "torch" in sys.modules}
    if asked["what"] != "look":
        chosen = found.choose(asked.get("config", ""), asked.get("split", ""))
        out["chosen"] = list(chosen)
    if asked["what"] == "preview":
        shown = hub_data.preview(found, chosen.config, chosen.split, 5)
        out |= {"columns": shown.columns, "rows": shown.rows}
    if asked["what"] == "fetch":
        got = hub_data.fetch(found, chosen.config, chosen.split, Path("joined"), told.append,
                             lambda: len(told) >= limit > 0)
        table = read.read(got.path)
        out |= {"files": got.files, "told": told, "columns": table.column_names, "rows": table.to_pylist()}
    print(json.dumps(out))
except StudioError as error:
    print(json.dumps(error.as_dict()))
"""

WORDS = [f"line {i} of many" for i in range(40)]


def parquet(rows: int, start: int = 0, *, names: list[str] | None = None, group: int = 1000, **more: Any) -> bytes:
    """Return a parquet file of texts and labels; `names` are those of the classes, as `datasets` stores them."""
    table = pa.table({"text": [f"line {i} of many" for i in range(start, start + rows)],
                      "label": pa.array([i % 2 for i in range(rows)], pa.int64()), **more})
    if names is not None:
        features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=group, compression="none", use_dictionary=False)
    return out.getvalue()


def csv(rows: int, start: int = 0) -> bytes:
    return "".join(["text,label\n", *(f"a line {i},{'ab'[i % 2]}\n" for i in range(start, start + rows))]).encode()


CARD = b"""---
license: cc-by-4.0
configs:
- config_name: short
  data_files:
  - split: train
    path: short/train-*
  - split: validation
    path: short/dev.parquet
- config_name: long
  default: true
  data_files:
    train: ["long/*.csv"]
    test: "long/**/judge.csv"
dataset_info:
- config_name: short
  splits:
  - name: train
    num_examples: 7
---
# Poems
"""


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Hub]:
    with serving() as made:
        made.repositories |= {
            "datasets/people/poems": {
                "README.md": CARD, "short/train-1.parquet": parquet(4, names=["bad", "good"]),
                "short/train-2.parquet": parquet(3, 4, names=["bad", "good"]), "short/dev.parquet": parquet(2),
                "long/a.csv": csv(3), "long/b.csv": csv(2, 3), "long/deep/judge.csv": csv(2), "poems.py": b"boom()"},
            "datasets/people/made": {"made.py": b"raise SystemExit", "data/train.csv": csv(3)},
            "datasets/people/program": {"program.py": b"raise SystemExit"},
            "datasets/people/sounds": {"README.md": b"# Sounds", "a.wav": b"RIFF"},
            "datasets/people/secret": {"train.csv": csv(3)},
            "datasets/people/gated": {"train.csv": csv(3)}}
        made.converted["datasets/people/made"] = {"default/train/0000.parquet": parquet(3),
                                                  "default/partial-test/0000.parquet": parquet(1)}
        made.gated.add("datasets/people/gated")
        made.private["datasets/people/secret"] = "hf_mine"
        yield made


@pytest.fixture
def server(shared_server: Hub) -> Hub:
    shared_server.asked.clear()
    shared_server.sent = 0
    return shared_server


def ask(url: str, cache: Path, what: str, id: str, *, offline: bool = False, token: str = "", **more: Any) -> Any:
    own = {"HF_HOME": str(cache), "HF_ENDPOINT": url, "HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_TOKEN": token} if token else {}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", CLIENT, json.dumps({"what": what, "id": id} | more)], check=False,
                          capture_output=True, text=True, env=kept | own | {"PYTHONPATH": root}, cwd=cache)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_configurations_and_splits_are_those_that_the_card_names(server: Hub, tmp_path: Path) -> None:
    made = ask(server.url, tmp_path, "look", "hub:people/poems")
    found = Listing.model_validate({key: value for key, value in made["listing"].items() if key != "configs"} | {
        "configs": [{"name": one["name"], "default": one["default"], "splits": [
            {key: split[key] for key in ("name", "files", "rows")} for split in one["splits"]]}
            for one in made["listing"]["configs"]]})
    assert (found.revision, found.licence, found.converted, found.cached) == (COMMIT, "cc-by-4.0", False, False)
    assert {one.name: {split.name: list(split.files) for split in one.splits} for one in found.configs} == {
        "short": {"train": ["short/train-1.parquet", "short/train-2.parquet"], "validation": ["short/dev.parquet"]},
        "long": {"train": ["long/a.csv", "long/b.csv"], "test": ["long/deep/judge.csv"]}}
    assert found.split("short", "train").rows == 7
    assert found.split("long", "test").bytes == len(csv(2))
    assert found.choose() == ("long", "train", "test")
    assert found.choose("short") == ("short", "train", "validation")
    assert not any("resolve" in path and not path.endswith("README.md") for path in server.asked)
    assert made["torch"] is False


def test_a_split_of_several_files_is_joined_with_its_class_names_and_comes_from_the_cache_the_second_time(
        server: Hub, tmp_path: Path) -> None:
    found = ask(server.url, tmp_path, "fetch", "people/poems", config="short")
    assert found["columns"] == ["text", "label"]
    assert [row["text"] for row in found["rows"]] == WORDS[:7]
    assert found["rows"][1]["label"] == "good"
    assert found["told"] == sorted(found["told"]) and found["told"][-1] == 1
    assert len(found["files"]) == 2
    server.asked.clear()
    again = ask(server.url, tmp_path, "fetch", "people/poems", config="short", revision=COMMIT)
    assert again["rows"] == found["rows"] and server.asked == []
    offline = ask(server.url, tmp_path, "fetch", "people/poems", config="short", offline=True)
    assert offline["rows"] == found["rows"] and offline["listing"]["cached"] and server.asked == []


def test_files_of_text_are_joined_too(server: Hub, tmp_path: Path) -> None:
    found = ask(server.url, tmp_path, "fetch", "people/poems", config="long")
    assert [row["text"] for row in found["rows"]] == [f"a line {i}" for i in range(5)]


def test_offline_names_the_cache_that_lacks_the_files(server: Hub, tmp_path: Path) -> None:
    error = ask(server.url, tmp_path, "look", "people/poems", offline=True)
    assert error["kind"] == "hub_dataset_unreachable"
    assert str(tmp_path / "hub") in error["what"] and "HF_HUB_OFFLINE" in error["what"]
    ask(server.url, tmp_path, "look", "people/poems")
    server.asked.clear()
    assert ask(server.url, tmp_path, "look", "people/poems", offline=True)["listing"]["cached"]
    assert ask(server.url, tmp_path, "fetch", "people/poems", offline=True)["kind"] == "hub_dataset_unreachable"
    assert server.asked == []
    assert ask("http://127.0.0.1:9", tmp_path, "look", "people/other")["kind"] == "hub_dataset_unreachable"


def test_what_was_fetched_elsewhere_into_the_cache_is_found_without_the_hub(server: Hub, tmp_path: Path) -> None:
    program = "from huggingface_hub import snapshot_download as s; s('people/poems', repo_type='dataset')"
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True)
    found = ask(server.url, tmp_path, "fetch", "people/poems", config="short", offline=True)
    assert len(found["rows"]) == 7 and found["listing"]["revision"] == COMMIT


def test_a_program_is_never_run_what_the_hub_made_of_it_is_taken(server: Hub, tmp_path: Path) -> None:
    found = ask(server.url, tmp_path, "fetch", "people/made")
    assert found["listing"]["converted"] and found["listing"]["revision"] == OTHER
    assert found["chosen"] == ["default", "train", "test"]
    assert len(found["rows"]) == 3
    assert not any(path.endswith(".py") for path in server.asked)
    error = ask(server.url, tmp_path, "look", "people/program")
    assert error["kind"] == "hub_loading_script" and "program.py" in error["what"]


@pytest.mark.parametrize(("id", "kind"), [
    ("people/sounds", "hub_no_data_files"), ("people/nobody", "hub_dataset_missing"),
    ("people/../etc", "hub_dataset_id_invalid"), ("people/secret", "hub_dataset_missing")])
def test_a_dataset_that_cannot_be_used_is_refused_by_name(id: str, kind: str, server: Hub, tmp_path: Path) -> None:
    error = ask(server.url, tmp_path, "look", id)
    assert error["kind"] == kind and error["try_this"]


def test_terms_and_private_datasets_ask_for_a_token(server: Hub, tmp_path: Path) -> None:
    error = ask(server.url, tmp_path, "fetch", "people/gated")
    assert error["kind"] == "hub_dataset_gated" and "HF_TOKEN" in error["try_this"]
    assert len(ask(server.url, tmp_path, "fetch", "people/secret", token="hf_mine")["rows"]) == 3


def test_a_download_stops_when_asked_and_finishes_later(server: Hub, tmp_path: Path) -> None:
    assert ask(server.url, tmp_path, "fetch", "people/poems", config="short", stop_after=1)["kind"] == "cancelled"
    assert len(ask(server.url, tmp_path, "fetch", "people/poems", config="short")["rows"]) == 7


def packed() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("rows.csv", csv(9))
        archive.writestr("more/large.bin", os.urandom(12 << 20))
    return out.getvalue()


def arrow(rows: int) -> bytes:
    table, out = pq.read_table(io.BytesIO(parquet(rows))), io.BytesIO()
    with ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table, max_chunksize=500)
    return out.getvalue()


LARGE = {
    "train.parquet": lambda: parquet(60_000, group=60_000, filler=["x" * 100] * 60_000),
    "train.csv": lambda: csv(200_000),
    "train.csv.gz": lambda: gzip.compress(csv(200_000) + os.urandom(2 << 20).hex().encode(), 1),
    "train.json": lambda: json.dumps([{"text": f"a line {i}", "label": "ab"[i % 2]} for i in range(90_000)]).encode(),
    "train.jsonl": lambda: b"".join(b'{"text": "a line %d", "label": "a"}\n' % i for i in range(90_000)),
    "train.arrow": lambda: arrow(120_000),
    "train.zip": packed}


@pytest.mark.parametrize("file", LARGE)
def test_the_first_rows_come_from_the_head_of_the_first_file(file: str, server: Hub, tmp_path: Path) -> None:
    content = LARGE[file]()
    assert len(content) > 2 << 20
    server.repositories["datasets/people/large"] = {file: content}
    found = ask(server.url, tmp_path, "preview", "people/large", memory=False)
    assert found["columns"][:2] == ["text", "label"], found
    assert len(found["rows"]) == 5
    assert "line 0" in found["rows"][0]["text"]
    assert server.sent < len(content) * 0.75
    assert not list((tmp_path / "hub").rglob("train*"))


def test_names_of_files_and_folders_tell_the_splits() -> None:
    def splits(*names: str) -> dict[str, list[str]]:
        return {split: list(files) for split, files in layout.by_name(dict.fromkeys(names, 1)).items()}

    assert splits("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
                  "data/odd_one-00000-of-00001.parquet") == {
        "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
        "odd_one": ["data/odd_one-00000-of-00001.parquet"]}
    assert splits("poems.csv", "README.md", ".gitattributes", "LICENSE.txt") == {"train": ["poems.csv"]}
    assert splits("dev.jsonl", "my-train.jsonl", "all.jsonl") == {"train": ["my-train.jsonl"],
                                                                 "validation": ["dev.jsonl"]}
    assert splits("testing/1.csv", "training/1.csv", "x.json") == {"train": ["training/1.csv"],
                                                                  "test": ["testing/1.csv"]}
    assert splits("contest.csv") == {"train": ["contest.csv"]}
    assert splits("a.wav") == {}


@pytest.mark.parametrize(("stated", "files"), [
    ({"data_files": "*.csv"}, ["a.csv"]), ({"data_files": ["in/*.csv", "a.csv"]}, ["in/b.csv", "a.csv"]),
    ({"data_files": "**/*.csv"}, ["a.csv", "in/b.csv", "in/deep/c.csv"]), ({"data_dir": "in/deep"}, ["in/deep/c.csv"]),
    ({"data_dir": "./in", "data_files": "*.csv"}, ["in/b.csv"]), ({"data_files": "[ab].csv"}, ["a.csv"]),
    ({"data_files": "in/"}, ["in/b.csv", "in/deep/c.csv"])])
def test_patterns_of_a_card_match_as_those_of_a_shell(stated: dict[str, Any], files: list[str]) -> None:
    there = dict.fromkeys(["a.csv", "in/b.csv", "in/deep/c.csv"], 5)
    (found,) = layout.by_card({"configs": [{"config_name": "x", **stated}]}, there)
    assert [list(split.files) for split in found.splits] == [files]


@pytest.mark.parametrize("card", [{"configs": "none"}, {"configs": [7]}, {"dataset_info": {"splits": "many"}}])
def test_a_card_of_another_kind_does_not_count(card: dict[str, Any]) -> None:
    assert [one.name for one in layout.by_card(card, {"a.csv": 3})] == ["default"]


def test_what_is_not_there_is_named_with_what_is() -> None:
    def config(name: str, *splits: str) -> Config:
        return Config(name=name, splits=[Split(name=split, files={"a": 1}) for split in splits])

    found = Listing(id="a/b", revision=COMMIT, configs=[config("one", "all", "test"), config("two", "test")])
    with pytest.raises(ConfigNeeded) as needed:
        found.choose()
    assert "one, two" in needed.value.try_this
    with pytest.raises(NoSuchConfig):
        found.choose("three")
    with pytest.raises(NoSuchSplit):
        found.choose("one", "train")
    assert found.choose("one") == ("one", "all", "test")
    assert found.choose("two") == ("two", "test", "")
    assert found.choose("one", eval_split="none") == ("one", "all", "")
    assert found.choose("one", "test", "all") == ("one", "test", "all")
