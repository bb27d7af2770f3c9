"""The datasets of the comparisons as three csv files each: train, tune (to choose learning rates by) and test."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import ROOT

SHARED = ROOT.parent / "shared"
#: Rows learned from; the same for every method.
TRAIN = 2000
Table = list[dict[str, str]]


@dataclass(frozen=True)
class Source:
    """A dataset: the metric of its paper, the longest text in tokens, and how its three parts are read."""

    name: str
    metric: str
    longest: int
    read: Callable[[Path], tuple[Table, Table, Table]]


def _rows(path: Path, names: Sequence[str], *, header: bool) -> Table:
    lines = path.read_text(encoding="utf-8").splitlines()[int(header):]
    return [dict(zip(names, line.split("\t"), strict=False)) for line in lines if line.count("\t") >= len(names) - 1]


def _sst2(folder: Path) -> tuple[Table, Table, Table]:
    parts = [_rows(folder / name, ("text", "label"), header=True) for name in ("train.tsv", "dev.tsv", "test.tsv")]
    # The train and dev files hold phrases too; sentences of some length are what the test file has.
    train, tune, test = parts
    return [row for row in train if len(row["text"].split()) > 4], tune[:1000], test


def _cola(folder: Path) -> tuple[Table, Table, Table]:
    names = ("source", "label", "mark", "text")
    train, tune, test = (_rows(folder / name, names, header=False) for name in ("train.tsv", "val.tsv", "dev.tsv"))
    return train, tune, test


def _rte(folder: Path) -> tuple[Table, Table, Table]:
    names = ("index", "text", "text_pair", "label")
    train, tune, test = (_rows(folder / name, names, header=header)
                         for name, header in (("train.tsv", True), ("val.tsv", False), ("dev.tsv", True)))
    return train, tune, test


def _trec6(folder: Path) -> tuple[Table, Table, Table]:
    def read(name: str) -> Table:
        lines = (folder / name).read_text(encoding="latin-1").splitlines()
        return [{"label": line.partition(":")[0], "text": line.partition(" ")[2]} for line in lines]

    train = read("train.txt")
    random.Random(0).shuffle(train)
    return train[500:], train[:500], read("test.txt")


SOURCES = {source.name: source for source in (
    Source("sst2", "accuracy", 64, _sst2), Source("cola", "matthews_correlation", 48, _cola),
    Source("rte", "accuracy", 128, _rte), Source("trec6", "accuracy", 48, _trec6))}


def write(source: Source, folder: Path) -> dict[str, Path]:
    """Write train.csv, tune.csv and test.csv of a dataset; the same rows each time."""
    train, tune, test = source.read(SHARED / "data" / source.name)
    random.Random(1).shuffle(train)
    folder.mkdir(parents=True, exist_ok=True)
    columns = [name for name in ("text", "text_pair", "label") if name in train[0]]
    return {part: _write(rows, columns, folder / f"{part}.csv")
            for part, rows in (("train", train[:TRAIN]), ("tune", tune), ("test", test))}


def _write(rows: Table, columns: Sequence[str], path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def document(source: Source, files: dict[str, Path], part: str, model: str, method: dict[str, Any], rate: float,
             seed: int, epochs: int) -> dict[str, Any]:
    """Return the RunSpec document of one run, evaluated on `part` (tune or test)."""
    roles = {"text": "text", "label": "label"} | ({"text_pair": "text_pair"} if source.name == "rte" else {})
    return {"task": "text_classification", "model": {"id": model},
            "data": {"train": str(files["train"]), "eval": str(files[part]), "columns": roles}, "method": method,
            "training": {"epochs": epochs, "batch_size": 16, "max_length": source.longest, "learning_rate": rate,
                         "seed": seed, "eval_every": "never"}}
