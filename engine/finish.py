"""Everything after the last update: final scores, the adapter with its tokenizer and labels, result.json."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine import environment, evaluate, insight, intake, models, result, showcase
from engine.digits import short
from engine.evaluation.describe import describe
from engine.evaluation.report import FILE, Forgetting
from engine.events import PredictionsRecorded
from engine.journal import finite

if TYPE_CHECKING:
    from engine.tasks.terms import Outputs
    from engine.train import Attempt


def succeed(attempt: Attempt) -> dict[str, Any]:
    """Score, save and describe a run that came to its end; return result.json."""
    loop = attempt.loop
    assert loop is not None
    attempt.result["saved_step"] = loop.take_best(intake.folders(attempt), attempt.log)
    return _close(attempt, "succeeded")


def save_stopped(attempt: Attempt) -> dict[str, Any]:
    """Score and save what a run had learned when it was asked to stop; return result.json."""
    assert attempt.loop is not None
    attempt.result["saved_step"] = attempt.loop.step
    return _close(attempt, "cancelled")


def _close(attempt: Attempt, state: str) -> dict[str, Any]:
    loop = attempt.loop
    assert loop is not None
    changed = attempt.spec.method.conclude(attempt.parts.model)
    fresh = loop.last is not None and loop.last[0] == loop.step and not changed
    outputs = loop.last[1] if fresh and loop.last is not None else loop.evaluate()
    if outputs is not None:
        attempt.result["metrics"] = dict(outputs.metrics)
        attempt.studio["options"] = dict(attempt.studio["options"]) | outputs.settled
    forgotten = _forgotten(attempt)
    if attempt.parts.scale is not None:
        attempt.parts.scale.fold()
    if outputs is not None and attempt.rank == 0:
        ask = functools.partial(showcase.question, attempt.parts.task, attempt.parts.eval_table,
                                attempt.parts.columns, folder=attempt.out / "examples")
        count = evaluate.write_examples(outputs, attempt.out / "examples.json", ask, attempt.rows.numbers)
        _describe(attempt, outputs, forgotten)
        attempt.journal.write(PredictionsRecorded(count))
    started = time.monotonic()
    if attempt.rank == 0:
        attempt.result["adapter_bytes"] = save(attempt)
        attempt.result |= {"artifact": attempt.spec.method.artifact, "labels": attempt.studio["labels"],
                           "adapter_sha256": _digest(attempt.out / attempt.spec.method.artifact)}
        insight.at_end(attempt)
    attempt.seconds["save"] = time.monotonic() - started
    return result.write(attempt, state)


def _forgotten(attempt: Attempt) -> Forgetting | None:
    """Measure again what was measured before training, and note both; None where nobody asked."""
    if attempt.watch is None:
        return None
    found = attempt.watch.after()
    attempt.result["forgetting"] = found.model_dump()
    if found.change is not None and found.before is not None and found.after is not None:
        attempt.result["metrics"] = attempt.result.get("metrics", {}) | {"forgetting": found.change}
        attempt.log(f"Forgetting: {found.measure.replace('_', ' ')} on {found.on} went from {short(found.before)} to "
                    f"{short(found.after)}.")
    return found


def _describe(attempt: Attempt, outputs: Outputs, forgotten: Forgetting | None) -> None:
    """Write evaluation.json: intervals, slices, charts and likely label errors."""
    parts, loop = attempt.parts, attempt.loop
    assert parts.eval is not None and loop is not None
    started = time.monotonic()
    told = describe(parts.task, outputs, parts.eval, parts.eval_table, parts.columns,
                    step=attempt.result["saved_step"], numbers=attempt.rows.numbers, forgetting=forgotten)
    document = json.dumps(finite(told.model_dump(mode="json")), ensure_ascii=False)
    partial = attempt.out / f".tmp-{FILE}"
    partial.write_text(document + "\n", encoding="utf-8")
    partial.replace(attempt.out / FILE)
    loop.seconds["eval"] += time.monotonic() - started


def save(attempt: Attempt) -> int:
    """Write adapter/ (or model/) whole or not at all, with tokenizer and studio.json; return its weights' bytes."""
    method = attempt.spec.method
    final = attempt.out / method.artifact
    partial = attempt.out / f".tmp-{method.artifact}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    attempt.parts.optimizer.release()
    attempt.parts.model.eval()
    if method.artifact == "model":
        method.save(_whole_model(attempt), partial)
    else:
        method.save(attempt.parts.model, partial)
        _name_the_base(attempt, partial)
        (partial / "README.md").unlink(missing_ok=True)
    if attempt.loaded.tokenizer is not None:
        attempt.loaded.tokenizer.save_pretrained(str(partial))
    facts = attempt.studio | {"artifact": method.artifact, "step": attempt.result.get("saved_step")}
    (partial / "studio.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    return sum(path.stat().st_size for path in final.glob("*.safetensors"))


def _digest(folder: Path) -> str:
    """Return the SHA-256 of the weights: of the one file, or of the files' own hashes in order where there are more."""
    hashes = [environment.sha256(path) for path in sorted(folder.glob("*.safetensors"))]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _whole_model(attempt: Attempt) -> torch.nn.Module:
    """Return the model to save: frozen weights exactly as they were stored, trained ones in fp32 where they were."""
    parts = attempt.parts
    trained = {name: p for name, p in parts.model.named_parameters() if p.requires_grad}
    if len(trained) == len(list(parts.model.parameters())):
        return _plain(attempt.loaded.model)
    stored = getattr(torch, attempt.loaded.shape.dtype, torch.float32)
    fresh = models.load(attempt.located.path, parts.task, attempt.studio["labels"], dtype=stored, device="cpu").model
    with torch.no_grad():
        for name, value in fresh.named_parameters():
            if name in trained:
                value.data = trained[name].detach().to("cpu", copy=True)
    return fresh


def _plain(model: Any) -> Any:
    model.config.use_cache = True
    return model


def _name_the_base(attempt: Attempt, folder: Path) -> None:
    """Write the base model's id, not a path of this machine, into the adapter's configuration.

    After saving: with an id in it, peft would look the id up on the Hub while it saves.
    """
    path = folder / "adapter_config.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["base_model_name_or_path"] = attempt.spec.model.id.removeprefix("hub:")
    facts["revision"] = attempt.located.revision if attempt.located.source == "hub" else None
    path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
