"""Everything before the first update: device, model, data, checks, tokens, optimizer, and where to go on from."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine import (
    batches,
    breakdown,
    compatibility,
    digits,
    environment,
    images,
    kernels,
    memory,
    models,
    precision,
    rate_test,
    scale,
)
from engine.control import Control
from engine.errors import DataError, ModelError, NotEnough, SpecError
from engine.events import RunPrepared
from engine.loop import Loop
from engine.optimizer import FlatAdamW
from engine.parts import Parts
from engine.shape import ModelShape
from engine.share import Share
from engine.tasks.base import Task
from engine.tasks.terms import Encoded
from engine.token_cache import TokenCache

if TYPE_CHECKING:
    from engine.models import Loaded
    from engine.spec import RunSpec
    from engine.train import Attempt


class Impossible(SpecError):
    """This run cannot be done: {problem}"""

    kind = "run_impossible"
    try_this = "Choose another method or base model."


class NoTokenizer(ModelError):
    """The base model has no tokenizer beside its weights, so texts cannot be turned into tokens."""

    kind = "no_tokenizer"
    try_this = "Add tokenizer.json and tokenizer_config.json to the model's folder, or choose another base model."


class NoCheckpointing(SpecError):
    """Models of type '{model_type}' cannot recompute their activations, so gradient checkpointing cannot be had."""

    kind = "no_checkpointing"
    try_this = "Turn gradient checkpointing off; a smaller batch saves memory too."


class NothingToLearn(DataError):
    """No row has anything left to learn from within {max_length} tokens."""

    kind = "nothing_to_learn"
    try_this = "Raise max length, or check that the answers are in the column chosen."


def device(asked: str | None) -> str:
    """Return this process's device, the fastest there is unless one is asked for; joins `accelerate launch`'s group."""
    if environment.place()[1] > 1:
        from accelerate import PartialState

        return str(PartialState(cpu=asked == "cpu" or not torch.cuda.is_available()).device)
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def loop(attempt: Attempt) -> Loop:
    """Return the loop of the run, at the step it goes on from; writes environment.json and RunPrepared."""
    spec, task, rows = attempt.spec, attempt.spec.make_task(), attempt.rows
    with attempt.stage("load", "Loading the base model"):
        shape = models.inspect(attempt.located.path, only=[task.name], words=bool(spec.data.forgetting))
        _refuse_the_impossible(attempt, shape, task, len(rows.labels))
        torch.manual_seed(spec.training.seed)
        formats = _formats(attempt, shape)
        loaded = models.load(attempt.located.path, task, rows.labels, dtype=formats.base,
                             quantization=spec.model.quantization, device=attempt.device, shape=shape)
        if loaded.tokenizer is None:
            raise (images.NoProcessor if task.reads == "images" else NoTokenizer)(spec.model.id)
        note = task.prepare_tokenizer(loaded.tokenizer, rows.columns)
        if note:
            attempt.log(note)
        model = spec.method.attach(loaded.model, loaded.shape, loaded.heads)
        # What a checkpoint holds takes the place of the source, which may be gone by then.
        origin = spec.method.origin if attempt.found is None else ""
        source = attempt.sources.start or (Path(origin) if origin else None)
        spec.method.begin(model, loaded.tokenizer, rows.labels, source)
        precision.keep_trained_in_fp32(model)
        model.to(attempt.device)
    with attempt.stage("prepare", task.preparing):
        length = _longest(spec, loaded.shape)
        train, held = _encoded(attempt, task, loaded, length)
        # The texts are tokens now; a large table would otherwise stay for the whole run.
        attempt.rows = dataclasses.replace(rows, train=rows.train.schema.empty_table())
        attempt.loaded = loaded
        made = _loop(attempt, task, loaded, model, formats, train, held, length)
        _describe(attempt, formats, task, length)
        _announce(attempt, made)
    return made


def _encoded(attempt: Attempt, task: Task, loaded: Loaded, length: int) -> tuple[Encoded, Encoded | None]:
    """Return the rows to learn from and to evaluate on as tokens, from the cache where an earlier run left them."""
    cache = TokenCache((attempt.sources.data_dir or models.data_folder()) / "cache" / "tokens", check=Control.check)
    found: list[Encoded | None] = []
    reused = 0
    for table in (attempt.rows.train, attempt.rows.eval):
        encoded, kept = cache.encode(task, table, attempt.rows.columns, loaded.tokenizer, length,
                                     attempt.rows.labels) if table.num_rows else (None, False)
        found.append(encoded)
        reused += table.num_rows if kept else 0
    if reused:
        attempt.log(f"Tokens reused: {reused:,} rows were turned into these tokens before.")
    train, held = found
    _tell_of_cuts(attempt, task, train, length)
    return train or Encoded(rows=[]), held


def _tell_of_cuts(attempt: Attempt, task: Task, train: Encoded | None, length: int) -> None:
    """Log that the model takes less than was asked for, and how many rows were cut; windows leave nothing out."""
    asked = attempt.spec.training.max_length
    if task.reads != "text":
        return
    if length < asked:
        attempt.log(f"Max length {asked:,} is more than this base model takes: {length:,} tokens are used.",
                    level="warning")
    if train is not None and train.truncated and task.beyond == "cut":
        rows = attempt.rows.train.num_rows
        what = f"All {rows:,} rows" if train.truncated == rows else f"{train.truncated:,} of {rows:,} rows"
        more = "Raise max length to keep them whole." if length == asked else \
            "Split or shorten the texts, or use a base model that takes longer ones."
        attempt.log(f"{what} were too long and were cut (max length {length:,} tokens). {more}", level="warning")


def _longest(spec: RunSpec, shape: ModelShape) -> int:
    """Return the longest text in tokens: what is asked for, or what the model's places leave beside the method's."""
    if not shape.max_length:
        return spec.training.max_length
    room = shape.max_length - spec.method.virtual_tokens(shape)
    if room < 1:
        raise Impossible("method", problem=f"its virtual tokens fill all {shape.max_length} places of the model.")
    return min(spec.training.max_length, room)


def _refuse_the_impossible(attempt: Attempt, shape: ModelShape, task: Task, labels: int) -> None:
    """Raise for a method that cannot train this model, and for too little memory or disk."""
    spec = attempt.spec
    if task.name in shape.task_heads:
        reasons = compatibility.obstacles(spec.method, shape, task.name, spec.model.quantization)
        if reasons:
            raise Impossible("method", problem=" ".join(reasons))
        found = breakdown.of(spec, shape, labels, device=attempt.device)
        estimate = memory.estimate(spec, shape, labels, kernels.memory_there(attempt.device), device=attempt.device)
        attempt.result["memory"] = {"estimated_bytes": estimate.total}
        attempt.result["parameters"] = found.parameters.model_dump()
        if estimate.verdict == "too big":
            raise NotEnough("training", resource="memory", needed=kernels.size(estimate.total),
                            available=kernels.size(estimate.available or 0))
        needed = 4 * found.adapter_bytes + 3 * 2 * 4 * found.parameters.trained
        free = shutil.disk_usage(attempt.out).free
        if free < needed + (50 << 20):
            raise NotEnough(str(attempt.out), resource="disk space", needed=kernels.size(needed),
                            available=kernels.size(free))


def _formats(attempt: Attempt, shape: ModelShape) -> precision.Formats:
    method = attempt.spec.method
    formats = precision.choose(attempt.spec.training.precision, attempt.device, whole=method.float32)
    attempt.log(f"Precision {formats.name}: {formats.why}.")
    return formats


def _loop(attempt: Attempt, task: Task, loaded: Loaded, model: torch.nn.Module, formats: precision.Formats,
          train: Encoded, held: Encoded | None, length: int) -> Loop:
    spec = rate_test.planned(attempt.spec) if attempt.spec.rate_test else attempt.spec
    training = spec.training
    learnable = sum(task.targets(row) > 0 for row in train.rows)
    if not learnable:
        raise NothingToLearn("training.max_length", max_length=length)
    rate = training.learning_rate
    rate = spec.method.learning_rate(loaded.shape, task.name) if rate == "auto" else rate
    kernels.learn_from_data(attempt, task, model, train)
    how = kernels.choose(task, loaded, model, formats, attempt.device, train, length)
    kind = "cuda" if attempt.device.startswith("cuda") else "cpu"
    examples = training.batch_size * training.gradient_accumulation
    plan = batches.Plan(size=examples, budget=max(length, min(training.batch_size * length, memory.BUDGET[kind])),
                        packed=how is not None)
    if training.gradient_checkpointing:
        if not loaded.model.supports_gradient_checkpointing:
            raise NoCheckpointing("training.gradient_checkpointing", model_type=loaded.shape.model_type)
        _checkpoint_activations(loaded.model)
    parts = Parts(
        spec=spec, task=task, model=model, base=_below_the_head(loaded.model), formats=formats, device=attempt.device,
        optimizer=FlatAdamW(spec.method.groups(model, rate, training.weight_decay)),
        pad_id=kernels.pad_id(loaded), packed=plan.packed, plan=plan,
        train=train, eval=held, eval_table=attempt.rows.eval, columns=attempt.rows.columns,
        total_steps=batches.positions(training.epochs, plan.updates(learnable), training.max_steps), out=attempt.out,
        journal=attempt.journal, fingerprint=attempt.fingerprint,
        share=Share(attempt.rank, attempt.world, attempt.device))
    made = rate_test.Sweep(parts) if spec.rate_test else Loop(parts)
    attempt.parts = parts
    attempt.resolved = {"learning_rate": rate, "precision": formats.name, "columns": attempt.rows.columns,
                        "max_length": length,
                        "device": attempt.device, "packed": plan.packed, "micro_batch_tokens": plan.budget}
    kernels.keep_hidden_states(attempt, made, how)
    _scale_the_numbers(attempt, parts, loaded)
    _go_on(attempt, made)
    return made


def _scale_the_numbers(attempt: Attempt, parts: Parts, loaded: Loaded) -> None:
    numbers = parts.task.numbers(parts.train.rows)
    found = parts.scale = scale.behind(parts.model, loaded.heads, loaded.fresh, numbers) if numbers else None
    if found is None:
        return
    mean, unit = digits.short(found.mean), digits.short(found.deviation)
    how = f"They are learned as deviations of {unit} from their mean {mean}." if found.centred else (
        f"They are learned in units of {unit}; this model's head has no bias, so numbers far from 0 for their spread "
        "are learned better once their mean is taken off.")
    attempt.log(f"{len(numbers):,} numbers to learn. {how} The model gives them as they are.")


def _below_the_head(model: Any) -> torch.nn.Module | None:
    inner = getattr(model, "base_model", None)
    return inner if inner is not model else None


def _checkpoint_activations(model: Any) -> None:
    """Recompute blocks in the backward pass; not reentrant, so gradients still stop below the first trained layer."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _go_on(attempt: Attempt, made: Loop) -> None:
    """Go on from the checkpoint found at the start, when it holds exactly what is trained here."""
    if attempt.found is None:
        return
    own = {name: value.shape for name, value in made.weights().items()}
    if own != {name: value.shape for name, value in attempt.found.weights.items()}:
        attempt.log("The checkpoint holds other tensors than are trained now; starting anew.", level="warning")
        return
    made.resume(attempt.found)
    made.samples.go_on([folder.parent for folder in attempt.checkpoint_dirs], made.step)
    attempt.log(f"Going on from update {attempt.found.step}.")
    attempt.found = None


