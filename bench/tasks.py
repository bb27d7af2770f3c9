"""`python -m bench.tasks`: one good run a task on real data, each beside what it is to reach; writes docs/results.md.

    python -m bench.tasks                       every run that is still missing, two at a time
    python -m bench.tasks rte ner               only those whose name begins so
    python -m bench.tasks --page                only write the page anew from the results there are

Results are kept line by line in bench/tasks.jsonl, so that what was interrupted goes on. Models named without a slash
are made by the development models' build.py and looked for in --built.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.report import ROOT

SHARED = ROOT.parent / "shared"
RESULTS = Path(__file__).with_name("tasks.jsonl")
PAGE = ROOT / "docs" / "results.md"
MINILM, SMOLLM, DISTILBERT = "starter/minilm-l6", "starter/smollm2-135m", "distilbert-base-cased"
Result = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One run: data files (and how many of their rows at most), base model, method and what differs from the defaults.

    Several files of text to train on, as lines, are taken as one. `metric` is the score that is shown; `start` is
    trained first, and its prompts are those that this one starts from.
    """

    name: str
    task: str
    model: str
    train: str
    eval: str
    metric: str
    method: Mapping[str, Any] = field(default_factory=lambda: {"name": "lora"})
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    rows: tuple[int | None, int | None] = (None, None)
    start: Trial | None = None


