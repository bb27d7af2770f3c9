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
from huggingface_hub import constants

from engine import hub_data
from engine.data import read
from engine.errors import StudioError
from engine.hub_data import Config, Listing, Split, layout
from engine.hub_data.errors import ConfigNeeded, NoSuchConfig, NoSuchSplit

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


class Client:
    """The client of a process whose cache is `cache`, as its settings would make it."""

    def __init__(self, patch: pytest.MonkeyPatch, cache: Path) -> None:
        self.patch, self.cache = patch, cache
        patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def go(self, what: str, id: str, *, offline: bool = False, token: str = "", memory: bool = True,
           revision: str | None = None, config: str = "", stop_after: int = 0) -> dict[str, Any]:
        """Look at a dataset, preview or fetch the split that is meant, and return what came of it, or the error."""
        self.patch.setattr(constants, "HF_HUB_OFFLINE", offline)
        self.patch.setenv("HF_TOKEN", token)
        told: list[float] = []
        try:
            found = hub_data.look(id, revision, self.cache / "memory" if memory else None)
            made: dict[str, Any] = {"listing": found}
            if what == "look":
                return made
            chosen = found.choose(config)
            if what == "preview":
                shown = hub_data.preview(found, chosen.config, chosen.split, 5)
                return made | {"columns": shown.columns, "rows": shown.rows}
            got = hub_data.fetch(found, chosen.config, chosen.split, self.cache / "joined", told.append,
                                 lambda: len(told) >= stop_after > 0)
            table = read.read(got.path)
            return made | {"chosen": chosen, "files": got.files, "told": told, "columns": table.column_names,
                           "rows": table.to_pylist()}
        except StudioError as error:
            return error.as_dict()


@pytest.fixture
def client(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return Client(monkeypatch, tmp_path)


def test_nothing_of_it_needs_torch() -> None:
    program = "import sys, engine.hub_data; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False,
                          cwd=Path(__file__).resolve().parents[2]).returncode == 0


def test_configurations_and_splits_are_those_that_the_card_names(server: Hub, client: Client) -> None:
    found = client.go("look", "hub:people/poems")["listing"]
    assert (found.revision, found.licence, found.converted, found.cached) == (COMMIT, "cc-by-4.0", False, False)
    assert {one.name: {split.name: list(split.files) for split in one.splits} for one in found.configs} == {
        "short": {"train": ["short/train-1.parquet", "short/train-2.parquet"], "validation": ["short/dev.parquet"]},
        "long": {"train": ["long/a.csv", "long/b.csv"], "test": ["long/deep/judge.csv"]}}
    assert found.split("short", "train").rows == 7
    assert found.split("long", "test").bytes == len(csv(2))
    assert found.choose() == ("long", "train", "test")
    assert found.choose("short") == ("short", "train", "validation")
    assert not any("resolve" in path and not path.endswith("README.md") for path in server.asked)


def test_a_split_of_several_files_is_joined_with_its_class_names_and_then_comes_from_the_cache(
        server: Hub, client: Client) -> None:
    found = client.go("fetch", "people/poems", config="short")
    assert found["columns"] == ["text", "label"]
    assert [row["text"] for row in found["rows"]] == WORDS[:7]
    assert found["rows"][1]["label"] == "good"
    assert found["told"] == sorted(found["told"]) and found["told"][-1] == 1
    assert len(found["files"]) == 2
    server.asked.clear()
    again = client.go("fetch", "people/poems", config="short", revision=COMMIT)
    assert again["rows"] == found["rows"] and server.asked == []
    offline = client.go("fetch", "people/poems", config="short", offline=True)
    assert offline["rows"] == found["rows"] and offline["listing"].cached and server.asked == []


def test_a_dataset_that_moved_goes_by_its_new_name_and_is_found_by_both(server: Hub, client: Client) -> None:
    server.moved["datasets/people/verses"] = "datasets/people/poems"
    assert client.go("fetch", "people/verses", config="short")["listing"].id == "people/poems"
    for name in ("people/verses", "people/poems"):
        assert len(client.go("fetch", name, config="short", revision=COMMIT, offline=True)["rows"]) == 7


