"""What a comparison is: models, data, methods, the effort each method gets, its score, and what papers claim."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.report import ROOT

SHARED = ROOT.parent / "shared"
PARTS = ("train", "tune", "test")
Row = dict[str, Any]
#: Why something is as it is, by a model's name (without the folder it is in) and a dataset's.
Reasons = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Source:
    """A dataset: what its score is called, how its rows (train, tune, test) are read, the column of each role.

    `longest` is the most tokens of a text; longer ones are cut. `rates` names the dataset on whose tuning rows learning
    rates are chosen, where that is another one.
    """

    name: str
    metric: str
    read: Callable[[Path], tuple[list[Row], list[Row], list[Row]]]
    columns: Mapping[str, str]
    longest: int = 128
    rates: str = ""


@dataclass(frozen=True)
class Claim:
    """`better` scores more than `worse`, at least `margin` points more; below zero: at most that much less.

    `reasons` says, by model and dataset, why a claim does not hold; it is shown only where that is so.
    """

    better: str
    worse: str
    paper: str
    margin: float = 0
    reasons: Reasons = field(default_factory=dict[tuple[str, str], str])

    def holds(self, lead: float) -> bool:
        """Tell whether a lead of so many points is what was claimed."""
        return lead >= self.margin if self.margin else lead > 0

    def words(self) -> str:
        """Return the claim as a phrase."""
        if self.margin < 0:
            return f"{self.better} within {-self.margin:g} points of {self.worse} ({self.paper})"
        more = f" by {self.margin:g} points" if self.margin else ""
        return f"{self.better} above {self.worse}{more} ({self.paper})"


@dataclass(frozen=True)
class Effort:
    """What every method gets: rows to learn from, to choose a learning rate by and to be scored on, epochs, tries.

    `factors` are the learning rates tried, over the method's default; the best is run with each of `seeds`.
    """

    train: int
    tune: int
    test: int
    epochs: int
    batch: int
    factors: tuple[float, ...] = (1 / 3, 1.0, 3.0)
    seeds: tuple[int, ...] = (1, 2, 3)
    updates: int | None = None

    def quick(self) -> Effort:
        """Return the least effort that shows that everything runs; its scores mean nothing."""
        return replace(self, train=48, tune=8, test=8, epochs=1, factors=(1.0,), seeds=(1,), updates=2)


class Trained(NamedTuple):
    """A run that succeeded: its result.json, its folder, the model's folder, the csv or parquet it is scored on."""

    result: dict[str, Any]
    out: Path
    model: Path
    rows: Path
    source: Source


def reported(trained: Trained) -> float:
    """Return the metric that training itself reports, 0 to 1."""
    return trained.result["metrics"][trained.source.metric]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows of text as a csv file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@dataclass(frozen=True)
class Comparison:
    """Methods on the same models, data and effort. `methods` gives each name in the tables its method and settings.

    `score` gives 0 to 1; `write` stores rows in a file of that `ending`; `fit` makes a model's folder ready for them.
    """

    name: str
    title: str
    about: str
    task: str
    models: tuple[str, ...]
    sources: tuple[Source, ...]
    methods: Mapping[str, dict[str, Any]]
    effort: Effort
    claims: tuple[Claim, ...]
    score: Callable[[Trained], float] = reported
    ending: str = "csv"
    write: Callable[[Sequence[Row], Path], None] = write_csv
    fit: Callable[[Path, Path], Path] | None = None

    def source(self, name: str) -> Source:
        """Return a dataset of this comparison by its name."""
        return next(source for source in self.sources if source.name == name)

    def store(self, source: Source, folder: Path, effort: Effort) -> None:
        """Write a dataset's train, tune and test file; the same rows in the same order each time."""
        folder.mkdir(parents=True, exist_ok=True)
        for part, rows in zip(PARTS, source.read(SHARED / "data" / source.name), strict=True):
            random.Random(1).shuffle(rows)
            self.write(rows[:getattr(effort, part)], folder / f"{part}.{self.ending}")

    def document(self, source: Source, folder: Path, part: str, model: str, method: str, effort: Effort,
                 rate: float | None = None, seed: int = 1) -> dict[str, Any]:
        """Return the RunSpec document of one run, evaluated on `part` (tune or test)."""
        files = {name: str(folder / f"{name}.{self.ending}") for name in PARTS}
        return {"task": self.task, "model": {"id": model}, "method": self.methods[method],
                "data": {"train": files["train"], "eval": files[part], "columns": dict(source.columns)},
                "training": {"epochs": effort.epochs, "batch_size": effort.batch, "max_length": source.longest,
                             "learning_rate": rate or "auto", "seed": seed, "eval_every": "never",
                             "max_steps": effort.updates}}
