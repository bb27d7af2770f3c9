"""Combines adapters of one base model into a new one: a standard peft directory like any other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import composed
from engine import parents as parentage
from engine.composed import Composed
from engine.data import split, validate
from engine.errors import Cancelled, Refused
from engine.parents import FACTOR, Parent
from engine.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from engine.arithmetic import Update
    from engine.comparison import Bench, Rows
    from engine.lorahub import Try

#: The most rows a comparison is made on; more would only cost time.
MOST_ROWS = 1000
#: Shares of the progress bar: loading the base model, then combining or finding weights; comparing takes the rest.
LOADING, COMBINING, SEARCHING = 0.1, 0.5, 0.6
#: Told the share done, what is being done, and facts to show meanwhile.
Report = Callable[[float, str, dict[str, Any]], None]


class NeedsExamples(Refused):
    """LoraHub finds its weights on examples, and there are none."""

    kind = "examples_missing"
    try_this = "Choose a dataset of at least two rows, or give the weights yourself."


@dataclass(frozen=True)
class Data:
    """Where to find weights and to compare: `train`, and `held` rows kept apart (None: what the search leaves over)."""

    train: Rows
    held: Rows | None = None


def compose(folders: Sequence[Path], out: Path, recipe: Recipe, *, names: Sequence[str] | None = None,
            model_path: Path | None = None, data: Data | None = None, task_name: str = "",
            report: Report | None = None, cancelled: Callable[[], bool] = lambda: False) -> Composed:
    """Write the combination of the adapters in `folders` to `out`, whole or not at all, and return what came of it.

    With `data` (which needs `model_path`, the base model) it is compared with its parts and with the mean of their
    updates, all on the same rows, none of which LoraHub has seen. The same arguments give the same bytes. Raises the
    errors of engine.parents, NeedsExamples, SpecError, DataError, ModelError, Cancelled.
    """
    called = list(names or [folder.name for folder in folders])
    found = parentage.read(folders, called)
    parentage.check(found, recipe)
    if recipe.searches and (data is None or data.train.table.num_rows < 2):
        raise NeedsExamples("dataset")
    told: Report = report or _unheard
    work = _Work(found, recipe, out, told, cancelled)
    try:
        if data is None or model_path is None:
            made = work.write(recipe.weights_for(len(found)), out, bar=(0.0, 1.0))
        else:
            made = work.measured(model_path, data, task_name)
        work.check()
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(work.scratch, ignore_errors=True)
    told(1.0, "Done", {})
    return made


class _Work:
    """One combination on its way."""

    def __init__(self, parents: list[Parent], recipe: Recipe, out: Path, report: Report,
                 cancelled: Callable[[], bool]) -> None:
        from safetensors.torch import load_file

        self.parents, self.recipe, self.out, self.report, self.cancelled = parents, recipe, out, report, cancelled
        self.scratch = out.with_name(f".tmp-{out.name}-{os.getpid()}")
        self.files = [load_file(parent.trained.folder / "adapter_model.safetensors") for parent in parents]
        self.layers = {} if recipe.how == "average" else _layers(parents, self.files)

    def check(self) -> None:
        """Raise Cancelled once the work is to stop."""
        if self.cancelled():
            raise Cancelled("combining")

    def write(self, weights: list[float], folder: Path, recipe: Recipe | None = None,
              bar: tuple[float, float] | None = None) -> Composed:
        """Write the combination with these weights to `folder`; `bar` is the part of the progress bar this fills."""
        import torch

        chosen = recipe or self.recipe
        random: Any = torch.random
        with torch.no_grad(), random.fork_rng(devices=[]):
            random.manual_seed(chosen.seed)
            tensors, ranks = self._prompts(weights) if chosen.how == "average" else self._updates(
                weights, chosen, bar)
            heads = self._heads(weights, chosen)
        return composed.save(self.parents, tensors | heads, ranks, weights, chosen, folder)

    def measured(self, model_path: Path, data: Data, task_name: str) -> Composed:
        """Find weights where they are to be found, write the combination, and compare it with its parts."""
        from engine.comparison import Bench

        first = self.parents[0].trained
        task = first.make_task(task_name)
        validate.raise_first_error(task.check(data.train.table, data.train.columns,
                                              data.held.table if data.held else None))
        few, held = _examples(data, self.recipe, task)
        self.report(0.0, "Loading the base model", {})
        bench = Bench(model_path, first, task_name=task_name, cancelled=self.cancelled)
        self.report(LOADING, "The base model is loaded", {})
        tries: list[Try] = []
        weights = (self._search(bench, few, tries) if self.recipe.searches
                   else self.recipe.weights_for(len(self.parents)))
        made = self.write(weights, self.out, bar=None if tries else (LOADING, COMBINING))
        made.tries = [asdict(one) for one in tries]
        self._compare(bench, held, made)
        if tries:
            made.notes.append(f"The weights were found on {few.table.num_rows} examples in {len(tries)} tries; the "
                              f"comparison is on {held.table.num_rows} other rows.")
            if not any(weights):
                made.notes.append("No combination was better on the examples than no adapter at all.")
        else:
            made.notes.append(f"Compared on {held.table.num_rows} rows.")
        return made

    def _search(self, bench: Bench, few: Rows, tries: list[Try]) -> list[float]:
        from engine.lorahub import Hub, search

        count = len(self.parents)
        start = self.scratch / "start"
        self.write([1.0 / count] * count, start)
        model = bench.attach(start)
        mixed = self.parents[0].heads if self.recipe.head_mix == "weighted" else []
        hub = Hub(model, self.layers, {key: [file[key] for file in self.files] for key in mixed})
        encoded = bench.encode(few, start)

        def loss(weights: list[float]) -> float:
            self.check()
            hub.set(weights)
            value = bench.metrics(model, encoded, few)["loss"]
            return float("nan") if value is None else value

        def on_try(tried: Try, best: Try) -> None:
            tries.append(tried)
            share = len(tries) / self.recipe.evaluations
            self.report(LOADING + (SEARCHING - LOADING) * share, "Finding weights",
                        {"tried": tried.number, "of": self.recipe.evaluations, "objective": tried.objective,
                         "best": best.objective, "weights": best.weights})

        return search(loss, count, self.recipe, on_try).best.weights

    def _compare(self, bench: Bench, rows: Rows, made: Composed) -> None:
        """Score each part, the mean of their updates, and the composed adapter on the same rows."""
        count = len(self.parents)
        mean = self.scratch / "mean"
        how = "average" if self.recipe.how == "average" else "cat"
        self.write([1.0 / count] * count, mean, Recipe(how=how, seed=self.recipe.seed))
        scored = [(parent.name, "part", parent.trained.folder, weight)
                  for parent, weight in zip(self.parents, made.weights, strict=True)]
        scored += [("Their mean", "mean", mean, None), ("Composed", "composed", self.out, None)]
        began = SEARCHING if made.tries else COMBINING
        for done, (name, kind, folder, weight) in enumerate(scored):
            self.check()
            self.report(began + (1 - began) * done / len(scored), "Comparing", {})
            metrics = bench.score(folder, rows)
            made.comparison.append({"name": name, "kind": kind, "weight": weight, "metrics": metrics})
        made.metrics = made.comparison[-1]["metrics"]

    def _updates(self, weights: list[float], recipe: Recipe,
                 bar: tuple[float, float] | None) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
        """Return the combined factors by their keys, and the rank of each module."""
        from engine.arithmetic import combine

        tensors: dict[str, torch.Tensor] = {}
        ranks: dict[str, int] = {}
        embedded = {match["module"] for file in self.files for key in file
                    if (match := FACTOR.match(key)) and "embedding" in match["factor"]}
        for done, (module, updates) in enumerate(self.layers.items()):
            self.check()
            if bar is not None:
                self.report(bar[0] + (bar[1] - bar[0]) * done / len(self.layers), "Combining", {})
            largest = max(update.rank for _, update in updates)
            made = combine([update for _, update in updates], [weights[i] for i, _ in updates], recipe,
                           recipe.rank or largest)
            names = ("lora_embedding_A", "lora_embedding_B") if module in embedded else (
                "lora_A.weight", "lora_B.weight")
            for name, tensor in zip(names, (made.down, made.up), strict=True):
                tensors[f"base_model.model.{module}.{name}"] = tensor.contiguous()
            ranks[module] = made.rank
        return tensors, ranks

    def _prompts(self, weights: list[float]) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
        from engine.arithmetic import mean

        return {key: mean([file[key] for file in self.files], weights) for key in self.parents[0].prompts}, {}

    def _heads(self, weights: list[float], recipe: Recipe) -> dict[str, torch.Tensor]:
        from engine.arithmetic import mean, weighted

        found = {key: [file[key] for file in self.files] for key in self.parents[0].heads}
        if recipe.head_mix == "weighted":
            return {key: weighted(values, weights) for key, values in found.items()}
        count = 1 if recipe.head_mix == "first" else len(self.files)
        return {key: mean(values[:count]) for key, values in found.items()}


def _layers(parents: Sequence[Parent],
            files: Sequence[dict[str, torch.Tensor]]) -> dict[str, list[tuple[int, Update]]]:
    """Return for each module that any adapter updates (index of the adapter, its update)."""
    from engine.arithmetic import Update

    layers: dict[str, list[tuple[int, Update]]] = {}
    for index, (parent, file) in enumerate(zip(parents, files, strict=True)):
        factors: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in file.items():
            if match := FACTOR.match(key):
                factors.setdefault(match["module"], {})[match["factor"][-1]] = value.float()
        for module, pair in factors.items():
            layers.setdefault(module, []).append((index, Update(pair["A"], pair["B"], parent.scale(module))))
    return layers


def _examples(data: Data, recipe: Recipe, task: Any) -> tuple[Rows, Rows]:
    """Return the rows to find weights on and those to compare on; they share none where weights are searched."""
    from engine.comparison import Rows

    train, columns = data.train.table, data.train.columns
    if not recipe.searches:
        return data.train, _at_most(data.held or data.train, recipe, task)
    stratify = task.stratify_by(columns)
    # At least one row must be left to compare on, unless others were kept apart.
    wanted = min(recipe.examples, train.num_rows - 1)
    rest, few = split.split(train, wanted / train.num_rows, recipe.seed, stratify)
    return Rows(few, columns), _at_most(data.held or Rows(rest, columns), recipe, task)


def _at_most(rows: Rows, recipe: Recipe, task: Any) -> Rows:
    from engine.comparison import Rows

    if rows.table.num_rows <= MOST_ROWS:
        return rows
    share = MOST_ROWS / rows.table.num_rows
    return Rows(split.split(rows.table, share, recipe.seed, task.stratify_by(rows.columns))[1], rows.columns)


def _unheard(fraction: float, text: str, facts: dict[str, Any]) -> None:
    """Progress nobody asked for."""
