"""What each method costs: a step beside forward alone and full fine-tuning, the memory it keeps, caches, merging.

Steps are those of `engine.loop` without packing: forward, backward, clip and update, in fp32, on one thread, the same
padded batch for all. Everything compared in a row is taken in turn in one process.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import classification as texts
from bench.report import Row
from engine import methods, models, precision, tasks
from engine import spec as specs
from engine.optimizer import FlatAdamW

#: At most this share of full fine-tuning's time, and of its memory above the weights.
FASTER, SMALLER = 0.8, 0.6
PROMISED = ("lora", "bitfit", "adapter", "adaptformer", "ia3", "ssf", "prompt_tuning", "p_tuning_v2", "prefix_tuning")
#: Settings a method cannot do without.
NEEDED: dict[str, dict[str, Any]] = {"trainable_tokens": {"tokens": [100, 200, 300]}}
ROWS, TOKENS = 8, 64
THREADS = 1
EPOCHS = 3
#: A cached second epoch must be this many times faster than an uncached one.
CACHED = 3.0


@dataclass
class Subject:
    """A method on a model, ready to make steps."""

    name: str
    step: Callable[[], None]
    model: Any
    trained: int
    kept: int = 0


def measure(quick: bool) -> list[Row]:
    """Return the rows: step time and memory of every method on MiniLM and a 30M Llama."""
    torch.set_num_threads(THREADS)
    rounds, steps = (2, 2) if quick else (7, 3)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for title, path, task in (("MiniLM", models.locate("starter/minilm-l6").path, "text_classification"),
                                  ("Llama 30M", _llama(Path(folder) / "llama"), "causal_lm")):
            rows += _costs(title, path, task, rounds, steps)
            gc.collect()
    return rows


def once(quick: bool) -> list[Row]:
    """Return the rows of what is computed only once: hidden states of frozen blocks, and merging."""
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        return [*_caching(Path(folder), quick), _merged(20 if quick else 200)]


# -- steps -------------------------------------------------------------------------------------------------------------


def _costs(title: str, path: Path, task_name: str, rounds: int, steps: int) -> list[Row]:
    shape = models.inspect(path)
    batch = _batch(task_name, shape.vocab)
    subjects: list[Subject] = []
    for name, kind in methods.every().items():
        method = kind.model_validate({"name": name} | NEEDED.get(name, {}))
        if not method.obstacles(shape.for_task(task_name), task_name, None):
            subjects.append(_subject(name, method, path, task_name, batch))
    for subject in subjects:
        subject.kept = _kept(subject)
    taken: dict[str, list[float]] = {subject.name: [] for subject in subjects} | {"forward": []}
    full = next(subject for subject in subjects if subject.name == "full")
    for turn in range(rounds + 1):  # the first round warms up
        for subject in subjects:
            taken[subject.name].append(_seconds(subject.step, steps))
        taken["forward"].append(_seconds(lambda: _forward(full.model, task_name, batch), steps))
        if not turn:
            taken = {name: [] for name in taken}
    return [row for subject in subjects if subject.name != "full" for row in _rows(title, subject, full, taken)]


def _rows(title: str, subject: Subject, full: Subject, taken: dict[str, list[float]]) -> Iterator[Row]:
    ours, theirs, bare = (1000 * statistics.median(taken[name]) for name in (subject.name, "full", "forward"))
    ratio = statistics.median(a / b for a, b in zip(taken[subject.name], taken["full"], strict=True))
    note = f"{subject.trained:,} trained; {ours / bare:.1f} × forward alone"
    promised = subject.name in PROMISED
    # The median of the rounds' ratios is steadier than the ratio of medians; the peer's figure is shown by it.
    yield Row(f"{title}, {subject.name}: a step beside full fine-tuning", ours, "ms",
              ours / ratio if promised else None, "peer", FASTER,
              note=note if promised else f"{note}; {ratio:.2f} × full ({theirs:.0f} ms)")
    kept, whole = subject.kept / 2**20, full.kept / 2**20
    yield Row(f"{title}, {subject.name}: memory above the weights", kept, "MiB", whole if promised else None, "peer",
              SMALLER, note="kept for the backward pass, gradients, moments"
              + ("" if promised else f"; {kept / whole:.2f} × full"))


def _subject(name: str, method: Any, path: Path, task_name: str, batch: dict[str, Any]) -> Subject:
    task = tasks.get(task_name)(name=task_name)
    torch.manual_seed(0)
    labels = ["0", "1"] if task_name == "text_classification" else []
    loaded = models.load(path, task, labels, dtype=torch.float32)
    model: Any = method.attach(loaded.model, loaded.shape, loaded.heads)
    method.begin(model, loaded.tokenizer, labels, None)
    precision.keep_trained_in_fp32(model)
    if method.needs_data:
        method.initialise(model, [task.inputs(model, batch)])
    optimizer = FlatAdamW(method.groups(model, 1e-4, 0.0))
    precision.training_mode(model, getattr(loaded.model, "base_model", None))
    done = 0

    def step() -> None:
        nonlocal done
        method.before_update(model, done, 1000)
        task.loss(model, batch).div(ROWS).backward()
        penalty = method.penalty(model)
        if penalty is not None:
            penalty.backward()
        optimizer.clip(1.0)
        optimizer.step(1.0)
        method.after_update(model, done, 1000)
        optimizer.forget()
        done += 1

    return Subject(name, step, model, sum(p.numel() for p in model.parameters() if p.requires_grad))


def _kept(subject: Subject) -> int:
    """Return the bytes that a step keeps beside the weights: saved for the backward pass, gradients and two moments."""
    weights = {p.untyped_storage().data_ptr() for p in subject.model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        for part in (tensor._indices(), tensor._values()) if tensor.is_sparse else (tensor,):
            storage = part.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        subject.step()
    return sum(saved.values()) + 12 * subject.trained


def _batch(task_name: str, vocabulary: int) -> dict[str, Any]:
    torch.manual_seed(1)
    ids = torch.randint(5, vocabulary, (ROWS, TOKENS))
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if task_name == "text_classification":
        return batch | {"labels": torch.randint(0, 2, (ROWS,))}
    return batch | {"targets": torch.cat([ids[:, 1:], torch.full((ROWS, 1), -100)], dim=1)}


def _forward(model: Any, task_name: str, batch: dict[str, Any]) -> None:
    with torch.no_grad():
        tasks.get(task_name)(name=task_name).loss(model, batch)


def _seconds(work: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - began) / count


def _llama(folder: Path) -> Path:
    """Write a Llama of 30 million random weights; what a step costs does not depend on their values."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from engine import tiny
    from engine.skeleton import quiet

    config = LlamaConfig(vocab_size=8_000, hidden_size=512, intermediate_size=1376, num_hidden_layers=7,
                         num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=512, pad_token_id=0)
    with quiet():
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tiny.tokenizer().save_pretrained(folder)
    return folder


