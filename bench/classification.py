"""LoRA on MiniLM, real texts of very different lengths, against `Trainer` with peft: speed, then quality.

`python -m bench.classification [--rounds 5] [--rows 1600] [--threads 1] [--seeds 0] [--data FOLDER]`
The texts are questions about fairy tales, most of them followed by the beginning of the tale; the label is what the
question asks about (seven kinds). Uncut, their median is near 46 tokens and their mean near 145.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import sidebyside
from engine import models
from engine import spec as specs

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def texts(folder: Path, source: Path, rows: int, seed: int = 0) -> tuple[Path, Path]:
    """Write train.csv and eval.csv with columns text and label; return their paths."""
    kinds = {}
    for part in ("train", "val"):
        for line in (source / f"{part}_qa.jsonl").read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            kinds[item["question"].strip()] = item["attribute"]
    random = np.random.default_rng(seed)
    paths = []
    for part, count in (("train", rows), ("val", 500)):
        tales = json.loads((source / f"{part}_squad.json").read_text(encoding="utf-8"))["data"]
        found = [(qa["question"].strip(), paragraph["context"]) for tale in tales for paragraph in tale["paragraphs"]
                 for qa in paragraph["qas"] if qa["question"].strip() in kinds]
        chosen = random.permutation(len(found))[:count]
        paths.append(folder / f"{part}.csv")
        with paths[-1].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for i in chosen:
                question, context = found[i]
                words = int(random.lognormal(3.35, 1.9))
                writer.writerow([f"{question} {' '.join(context.split()[:words])}".strip(), kinds[question]])
    return paths[0], paths[1]


def spec(train: Path, held: Path, epochs: float, seed: int) -> dict[str, Any]:
    """Return the RunSpec document of the comparison."""
    return {"task": "text_classification", "model": {"id": "starter/minilm-l6"},
            "data": {"train": str(train), "eval": str(held), "columns": {"text": "text", "label": "label"}},
            "method": {"name": "lora", "r": 8}, "training": {
                "epochs": epochs, "max_length": 128, "batch_size": 16, "seed": seed, "eval_every": "never"}}


def main() -> None:
    """Measure speed, then (with --seeds) quality, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=0, help="seeds of the quality comparison; 0 leaves it out")
    parser.add_argument("--epochs", type=float, default=3, help="epochs of the quality comparison")
    parser.add_argument("--data", type=Path, default=SHARED / "fairytaleqa")
    options = parser.parse_args()
    sides = ("default", "tuned", "ours")
    with tempfile.TemporaryDirectory() as folder:
        train, held = texts(Path(folder), options.data, options.rows)
        work, lengths, shape = work_of(specs.parse(spec(train, held, 1, 0)))
        print(f"{len(lengths)} rows of {statistics.mean(lengths):.0f} tokens (median {statistics.median(lengths)})")
        rate = {dtype: sidebyside.best_rate(shape, dtype, options.threads) for dtype in ("fp32", "bf16")}
        if options.rounds:
            found = sidebyside.measure(spec(train, held, 1, 0), sides, options.rounds, options.threads)
            sidebyside.report("MiniLM LoRA r 8, cap 128, batch 16", found, work, len(lengths), "accuracy", rate)
        scores: dict[str, list[float]] = {side: [] for side in sides}
        for seed in range(options.seeds):
            document = spec(train, held, options.epochs, seed)
            for side, runs in sidebyside.measure(document, sides, 1, options.threads).items():
                scores[side].append(runs[0]["metrics"]["accuracy"])
        if options.seeds:
            print(json.dumps({"accuracy": scores, "mean": {side: statistics.mean(v) for side, v in scores.items()}},
                             indent=1))


def work_of(run: specs.RunSpec) -> tuple[float, list[int], Any]:
    from bench.peers import prepared

    made = prepared(run)
    lengths = [len(row["input_ids"]) for row in made["train"].rows]
    shape = models.inspect(models.locate(run.model.id).path)
    return sidebyside.flops(shape, lengths, run.method.trainable(shape), causal=False), lengths, shape


if __name__ == "__main__":
    main()
