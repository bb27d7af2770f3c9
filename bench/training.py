"""Training beside `Trainer` with peft, as rows: what `bench.classification` and `bench.causal_lm` measure."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import causal_lm as chat
from bench import classification as texts
from bench import exactness, sidebyside
from bench.report import Row
from engine import models
from engine import spec as specs
from engine.environment import cpu_features

#: Rows, rounds and seeds of the whole form, and of the quick one; quality has rows of its own.
SIZES = {False: {"rows": 256, "rounds": 5, "questions": 1000, "seeds": 5, "talks": 16},
         True: {"rows": 160, "rounds": 1, "questions": 300, "seeds": 1, "talks": 6}}
EPOCHS = 3
Found = dict[str, list[dict[str, Any]]]


def classification(quick: bool) -> list[Row]:
    """Return the rows of MiniLM with LoRA: speed beside both peers, quality over seeds, padding and MFU."""
    size = SIZES[quick]
    with tempfile.TemporaryDirectory() as folder:
        train, held = texts.texts(Path(folder), texts.SHARED / "fairytaleqa", size["rows"])
        work, lengths, shape = texts.work_of(specs.parse(texts.spec(train, held, 1, 0)))
        rate = {dtype: sidebyside.best_rate(shape, dtype, 1) for dtype in ("fp32", "bf16")}
        found = sidebyside.measure(texts.spec(train, held, 1, 0), ("default", "tuned", "ours"), size["rounds"], 1)
        quality = _quality(_questions(Path(folder), size["questions"]), size["seeds"])
    title = f"MiniLM LoRA, {len(lengths)} texts of {statistics.mean(lengths):.0f} tokens"
    # What is wanted depends on the processor: bf16 gains less without its matrix unit.
    wanted = 3.0 if cpu_features()["amx_bf16"] else 2.5
    return [_speed(title, found, "default", len(lengths), wanted), _speed(title, found, "tuned", len(lengths), 1.3),
            quality, *_informing(title, found, work, rate)]


def causal_lm(quick: bool) -> list[Row]:
    """Return the rows of a chat model with LoRA, cap 512: speed beside dynamic padding, exactness, padding and MFU."""
    from bench.peers import prepared

    size, model = SIZES[quick], "starter/smollm2-135m"
    with tempfile.TemporaryDirectory() as folder:
        document = chat.spec(chat.talks(Path(folder), chat.SHARED / "fairytaleqa", size["talks"]), model)
        run = specs.parse(document)
        made, shape = prepared(run), models.inspect(models.locate(model).path)
        rows = made["train"].rows
        lengths = [len(row["input_ids"]) for row in rows]
        work = sidebyside.flops(shape, lengths, run.method.trainable(shape), causal=True,
                                scored=sum(made["task"].targets(row) for row in rows))
        rate = {dtype: sidebyside.best_rate(shape, dtype, 1) for dtype in ("fp32", "bf16")}
        del made
        found = sidebyside.measure(document, ("default", "ours"), size["rounds"], 1)
    title = f"SmolLM2 LoRA, {len(lengths)} talks of {statistics.mean(lengths):.0f} tokens, cap 512"
    return [_speed(title, found, "default", len(lengths), 3.0), *exactness.measure(quick, model),
            *_informing(title, found, work, rate)]


def _speed(title: str, found: Found, peer: str, rows: int, wanted: float) -> Row:
    ours, theirs = (rows / _median(found[side], "cpu_seconds") for side in ("ours", peer))
    each = sorted(their["cpu_seconds"] / our["cpu_seconds"]
                  for their, our in zip(found[peer], found["ours"], strict=True))
    return Row(f"{title}: real rows a CPU second, beside the {peer} peer", ours, "rows/s", theirs, "peer", wanted,
               higher=True, note=f"medians of {len(each)}, interleaved, one thread; ratio of each round "
               f"{each[0]:.2f} to {each[-1]:.2f}")


def _questions(folder: Path, rows: int) -> dict[str, Any]:
    """Return the RunSpec document of learning six types of questions from the first `rows` of trec6."""
    source = texts.SHARED / "trec6"
    train = folder / "questions.txt"
    train.write_bytes(b"".join((source / "train.txt").read_bytes().splitlines(keepends=True)[:rows]))
    return texts.spec(train, source / "test.txt", EPOCHS, 0)


def _quality(document: dict[str, Any], seeds: int) -> Row:
    """Train each side once a seed, two at a time: this is about accuracy, not about time."""
    sides = [(seed, side) for seed in range(seeds) for side in ("default", "ours")]

    def score(one: tuple[int, str]) -> float:
        seeded = document | {"training": document["training"] | {"seed": one[0]}}
        found = sidebyside.measure(seeded, (one[1],), 1, 1)
        return float(found[one[1]][0]["metrics"]["accuracy"])

    with ThreadPoolExecutor(2) as pool:
        scores = dict(zip(sides, pool.map(score, sides), strict=True))
    ours, theirs = ([scores[seed, side] for seed in range(seeds)] for side in ("ours", "default"))
    note = f"trec6, {seeds} seeds, {EPOCHS} epochs; the default peer's {statistics.mean(theirs):.3f} less one point"
    return Row("MiniLM LoRA: mean accuracy", statistics.mean(ours), "", statistics.mean(theirs) - 0.01, "peer",
               higher=True, note=note)


def _informing(title: str, found: Found, work: float, rate: dict[str, float]) -> list[Row]:
    def mfu(side: str) -> float:
        return work / (rate[found[side][0]["precision"]] * _median(found[side], "wall_seconds"))

    padding = ", ".join(f"{side} {_median(runs, 'padding_fraction'):.3f}" for side, runs in found.items())
    used = ", ".join(f"{side} {mfu(side):.3f}" for side in found)
    best = f"{rate['bf16'] / 1e9:.0f} GFLOP/s bf16, {rate['fp32'] / 1e9:.0f} fp32"
    return [Row(f"{title}: share of padding", _median(found["ours"], "padding_fraction"), "", note=padding),
            Row(f"{title}: MFU", mfu("ours"), "", note=f"{used}; best rate on one thread {best}")]


def _median(runs: Sequence[dict[str, Any]], name: str) -> float:
    return statistics.median(float(run[name]) for run in runs)