def _describe(attempt: Attempt, formats: precision.Formats, task: Task, length: int) -> None:
    """Write environment.json and remember what studio.json will say."""
    spec, located = attempt.spec, attempt.located
    files = {"train": attempt.sources.train or Path(spec.data.train)}
    if spec.data.eval:
        files["eval"] = attempt.sources.eval or Path(spec.data.eval)
    facts = environment.describe(
        attempt.device, formats.name,
        {"id": spec.model.id, "revision": located.revision, "source": located.source, "licence": located.licence,
         "files": located.files},
        {name: {"file": path.name, "sha256": environment.sha256(path), "bytes": path.stat().st_size}
         for name, path in files.items() if path.is_file()})
    if attempt.rank == 0:
        (attempt.out / "environment.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    attempt.studio = {
        "task": task.name, "labels": attempt.rows.labels, "options": spec.data.options,
        "columns": attempt.rows.columns, "steps": [step.model_dump(mode="json") for step in spec.data.steps],
        "model_id": spec.model.id, "revision": located.revision, "quantization": spec.model.quantization,
        "dtype": str(formats.base).removeprefix("torch."), "max_length": length, "method": spec.method.name,
        "data": {"train": Path(spec.data.train).name} | ({"eval": Path(spec.data.eval).name} if spec.data.eval else {})
        | dict(attempt.sources.names)}


def _announce(attempt: Attempt, made: Loop) -> None:
    """Count what is really there and write RunPrepared."""
    parts = made.parts
    trained = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
    planned = attempt.result["parameters"]
    if trained != planned["trained"]:
        attempt.log(f"{trained} parameters are trained where {planned['trained']} were foreseen.", level="warning")
    attempt.result["parameters"] = planned | {"trained": trained, "percent": 100.0 * trained / planned["total"]}
    attempt.journal.write(RunPrepared(
        total_steps=parts.total_steps, parameters=attempt.result["parameters"], resolved=attempt.resolved,
        train_rows=len(parts.train.rows), eval_rows=len(parts.eval.rows) if parts.eval else 0,
        truncated=parts.train.truncated, estimated_bytes=attempt.result["memory"]["estimated_bytes"]))
