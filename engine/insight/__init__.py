"""What was trained, read from the files a run leaves: sections of figures and tables for people to look at.

`describe` reads an adapter's (or a whole model's) folder and the base model's files; `at_end` does so for a run that
has just saved its result, with the model still in memory. Every part is bounded in time: what was left out is said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.insight.report import FILE, VERSION, Insight, Section

if TYPE_CHECKING:
    import torch

    from engine.insight.places import Places
    from engine.insight.store import Base, Clock, Saved
    from engine.methods.base import Method
    from engine.shape import ModelShape
    from engine.train import Attempt

__all__ = ["FILE", "VERSION", "Insight", "at_end", "describe", "read", "write"]

#: Seconds a run may spend on this at its end, and an errand of its own.
AT_END, ON_DEMAND = 6.0, 60.0
#: Rows over which attention is averaged.
ROWS = 8


def describe(folder: Path, shape: ModelShape, *, base: Path | None = None, method: Method | None = None,
             heads: Iterable[str] = (), model: Any = None, rows: Iterable[Mapping[str, Any]] = (),
             seconds: float = ON_DEMAND) -> Insight:
    """Return what the adapter or whole model in `folder` learned.

    `shape` and `base` are those of its base model; `method` and `heads` what the run trained. A peft `model` in memory,
    and `rows` of inputs for it (one text each), allow what files alone do not tell. A part that fails becomes a note.
    """
    from engine.insight import store
    from engine.insight.places import Places

    began, clock = time.monotonic(), store.Clock(seconds)
    places, found = Places(shape), Insight()
    inner = None if model is None or hasattr(model, "initial_updates") else getattr(model.base_model, "model", None)
    with store.Saved(folder) as saved, store.Base(base, inner) as under:
        found.kind = str(saved.config.get("peft_type") or "").lower() or "model"
        for make in _makers(saved, places, under, clock, shape, method, list(heads), model, rows, folder):
            try:
                found.sections += make()
            # Whatever went wrong in looking at a result, the result itself is there and stays.
            except Exception as error:
                found.notes.append(f"A part could not be worked out ({type(error).__name__}: {error})."[:300])
    found.seconds = round(time.monotonic() - began, 2)
    return found


def _makers(saved: Saved, places: Places, base: Base, clock: Clock, shape: ModelShape, method: Method | None,
            heads: list[str], model: Any, rows: Iterable[Mapping[str, Any]],
            folder: Path) -> Iterable[Callable[[], list[Section]]]:
    """Yield what makes the sections; what tells most about a kind of adapter comes first."""
    from engine.insight import lowrank, parameters, prompts, vectors, whole

    made: list[Section] = []

    def kept(sections: list[Section]) -> list[Section]:
        made.extend(sections)
        return sections

    if saved.config:
        yield lambda: kept(lowrank.sections(saved, places, base, clock))
        yield lambda: kept(vectors.sections(saved, places, base, clock))
        scale = math.sqrt(shape.hidden) if shape.model_type.startswith("gemma") else 1.0
        yield lambda: kept(prompts.sections(saved, places, *_vocabulary(saved, base, shape, folder), clock, scale))
        if saved.has("prefix_key") and model is not None:
            yield lambda: _attention(model, rows, places, clock)
        if not made and model is not None:
            yield lambda: whole.of_merge(model, places, clock)
    elif method is None or method.pieces(shape):
        yield lambda: whole.of_model(saved, places, base, clock)
    yield lambda: [parameters.section(saved, places, shape, method, heads)]


def _attention(model: Any, rows: Iterable[Mapping[str, Any]], places: Places, clock: Clock) -> list[Section]:
    from engine.insight import attention

    return attention.sections(model, rows, places, clock)


def _vocabulary(saved: Saved, base: Base, shape: ModelShape,
                folder: Path) -> tuple[torch.Tensor | None, Callable[[list[int]], list[str]] | None]:
    """Return the base model's word vectors and what names them, for adapters that are soft prompts."""
    from engine import models, weights
    from engine.insight import prompts

    if not prompts.prompts(saved) or not weights.has_tokenizer(folder):
        return None, None
    tables = [m for m in shape.modules if m.kind == "embedding" and shape.vocab and m.parameters >= shape.vocab]
    table = max(tables, key=lambda m: m.parameters, default=None)
    words = base.tensor(f"{table.name}.weight") if table is not None else None
    return words, prompts.words_of(models.tokenizer_of(folder))


def at_end(attempt: Attempt) -> None:
    """Write insight.json beside what a run has just saved; never fails the run, which is done."""
    try:
        parts, method = attempt.parts, attempt.spec.method
        parts.model.eval()
        found = describe(attempt.out / method.artifact, attempt.loaded.shape, base=attempt.located.path, method=method,
                         heads=attempt.loaded.heads, model=parts.model if method.artifact == "adapter" else None,
                         rows=_rows(attempt), seconds=AT_END)
        write(found, attempt.out)
    except Exception as error:
        attempt.log(f"What was learned could not be described: {type(error).__name__}: {error}", level="warning")


def _rows(attempt: Attempt) -> Iterable[dict[str, Any]]:
    """Yield a few evaluation rows as the model takes them, one text each, so that nothing is padded or packed."""
    from engine.evaluate import to_device

    parts = attempt.parts
    for row in (parts.eval.rows if parts.eval is not None else [])[:ROWS]:
        batch = parts.task.collate([row], parts.pad_id, packed=False)
        inputs = parts.task.inputs(parts.model, to_device(batch, parts.device))
        # One row has no padding to hide, and attention for packed rows takes no mask.
        yield {name: value for name, value in inputs.items() if name != "attention_mask"}


def write(found: Insight, folder: Path) -> None:
    """Write insight.json into `folder`, whole or not at all."""
    partial = folder / f".tmp-{FILE}"
    partial.write_text(found.model_dump_json() + "\n", encoding="utf-8")
    partial.replace(folder / FILE)


def read(path: Path) -> Insight | None:
    """Return the content of an insight.json, or None for one that is not there or was written by another version."""
    try:
        found = Insight.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if found.version == VERSION else None