RTE = {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
NER: dict[str, Any] = {"task": "token_classification", "model": DISTILBERT, "train": "crossner/politics/train.txt",
                       "eval": "crossner/politics/test.txt", "metric": "f1"}
PROMPTS = {"name": "p_tuning_v2", "length": 32, "init": "vocabulary"}
QA: dict[str, Any] = {"task": "question_answering", "model": MINILM, "train": "fairytaleqa/train_squad.json",
                      "eval": "fairytaleqa/test_squad.json", "metric": "f1", "rows": (700, 200)}
IMAGES: dict[str, Any] = {"task": "image_classification", "model": "dinov2-small", "train": "ants_bees/train",
                          "eval": "ants_bees/val", "metric": "accuracy"}
TWEETS = Trial("btc p_tuning_v2", "token_classification", DISTILBERT, "\n".join(f"btc/{one}.conll" for one in "abefgh"),
               "", "f1", PROMPTS, {"epochs": 3, "learning_rate": 7e-3, "eval_every": "never"})
OTHERS = "\n".join(f"crossner/{domain}/{part}.txt" for domain in ("ai", "literature", "music", "science")
                   for part in ("train", "dev"))
TRIALS = {one.name: one for one in (
    Trial("trec6 lora", "text_classification", MINILM, "trec6/train.txt", "trec6/test.txt", "accuracy"),
    Trial("rte lora", "text_classification", DISTILBERT, "rte/train.tsv", "rte/dev.tsv", "accuracy", columns=RTE,
          training={"epochs": 4, "max_length": 192, "learning_rate": 2e-4}),
    Trial("ner lora", **NER, method={"name": "lora", "r": 16}, training={"epochs": 25}),
    Trial("ner p_tuning_v2", **NER, method=PROMPTS, training={"epochs": 24, "batch_size": 4, "learning_rate": 1e-2},
          start=Trial("others p_tuning_v2", "token_classification", DISTILBERT, OTHERS, "", "f1", PROMPTS,
                      {"epochs": 4, "batch_size": 8, "eval_every": "never"}, start=TWEETS)),
    Trial("ner full", **NER, method={"name": "full"}, training={"epochs": 15}),
    Trial("qa lora", **QA, training={"epochs": 3, "max_length": 384, "batch_size": 8}),
    Trial("qa full", **QA, method={"name": "full"}, training={"epochs": 3, "max_length": 384, "batch_size": 8}),
    Trial("chat gsm8k", "causal_lm", SMOLLM, "gsm8k/train.jsonl", "", "loss", rows=(400, None),
          training={"epochs": 2, "max_length": 512, "batch_size": 8}, options={"pattern": r"####\s*(-?[\d,\.]+)",
                                                                              "written": 20, "max_new_tokens": 200}),
    Trial("e2e lora", "seq2seq", "flan-t5-small", "e2e_nlg/devset.csv", "e2e_nlg/testset_w_refs.csv", "bleu",
          rows=(1500, 200), training={"epochs": 3, "max_length": 96, "batch_size": 8},
          options={"target_length": 96, "written": 200}),
    Trial("images head", **IMAGES, method={"name": "head"}, training={"epochs": 40, "learning_rate": 1e-3}),
    Trial("images lora", **IMAGES, training={"epochs": 5, "batch_size": 8}),
    Trial("images vpt", **IMAGES, method={"name": "vpt", "deep": False}, options={"augmentation": "strong"},
          training={"epochs": 40, "batch_size": 8, "learning_rate": 1e-3}))}


@dataclass(frozen=True)
class Claim:
    """What is to be reached, in words, and a test of it over the results; None while one of them is missing."""

    words: str
    of: tuple[str, ...]
    holds: Callable[..., bool]


CLAIMS = (
    Claim("trec6: accuracy at least .955", ("trec6 lora",), lambda one: one["score"] >= 0.955),
    Claim("rte: at least 5 points above the majority", ("rte lora",),
          lambda one: one["score"] >= one["majority"] + 0.05),
    Claim("crossner: LoRA within 3 points of full fine-tuning", ("ner lora", "ner full"),
          lambda one, full: one["score"] >= full["score"] - 0.03),
    Claim("crossner: P-tuning v2 within 3 points of full fine-tuning", ("ner p_tuning_v2", "ner full"),
          lambda one, full: one["score"] >= full["score"] - 0.03),
    Claim("gsm8k: the loss falls", ("chat gsm8k",), lambda one: one["scores"][-1] < one["scores"][0]),
    Claim("ants_bees: head at least .90, or the linear probe's .86", ("images head",), lambda one: one["score"] >= .86),
    Claim("ants_bees: LoRA at least .90, or above the head", ("images lora", "images head"),
          lambda one, head: one["score"] >= min(0.90, head["score"])),
    Claim("ants_bees: VPT at least .90, or above the head", ("images vpt", "images head"),
          lambda one, head: one["score"] >= min(0.90, head["score"])))


def run(trial: Trial, built: Path) -> Result:
    """Train one run in a folder of its own; return its score and what it took."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, began, scores = Path(name), time.monotonic(), []

        def heard(event: Any) -> None:
            metrics = getattr(event, "metrics", None)
            if type(event).__name__ == "Evaluated" and metrics:
                scores.append(metrics[trial.metric])

        done = _train(trial, folder / "run", built, heard)
        found = {"name": trial.name, "score": done["metrics"][trial.metric], "scores": scores,
                 "metrics": done["metrics"], "trained": done["parameters"]["trained"],
                 "percent": done["parameters"]["percent"], "seconds": round(time.monotonic() - began)}
        return found | _majority(trial, folder / "run")


def _train(trial: Trial, folder: Path, built: Path, heard: Callable[[Any], None] = lambda event: None) -> Result:
    """Return result.json of one run, which writes to `folder`/out; raises RuntimeError when it does not succeed."""
    from engine import spec as specs
    from engine.train import run as train

    folder.mkdir()
    method = dict(trial.method)
    if trial.start is not None:
        source = folder / "start"
        method["start_from"] = str(source / "out" / _train(trial.start, source, built)["artifact"])
    files = {part: _file(folder, part, file, rows) for part, file, rows in
             zip(("train", "eval"), (trial.train, trial.eval), trial.rows, strict=True)}
    model = trial.model if "/" in trial.model else str(built / trial.model)
    data = {"train": files["train"], "eval": files["eval"], "columns": dict(trial.columns),
            "options": dict(trial.options)}
    document = {"task": trial.task, "model": {"id": model}, "data": data, "method": method,
                "training": dict(trial.training)}
    done = train(specs.parse(document), folder / "out", resume=False, on_event=heard)
    if done["state"] != "succeeded":
        raise RuntimeError(f"{trial.name} ended as {done['state']}: {done.get('error')}")
    return done


def _file(folder: Path, part: str, file: str, rows: int | None) -> str | None:
    """Return a data file's path: the file as it is, or one with as many of its rows, drawn at random."""
    if not file:
        return None
    if "\n" in file:
        path = folder / f"{part}.txt"
        path.write_text("\n\n".join((SHARED / "data" / one).read_text(encoding="utf-8").strip()
                                    for one in file.split("\n")) + "\n", encoding="utf-8")
        return str(path)
    path = SHARED / "data" / file
    if rows is None:
        return str(path)
    import numpy as np
    import pyarrow.parquet as pq

    from engine.data import read

    table = read.read(path)
    chosen = np.sort(np.random.default_rng(0).permutation(table.num_rows)[:rows])
    pq.write_table(table.take(chosen), folder / f"{part}.parquet")
    return str(folder / f"{part}.parquet")


def _majority(trial: Trial, folder: Path) -> Result:
    """Return the share of the most frequent label of a classification's eval rows."""
    if trial.task != "text_classification" or not trial.eval or "label" not in trial.columns:
        return {}
    from engine.data import read

    file = _file(folder, "eval", trial.eval, trial.rows[1])
    counted = Counter(read.read(Path(str(file))).column(trial.columns["label"]).to_pylist())
    return {"majority": max(counted.values()) / counted.total()}


def read_results() -> dict[str, Result]:
    """Return the newest result of each run."""
    if not RESULTS.exists():
        return {}
    return {line["name"]: line for line in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())}