def test_an_error_of_the_hub_is_told(server: Hub, client: Client) -> None:
    server.broken.add("datasets/people/odd")
    error = client.go("look", "people/odd")
    assert error["kind"] == "hub_dataset_unreachable" and "it answered 400" in error["what"]


def test_files_of_text_are_joined_too(client: Client) -> None:
    found = client.go("fetch", "people/poems", config="long")
    assert [row["text"] for row in found["rows"]] == [f"a line {i}" for i in range(5)]


def test_offline_names_the_cache_that_lacks_the_files(
        server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    error = client.go("look", "people/poems", offline=True)
    assert error["kind"] == "hub_dataset_unreachable"
    assert str(tmp_path / "hub") in error["what"] and "HF_HUB_OFFLINE" in error["what"]
    client.go("look", "people/poems")
    server.asked.clear()
    assert client.go("look", "people/poems", offline=True)["listing"].cached
    assert client.go("fetch", "people/poems", offline=True)["kind"] == "hub_dataset_unreachable"
    assert server.asked == []
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert client.go("look", "people/other")["kind"] == "hub_dataset_unreachable"


def test_what_was_fetched_elsewhere_into_the_cache_is_found_without_the_hub(
        server: Hub, tmp_path: Path, client: Client) -> None:
    program = "from huggingface_hub import snapshot_download as s; s('people/poems', repo_type='dataset')"
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True)
    found = client.go("fetch", "people/poems", config="short", offline=True)
    assert len(found["rows"]) == 7 and found["listing"].revision == COMMIT


def test_a_program_is_never_run_what_the_hub_made_of_it_is_taken(server: Hub, client: Client) -> None:
    found = client.go("fetch", "people/made")
    assert found["listing"].converted and found["listing"].revision == OTHER
    assert found["chosen"] == ("default", "train", "test")
    assert len(found["rows"]) == 3
    assert not any(path.endswith(".py") for path in server.asked)
    error = client.go("look", "people/program")
    assert error["kind"] == "hub_loading_script" and "program.py" in error["what"]


@pytest.mark.parametrize(("id", "kind"), [
    ("people/sounds", "hub_no_data_files"), ("people/nobody", "hub_dataset_missing"),
    ("people/../etc", "hub_dataset_id_invalid"), ("people/secret", "hub_dataset_missing")])
def test_a_dataset_that_cannot_be_used_is_refused_by_name(id: str, kind: str, client: Client) -> None:
    error = client.go("look", id)
    assert error["kind"] == kind and error["try_this"]


def test_terms_and_private_datasets_ask_for_a_token(client: Client) -> None:
    error = client.go("fetch", "people/gated")
    assert error["kind"] == "hub_dataset_gated" and "HF_TOKEN" in error["try_this"]
    assert len(client.go("fetch", "people/secret", token="hf_mine")["rows"]) == 3


def test_a_download_stops_when_asked_and_finishes_later(client: Client) -> None:
    assert client.go("fetch", "people/poems", config="short", stop_after=1)["kind"] == "cancelled"
    assert len(client.go("fetch", "people/poems", config="short")["rows"]) == 7


def test_a_download_stops_in_the_middle_of_a_file(server: Hub, tmp_path: Path, client: Client) -> None:
    server.repositories["datasets/people/wide"] = {"train.csv": b"text\n" + (b"x" * 99 + b"\n") * 400_000}
    assert client.go("fetch", "people/wide", stop_after=1)["kind"] == "cancelled"
    assert not list((tmp_path / "hub").rglob("train.csv"))


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
def test_the_first_rows_come_from_the_head_of_the_first_file(
        file: str, server: Hub, tmp_path: Path, client: Client) -> None:
    content = LARGE[file]()
    assert len(content) > 2 << 20
    server.repositories["datasets/people/large"] = {file: content}
    found = client.go("preview", "people/large", memory=False)
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
    assert splits("train/metadata.csv", "train/1.png", "train/2.png") == {}
    assert splits("labels.csv", *(f"pictures/{i}.jpg" for i in range(20))) == {}
    assert splits("train.csv", "plot.png") == {"train": ["train.csv"]}


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
