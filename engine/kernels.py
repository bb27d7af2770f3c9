"""Which way of computing is fastest for this model, data and hardware, among those that give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engine import batches, evaluate, features, flat, fused, hidden, memory, precision
from engine.control import Control
from engine.tasks.base import Task
from engine.tasks.terms import Encoded

if TYPE_CHECKING:
    from engine.loop import Loop
    from engine.models import Loaded
    from engine.parts import Parts
    from engine.train import Attempt

#: Attention scores are kept for the backward pass by plain attention: use it up to this length only.
EAGER_LENGTH = 256


def choose(task: Task, loaded: Loaded, model: torch.nn.Module, formats: precision.Formats, device: str,
                   train: Encoded, length: int) -> flat.Flat | None:
    """Set the fastest attention that gives the same outputs; return how batches are packed, None when padded."""
    base: Any = loaded.model
    if formats.autocast is None:
        fused.fuse(model)
    if device == "cpu" and formats.base is torch.bfloat16 and length <= EAGER_LENGTH:
        base.set_attn_implementation("eager")
    lengths = [task.length(row) for row in train.rows]
    learnable = [i for i, row in enumerate(train.rows) if task.targets(row)]
    by_length = sorted(learnable, key=lambda i: lengths[i])
    sample = [train.rows[i] for i in (by_length[-1], by_length[0], by_length[len(by_length) // 2])]
    fill = pad_id(loaded)
    made = flat.make_flat(model, base, task, sample, fill)
    model.eval()
    task.prepare_model(model, evaluate.to_device(task.collate(sample, fill, packed=made is not None), device))
    return made


def learn_from_data(attempt: Attempt, task: Task, model: torch.nn.Module, train: Encoded) -> None:
    """Let methods that look at the data before training see some batches of it."""
    if not attempt.spec.method.needs_data:
        return
    count, fill = attempt.spec.training.batch_size, pad_id(attempt.loaded)
    seen = []
    for chosen in batches.chunks(min(len(train.rows), 16 * count), count):
        batch = evaluate.to_device(task.collate([train.rows[i] for i in chosen], fill), attempt.device)
        seen.append(task.inputs(model, batch))
    attempt.spec.method.initialise(model, seen)


def keep_hidden_states(attempt: Attempt, made: Loop, how: flat.Flat | None) -> None:
    """Compute the blocks below the first trained one once for all epochs, where there are any and memory allows."""
    parts, shape = made.parts, attempt.loaded.shape
    if parts.task.reads == "images":
        _keep_features(attempt, made)
        return
    first = attempt.spec.method.first_trained_layer(shape)
    if not hidden.worthwhile(how, first, parts.model, parts.total_steps / made.per_epoch) or how is None or not first:
        return
    encoded = {"train": parts.train} | ({"eval": parts.eval} if parts.eval else {})
    lengths = {part: [parts.task.length(row) for row in each.rows] for part, each in encoded.items()}
    width = 2 if parts.formats.base is not torch.float32 else 4
    needed = sum(hidden.bytes_needed(how, first, each, shape.hidden, width) for each in lengths.values())
    if needed > hidden.SHARE * memory_there(attempt.device):
        attempt.log(f"Hidden states of the frozen blocks would take {size(needed)}; they are computed anew each time.")
        return
    keeper = hidden.HiddenStates(how, first)
    parts.model.eval()
    for part, each in encoded.items():

        def forward(chosen: list[int], rows: Any = each.rows) -> batches.Layout:
            Control.check()
            batch = parts.task.collate([rows[i] for i in chosen], parts.pad_id, packed=True)
            with parts.formats.context(parts.device):
                hidden.until_known(lambda: parts.task.loss(parts.model, evaluate.to_device(batch, parts.device)))
            return batch["layout"]

        keeper.fill(part, lengths[part], parts.plan.budget * evaluate.LARGER, forward)
    parts.hidden = keeper
    attempt.log(f"The {first} frozen blocks at the bottom were computed once for all epochs ({size(needed)}).")


def _keep_features(attempt: Attempt, made: Loop) -> None:
    """Compute the frozen base once for all epochs where only the head learns and memory allows.

    Training images that change from epoch to epoch are left out; those of the evaluation never change.
    """
    parts = made.parts
    frozen = parts.base is not None and not any(p.requires_grad for p in parts.base.parameters())
    if not frozen or parts.base is None or parts.total_steps / made.per_epoch < 1.5:
        return
    encoded: dict[str, Encoded] = {} if parts.task.varies else {"train": parts.train}
    if parts.eval is not None:
        encoded["eval"] = parts.eval
    parts.model.eval()
    keeper = features.Features(parts.base)
    some = list(range(min(2, len(parts.train.rows))))
    kept = keeper.choose(lambda: _run(parts, parts.train, some))
    needed = 0 if kept is None else sum(len(each.rows) for each in encoded.values()) * kept[0].numel() * kept.itemsize
    if kept is None or needed > hidden.SHARE * memory_there(attempt.device):
        del parts.base.forward
        return
    keeper.absent()
    for part, each in encoded.items():
        lengths = [parts.task.length(row) for row in each.rows]
        chosen = batches.split(range(len(lengths)), lengths, parts.plan.budget * evaluate.LARGER)
        keeper.fill(part, len(lengths), chosen, lambda rows, each=each: _run(parts, each, rows))
        _forget(each)
    parts.hidden = keeper
    which = " and ".join({"train": "training", "eval": "evaluation"}[part] for part in encoded)
    attempt.log(f"The frozen model looked at the {which} images once for all epochs ({size(needed)}).")


def _run(parts: Parts, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
    batch = parts.task.collate([encoded.rows[i] for i in rows], parts.pad_id)
    with parts.formats.context(parts.device):
        return parts.task.probe(parts.model, evaluate.to_device(batch, parts.device)).float()


def _forget(encoded: Encoded) -> None:
    """Let go of pixels that are not needed any more; if they were, what comes of them would be no number."""
    nothing = np.float32(np.nan)
    encoded.rows = [row | {"pixel_values": np.broadcast_to(nothing, row["pixel_values"].shape)}
                    for row in encoded.rows]


def pad_id(loaded: Loaded) -> int:
    """Return the token that fills up rows."""
    tokenizer: Any = loaded.tokenizer
    return int(getattr(tokenizer, "pad_token_id", None) or 0)


def memory_there(device: str) -> int:
    """Return the bytes that are free on `device`."""
    return torch.cuda.mem_get_info()[0] if device.startswith("cuda") else memory.available()


def size(count: float) -> str:
    """Return a number of bytes as people write it."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
