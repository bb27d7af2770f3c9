"""LoRA on a small chat model, conversations up to 512 tokens, against `Trainer` with dynamic padding.

`python -m bench.causal_lm [--rounds 5] [--rows 48] [--threads 1] [--model starter/smollm2-135m] [--data FOLDER]`
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import sidebyside
from engine import models
from engine import spec as specs

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def talks(folder: Path, source: Path, rows: int) -> Path:
    """Write conversations about fairy tales, a third with the tale before the question; return the file."""
    tales = json.loads((source / "train_squad.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for tale in tales for paragraph in tale["paragraphs"]]
    found = [(paragraph["context"], qa) for paragraph in paragraphs for qa in paragraph["qas"]]
    path = folder / "talks.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i, (context, qa) in enumerate(found[:: max(1, len(found) // rows)][:rows]):
            asked = f"{context}\n\n{qa['question']}" if i % 3 == 0 else qa["question"]
            file.write(json.dumps({"messages": [{"role": "user", "content": asked},
                                                {"role": "assistant", "content": qa["answers"][0]["text"]}]}) + "\n")
    return path


def spec(train: Path, model: str) -> dict[str, Any]:
    """Return the RunSpec document of the comparison."""
    return {"task": "causal_lm", "model": {"id": model},
            "data": {"train": str(train), "columns": {"messages": "messages"}, "options": {"learn_from": "everything"}},
            "method": {"name": "lora", "r": 8},
            "training": {"epochs": 1, "max_length": 512, "batch_size": 8, "seed": 0, "eval_every": "never"}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="starter/smollm2-135m")
    parser.add_argument("--data", type=Path, default=SHARED / "fairytaleqa")
    options = parser.parse_args()
    from bench.peers import prepared

    with tempfile.TemporaryDirectory() as folder:
        document = spec(talks(Path(folder), options.data, options.rows), options.model)
        run = specs.parse(document)
        made, shape = prepared(run), models.inspect(models.locate(options.model).path)
        rows = made["train"].rows
        lengths = [len(row["input_ids"]) for row in rows]
        print(f"{len(lengths)} rows of {statistics.mean(lengths):.0f} tokens (median {statistics.median(lengths)})")
        work = sidebyside.flops(shape, lengths, run.method.trainable(shape), causal=True,
                                scored=sum(made["task"].targets(row) for row in rows))
        rate = {dtype: sidebyside.best_rate(shape, dtype, options.threads) for dtype in ("fp32", "bf16")}
        found = sidebyside.measure(document, ("default", "tuned", "ours"), options.rounds, options.threads)
        sidebyside.report(f"{options.model} LoRA r 8, cap 512, batch 8", found, work, len(rows), "loss", rate)


if __name__ == "__main__":
    main()