# -- hidden states computed once ---------------------------------------------------------------------------------------


def _caching(folder: Path, quick: bool) -> list[Row]:
    """Return the second epoch's updates with and without cached hidden states, as real runs make them."""
    train, held = texts.texts(folder, texts.SHARED / "fairytaleqa", 96 if quick else 320)
    rows = []
    for title, method in (("head only", {"name": "head"}), ("last block", {"name": "layers", "top": 1}),
                          ("LoRA in the last block", {"name": "lora", "layers": 1})):
        document = texts.spec(train, held, EPOCHS, 0) | {"method": method}
        document["training"] = document["training"] | {"eval_every": "never", "precision": "fp32"}
        cached, plain = (_second_epoch(document, folder / f"{title}-{keep}", keep) for keep in (True, False))
        rows.append(Row(f"MiniLM, {title}: second epoch, hidden states kept", 1 / cached, "epochs/s", 1 / plain, "peer",
                        CACHED, higher=True, note="peer: computed anew in every epoch; updates alone, fp32"))
    return rows


def _second_epoch(document: dict[str, Any], out: Path, keep: bool) -> float:
    """Train as `document` says and return the seconds that the updates of the second epoch took."""
    from engine import hidden, loop
    from engine.train import run

    taken: dict[int, float] = {}
    update = loop.Loop._update  # pyright: ignore[reportPrivateUsage]

    def timed(self: Any, chosen: Any) -> Any:
        began = time.perf_counter()
        found = update(self, chosen)
        epoch = self.step // self.per_epoch
        taken[epoch] = taken.get(epoch, 0.0) + time.perf_counter() - began
        return found

    with _replaced(loop.Loop, "_update", timed), \
            _replaced(hidden, "worthwhile", hidden.worthwhile if keep else lambda *_: False):
        result = run(specs.parse(document), out, resume=False)
    if result["state"] != "succeeded":
        raise RuntimeError(f"the run ended as {result['state']}: {result.get('error')}")
    return taken[1]


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


# -- a merged adapter --------------------------------------------------------------------------------------------------


def _merged(rounds: int) -> Row:
    """Return how long MiniLM takes with LoRA merged, beside the base itself."""
    task = tasks.get("text_classification")(name="text_classification")
    path = models.locate("starter/minilm-l6").path
    batch = _batch("text_classification", 30_000)
    sides: list[Any] = []
    for wrap in (True, False):
        torch.manual_seed(0)
        loaded = models.load(path, task, ["0", "1"], dtype=torch.float32)
        model: Any = loaded.model
        if wrap:
            model = methods.get("lora")(name="lora").attach(model, loaded.shape, loaded.heads)
            model = model.merge_and_unload()
        sides.append(model.eval().requires_grad_(False))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    taken: list[list[float]] = [[], []]
    for _ in range(rounds):
        for side, times in zip(sides, taken, strict=True):
            with torch.inference_mode():
                times.append(_seconds(lambda side=side: side(**inputs), 1))
    ours, theirs = (1000 * statistics.median(times[rounds // 10:]) for times in taken)
    return Row("MiniLM, LoRA merged: a forward pass beside the base", ours, "ms", theirs, "peer", 1.02,
               note=f"median of {rounds}, interleaved, {ROWS} × {TOKENS} tokens, one thread")
