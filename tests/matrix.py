"""The compatibility matrix: every method on every architecture, task and storage, really run on tiny models.

    python tests/matrix.py                      every cell, about forty minutes; writes the record and docs/matrix.md
    python tests/matrix.py --methods lora ssf   these methods only; the rest of the record stays

A cell loads a tiny model, attaches the method, makes two updates, saves, and compares its outputs with those of a fresh
process that loads what was saved.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "contract")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")

import pictures  # noqa: E402
import puzzles  # noqa: E402
import pyarrow as pa  # noqa: E402
import toys  # noqa: E402

from engine import compatibility, methods, models, skeleton, tasks, tiny  # noqa: E402
from engine.compatibility import PLAIN, Tried  # noqa: E402
from engine.data import columns, read  # noqa: E402
from engine.shape import ModelShape  # noqa: E402

PAGE = ROOT / "docs" / "matrix.md"
STORAGES = (PLAIN, "int8", "nf4")
#: Architectures whose base is also tried in 8 and 4 bits: one of each kind.
QUANTIZED = ("bert", "gpt2", "llama", "t5")
#: Settings that a method cannot do without.
NEEDED: dict[str, dict[str, Any]] = {"trainable_tokens": {"tokens": [5, 9, 17]}}
#: Largest difference of outputs, relative to the largest of them, that loading may make.
TOLERANCE = 1e-4
LONGEST = 48

Samples = dict[str, tuple[pa.Table, dict[str, str]]]


class Cell(NamedTuple):
    """One combination; `storage` is plain, int8 or nf4."""

    method: str
    architecture: str
    task: str
    storage: str


@dataclass
class Saved:
    """What a cell left on disk, to be loaded by a process that knows nothing of it."""

    cell: Cell
    base: Path
    folder: Path
    inputs: Path
    auto: str
    labels: int


def cells(names: Iterable[str], architectures: Iterable[str], shapes: dict[str, ModelShape]) -> Iterator[Cell]:
    """Yield every combination in which the architecture can do the task at all, quantized bases for a few of them."""
    for method in names:
        for architecture in architectures:
            for task in shapes[architecture].task_heads:
                for storage in STORAGES if architecture in QUANTIZED else (PLAIN,):
                    yield Cell(method, architecture, task, storage)


def sample(task: str, folder: Path) -> tuple[pa.Table, dict[str, str]]:
    """Return a few rows for a task and the column of each role."""
    folder.mkdir(parents=True, exist_ok=True)
    if task == "image_classification":
        path = folder / "images.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for label in pictures.CLASSES:
                for i in range(2):
                    archive.writestr(f"{label}/{i}.png", pictures.data(pictures.noise(label, i)))
    elif task in puzzles.MODELS:
        path = puzzles.write(task, folder)
    else:
        path = toys.texts(folder, 8) if task == "text_classification" else toys.talks(folder, 8)
    table = read.read(path)
    return table, puzzles.COLUMNS.get(task) or dict(columns.guess(table).columns)


def attempt(cell: Cell, base: Path, shape: ModelShape, place: Path, samples: Samples) -> Tried | Saved:
    """Run one cell up to what it saves; return that, or what stopped it."""
    import torch
    from safetensors.torch import save_file

    from engine import evaluate, precision
    from engine.optimizer import FlatAdamW

    method = methods.get(cell.method).model_validate({"name": cell.method} | NEEDED.get(cell.method, {}))
    quantization = None if cell.storage == PLAIN else cell.storage
    reasons = method.obstacles(shape.for_task(cell.task), cell.task, quantization)
    if reasons:
        return Tried("refused", " ".join(reasons))
    task = tasks.get(cell.task)(name=cell.task)
    table, roles = samples[cell.task]
    labels = task.label_names(table, roles)
    torch.manual_seed(0)
    loaded = models.load(base, task, labels, dtype=torch.float32, quantization=quantization, shape=shape)
    task.prepare_tokenizer(loaded.tokenizer, roles)
    model: Any = method.attach(loaded.model, loaded.shape, loaded.heads)
    method.begin(model, loaded.tokenizer, labels, None)
    precision.keep_trained_in_fp32(model)
    room = (shape.max_length or LONGEST) - method.virtual_tokens(shape)
    rows = task.encode(table, roles, loaded.tokenizer, min(LONGEST, room), labels).rows[:4]
    batch = evaluate.to_device(task.collate(rows, 0), "cpu")
    if method.needs_data:
        method.initialise(model, [task.inputs(model, batch)])
    optimizer = FlatAdamW(method.groups(model, method.learning_rate(shape, cell.task), 0.0))
    precision.training_mode(model, None)
    for step in range(2):
        method.before_update(model, step, 2)
        loss = task.loss(model, batch)
        loss.backward()
        if not bool(torch.isfinite(loss)) or not float(optimizer.gradient_norm()):
            return Tried("fails", f"after {step} updates the loss was {float(loss):g} and its gradient "
                                  f"{float(optimizer.gradient_norm()):g}.")
        optimizer.clip(1.0)
        optimizer.step(1.0)
        method.after_update(model, step, 2)
        optimizer.forget()
    method.conclude(model)
    model.eval()
    inputs = {name: value.contiguous() for name, value in task.inputs(model, batch).items()}
    with torch.no_grad():
        found = outputs(model(**inputs))
    optimizer.release()
    method.save(model, place)
    if method.artifact == "adapter":
        config = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
        (place / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    save_file(inputs | {f"out.{name}": value for name, value in found.items()}, place / "seen.safetensors")
    return Saved(cell, base, place, place / "seen.safetensors", task.auto_class().__name__, len(labels))


def outputs(out: Any) -> dict[str, Any]:
    """Return the scores in what a model gives out."""
    return {name: out[name].float().contiguous() for name in ("logits", "start_logits", "end_logits") if name in out}


LOADER = """
import json, sys, warnings, torch, transformers
from peft import PeftModel
import engine.tuners
from safetensors.torch import load_file
warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
found = []
for base, folder, seen, auto, labels, storage, task in json.load(open(sys.argv[1])):
    try:
        Auto = getattr(transformers, auto)
        extra = {"num_labels": labels, "ignore_mismatched_sizes": True} if labels else {}
        if folder.endswith("model"):
            model = Auto.from_pretrained(folder, dtype=torch.float32)
        elif storage == "plain":
            model = PeftModel.from_pretrained(Auto.from_pretrained(base, dtype=torch.float32, **extra), folder)
        else:
            from pathlib import Path
            from engine import models, tasks
            kind = tasks.get(task)(name=task)
            loaded = models.load(Path(base), kind, [str(i) for i in range(labels)], dtype=torch.float32,
                                 quantization=storage)
            model = PeftModel.from_pretrained(loaded.model, folder)
        values = load_file(seen)
        with torch.no_grad():
            out = model.eval()(**{name: value for name, value in values.items() if not name.startswith("out.")})
        off = max(float((out[name[4:]].float() - value).abs().max() / value.abs().max().clamp(min=1e-3))
                  for name, value in values.items() if name.startswith("out."))
        found.append(off)
    except Exception as error:
        found.append(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
json.dump(found, open(sys.argv[2], "w"))
"""


def load_again(saved: Sequence[Saved], folder: Path) -> list[Tried]:
    """Load everything in one fresh process and compare what the models say with what they said when they were saved."""
    if not saved:
        return []
    asked, answer = folder / "asked.json", folder / "answer.json"
    asked.write_text(json.dumps([
        [str(s.base), str(s.folder), str(s.inputs), s.auto, s.labels, s.cell.storage, s.cell.task] for s in saved]))
    done = subprocess.run([sys.executable, "-c", LOADER, str(asked), str(answer)], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [Tried("works") if isinstance(off, float) and off <= TOLERANCE else
            Tried("fails", f"loaded again, {off if isinstance(off, str) else f'its outputs are off by {off:.1e}'}.")
            for off in json.loads(answer.read_text())]


def run(chosen: Sequence[Cell], shapes: dict[str, ModelShape], folders: dict[str, Path],
        place: Path) -> dict[Cell, Tried]:
    """Run cells and return what came of each."""
    found: dict[Cell, Tried] = {}
    saved: list[Saved] = []
    samples = {task: sample(task, place / task) for task in {cell.task for cell in chosen}}
    for number, cell in enumerate(chosen):
        try:
            with skeleton.quiet():
                made = attempt(cell, folders[cell.architecture], shapes[cell.architecture],
                               place / str(number) / ("model" if _whole(cell) else "adapter"), samples)
        except Exception as error:  # whatever it is, the cell failed and says so
            made = Tried("fails", f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")
        if isinstance(made, Saved):
            saved.append(made)
        else:
            found[cell] = made
    found |= dict(zip((s.cell for s in saved), load_again(saved, place), strict=True))
    return {cell: found[cell] for cell in chosen}


def _whole(cell: Cell) -> bool:
    return methods.get(cell.method).artifact == "model"


def prepared(architectures: Iterable[str], folder: Path) -> tuple[dict[str, ModelShape], dict[str, Path]]:
    """Make the tiny models and return their shapes and folders."""
    folders = {name: tiny.folder(name, folder) for name in architectures}
    return {name: models.inspect(path) for name, path in folders.items()}, folders


def nested(found: dict[Cell, Tried], shapes: dict[str, ModelShape]) -> dict[str, Any]:
    """Return cells by method, model type, task and storage."""
    made: dict[str, Any] = {}
    for cell, what in found.items():
        kind = shapes[cell.architecture].model_type
        made.setdefault(cell.method, {}).setdefault(kind, {}).setdefault(cell.task, {})[cell.storage] = what
    return made


def page(record: dict[str, Any]) -> str:
    """Return docs/matrix.md: a table of methods and architectures for each task, with what was refused and why."""
    marks = {"works": "●", "refused": "–", "fails": "✕"}
    lines = ["# What goes with what", "",
             "Every cell was run on a tiny model of that architecture: two updates, saved, loaded by a fresh process, "
             "outputs compared. Made by `make matrix`.", "",
             "● works · – refused with a reason, before anything starts · ✕ failed, and is refused. Three marks stand "
             "for a base in full precision, int8 and nf4; quantized bases are tried for one architecture of each kind.",
             ""]
    kinds = list(dict.fromkeys(kind for by_type in record.values() for kind in by_type))
    for task in dict.fromkeys(task for by in record.values() for tasks_of in by.values() for task in tasks_of):
        columns = [kind for kind in kinds if any(task in by_type.get(kind, {}) for by_type in record.values())]
        lines += [f"## {tasks.get(task).card.title}", "", "| Method | " + " | ".join(columns) + " |",
                  "|---" * (len(columns) + 1) + "|"]
        for method, by_type in record.items():
            row = ["".join(marks[by_type[kind][task][storage].state] if storage in by_type[kind].get(task, {}) else " "
                           for storage in STORAGES) if kind in by_type else "" for kind in columns]
            lines.append(f"| [{method}](methods/{method}.md) | " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join([*lines, *_reasons(record)])


def _reasons(record: dict[str, Any]) -> list[str]:
    lines = ["## Why not", "", "| Method | Reason | Where |", "|---|---|---|"]
    for method, by_type in record.items():
        why: dict[str, dict[str, None]] = {}
        for kind, by_task in by_type.items():
            for storages in by_task.values():
                for storage, what in storages.items():
                    if what.state != "works":
                        place = kind if storage == PLAIN else f"{kind} ({storage})"
                        why.setdefault(what.reason.replace("|", "\\|"), {})[place] = None
        lines += [f"| {method} | {reason} | {', '.join(places)} |" for reason, places in why.items()]
    return [*lines, ""]


def keep(record: dict[str, Any]) -> None:
    """Write the record and its page, methods in the order of their cards."""
    ordered = {name: record[name] for name in methods.every() if name in record}
    compatibility.write(ordered)
    PAGE.write_text(page(ordered), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; return 1 when a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(methods.every()))
    parser.add_argument("--architectures", nargs="*", default=list(tiny.SMALL | tiny.CONVOLUTIONAL))
    options = parser.parse_args(arguments)
    started = time.monotonic()
    record = compatibility.record() if compatibility.RECORD.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        shapes, folders = prepared(options.architectures, Path(folder))
        for method in options.methods:
            chosen = list(cells([method], options.architectures, shapes))
            found = run(chosen, shapes, folders, Path(folder) / method)
            by_type = nested(found, shapes).get(method, {})
            record[method] = record.get(method, {}) | by_type
            states = [what.state for what in found.values()]
            print(f"{time.monotonic() - started:6.0f} s  {method:18} " + ", ".join(
                f"{states.count(state)} {state}" for state in ("works", "refused", "fails")), flush=True)
            keep(record)
            for cell, what in found.items():
                if what.state == "fails":
                    print(f"          {cell.architecture} {cell.task} {cell.storage}: {what.reason}", flush=True)
    return int(any(what.state == "fails" for by_type in record.values() for by_task in by_type.values()
                   for storages in by_task.values() for what in storages.values()))


if __name__ == "__main__":
    sys.exit(main())
