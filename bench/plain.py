"""The script people write: `Trainer` and peft on a csv, until the first optimizer step; prints when that was over.

`python bench/plain.py MODEL_DIR FILE.csv TEXT LABEL` imports nothing of this project.
"""

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)


class FirstStep(TrainerCallback):
    """Prints the time (Unix, seconds) of the first finished update and ends the training."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Called by Trainer after every update."""
        print(f"first step at {time.time()}", flush=True)
        control.should_training_stop = True


def main() -> None:
    """Load, tokenise, train one step."""
    model_dir, path, text, label = sys.argv[1:]
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row[label] for row in rows})
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    encoded = tokenizer([row[text] for row in rows], truncation=True, max_length=64)
    examples = [{"input_ids": ids, "labels": labels.index(row[label])}
                for ids, row in zip(encoded["input_ids"], rows, strict=True)]
    model = AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=len(labels))
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear",
                                             task_type=TaskType.SEQ_CLS))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, per_device_train_batch_size=16, num_train_epochs=5, learning_rate=2e-3,
                                      use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True)
        Trainer(model, arguments, train_dataset=cast("Any", examples), data_collator=DataCollatorWithPadding(tokenizer),
                callbacks=[FirstStep()]).train()


if __name__ == "__main__":
    main()
