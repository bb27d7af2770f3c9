"""One timed training by one side: ours, or `Trainer` with peft as people use it. Run in a process of its own.

`python -m bench.peers SIDE job.json` prints one line of JSON. Sides: `ours`; `default`: dynamic padding, fp32, peft
LoRA; `tuned`: the same with bf16=True and length grouping. All train the same rows, ranks, rates and schedule; only
the updates are timed, not imports, loading or scoring.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from engine import spec as specs
from engine.spec import RunSpec


def main() -> None:
    """Run the side named on the command line and print what it measured."""
    side, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    run = specs.parse(job["spec"])
    found = ours(run) if side == "ours" else theirs(run, tuned=side == "tuned")
    print(json.dumps({"side": side, "load": os.getloadavg()[0]} | found))


def ours(run: RunSpec) -> dict[str, Any]:
    """Train with this project."""
    from engine.events import Event, RunPrepared, StageEntered, StepsTrained
    from engine.train import run as train

    clock: dict[str, float] = {}
    total = 0

    def listen(event: Event) -> None:
        nonlocal total
        if isinstance(event, RunPrepared):
            total = event.total_steps
        elif isinstance(event, StageEntered) and event.stage == "train":
            clock.update(cpu=time.process_time(), wall=time.perf_counter())
        elif isinstance(event, StepsTrained) and event.step == total:
            clock.update(cpu=time.process_time() - clock["cpu"], wall=time.perf_counter() - clock["wall"])

    with tempfile.TemporaryDirectory() as folder:
        result = train(run, Path(folder) / "out", on_event=listen)
    assert result["state"] == "succeeded", result["error"]
    return {"cpu_seconds": clock["cpu"], "wall_seconds": clock["wall"], "metrics": result["metrics"],
            "padding_fraction": result["throughput"]["padding_fraction"], "precision": result["resolved"]["precision"]}


def theirs(run: RunSpec, *, tuned: bool) -> dict[str, Any]:
    """Train with transformers' Trainer and peft, then score with our evaluation."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    torch.manual_seed(run.training.seed)
    made = prepared(run)
    task, rows, pad_id = made["task"], made["train"].rows, made["tokenizer"].pad_token_id or 0
    counts = {"real": 0, "padded": 0}

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        found = task.collate(batch, pad_id)
        counts["real"] += int(found["attention_mask"].sum())
        counts["padded"] += found["attention_mask"].numel()
        if "targets" in found:
            targets = found.pop("targets")
            found["labels"] = torch.cat([torch.full_like(targets[:, :1], -100), targets[:, :-1]], dim=1)
        return found

    clock: dict[str, float] = {}

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.update(cpu=time.process_time(), wall=time.perf_counter())

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            clock.update(cpu=time.process_time() - clock["cpu"], wall=time.perf_counter() - clock["wall"])

    training = run.training
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=training.batch_size, num_train_epochs=training.epochs,
            learning_rate=made["rate"], lr_scheduler_type=training.schedule, warmup_steps=training.warmup,
            weight_decay=training.weight_decay, seed=training.seed, report_to=[], save_strategy="no", use_cpu=True,
            logging_strategy="no", disable_tqdm=True, remove_unused_columns=False, bf16=tuned,
            train_sampling_strategy="group_by_length" if tuned else "random")
        trainer = Trainer(made["model"], arguments, data_collator=collate, train_dataset=cast("Any", _Rows(rows)),
                          callbacks=[Clock()])
        trainer.train()
    return {"cpu_seconds": clock["cpu"], "wall_seconds": clock["wall"], "metrics": _scored(made, pad_id),
            "padding_fraction": 1 - counts["real"] / counts["padded"], "precision": "bf16" if tuned else "fp32"}


class _Rows:
    """Encoded rows as a dataset."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def prepared(run: RunSpec) -> dict[str, Any]:
    """Return model with LoRA as peft makes it, tokenizer, encoded rows and rate."""
    from engine import models
    from engine.data import read, split

    task, columns = run.make_task(), dict(run.data.columns)
    located = models.locate(run.model.id)
    train = read.read(Path(run.data.train))
    held = read.read(Path(run.data.eval)) if run.data.eval else None
    if held is None:
        train, held = split.split(train, task.eval_fraction, run.training.seed, task.stratify_by(columns))
    labels = task.label_names(train, columns)
    loaded = models.load(located.path, task, labels, dtype="fp32")
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        raise RuntimeError(f"{run.model.id} has no tokenizer")
    task.prepare_tokenizer(tokenizer, columns)
    length = min(run.training.max_length, loaded.shape.max_length or run.training.max_length)
    rate = run.training.learning_rate
    return {"task": task, "tokenizer": tokenizer, "labels": labels, "columns": columns, "held": held,
            "train": task.encode(train, columns, tokenizer, length, labels),
            "eval": task.encode(held, columns, tokenizer, length, labels),
            "model": run.method.attach(loaded.model, loaded.shape, loaded.heads),
            "rate": run.method.learning_rate(loaded.shape, task.name) if rate == "auto" else rate}


def _scored(made: dict[str, Any], pad_id: int) -> dict[str, float]:
    import torch

    from engine.batches import split

    task, rows, model = made["task"], made["eval"].rows, made["model"].eval()
    batches = ((part, task.collate([rows[i] for i in part], pad_id))
               for part in split(range(len(rows)), [len(row["input_ids"]) for row in rows], 4096))
    with torch.inference_mode():
        return task.evaluate(model, made["eval"], made["held"], made["columns"], made["labels"], batches).metrics


if __name__ == "__main__":
    main()