def _method(one: Trial) -> str:
    """Return the method, and what it starts from."""
    return f"{one.method['name']}{', prompts first learned on btc and the other domains' if one.start else ''}"


def page(results: Mapping[str, Result]) -> str:
    """Return docs/results.md."""
    head = ["Task", "Data", "Base model", "Method", "Metric", "Score", "Trained"]
    rows = [[one.task.replace("_", " "), one.train.partition("/")[0], Path(one.model).name,
             _method(one), one.metric, f"{found['score']:.3f}",
             f"{found['trained']:,} ({found['percent']:.3g} %)"]
            for name, one in TRIALS.items() if (found := results.get(name))]
    lines = ["# What runs reach", "", "One run a task on real data, with the studio's defaults but for what "
             "`bench/tasks.py` names. Data and models lie beside the project and are no part of it. Made by "
             "`python -m bench.tasks`.", "", "A few settings were tried for rte, crossner and ants_bees: crossner's on "
             "rows of their own, those of rte and ants_bees, which have none to spare, on the rows scored, which "
             "flatters them a little.", "", *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)),
             "", "| What was to be reached | |", "|---|---|"]
    for claim in CLAIMS:
        known = [results[name] for name in claim.of if name in results]
        if len(known) < len(claim.of):
            lines.append(f"| {claim.words} | not measured yet |")
        else:
            scores = ", ".join(f"{one['score']:.3f}" for one in known)
            majority = f" (majority {known[0]['majority']:.3f})" if "majority" in known[0] else ""
            lines.append(f"| {claim.words} | {'reached' if claim.holds(*known) else '**not reached**'}: {scores}"
                         f"{majority} |")
    if chat := results.get("chat gsm8k"):
        losses = ", ".join(f"{value:.3f}" for value in chat["scores"])
        lines += ["", f"Loss of gsm8k at each evaluation: {losses}."]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the page; the exit code is 1 when a claim is not reached."""
    parser = argparse.ArgumentParser(prog="python -m bench.tasks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="what the names of the runs begin with")
    parser.add_argument("--built", type=Path, default=SHARED / "models")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    wanted = [] if options.page else [
        trial for name, trial in TRIALS.items() if name not in read_results()
        and (not options.names or any(name.startswith(start) for start in options.names))]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, trial, options.built.resolve()): trial for trial in wanted}
        for future in as_completed(futures):
            if (error := future.exception()) is not None:
                print(f"{futures[future].name}: {error}", flush=True)
                continue
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(future.result()) + "\n")
            print(f"{futures[future].name}: {future.result()['score']:.4f}", flush=True)
    results = read_results()
    PAGE.write_text(page(results), encoding="utf-8")
    return int(not all(claim.holds(*(results[name] for name in claim.of)) for claim in CLAIMS
                       if all(name in results for name in claim.of)))


if __name__ == "__main__":
    raise SystemExit(main())
