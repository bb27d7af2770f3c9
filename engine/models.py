"""Base models: find one by its id, look at it without loading it, load it for a task."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine import skeleton, weights
from engine.errors import Cancelled, ModelError
from engine.shape import ModelShape
from engine.starter import STARTERS, Starter
from engine.tasks.base import Task

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["STARTERS", "Loaded", "Located", "Starter", "data_folder", "inspect", "load", "locate"]

#: The package that loads base models in 4 or 8 bits; the studio works without it.
QUANTIZER = "bitsandbytes"
Origin = Literal["starter", "local", "hub", "directory", "tiny"]


class WrongTask(ModelError):
    """A model of type '{model_type}' cannot be trained for {task}."""

    kind = "task_impossible"
    try_this = "Choose another base model, or one of these tasks: {possible}."


class NoQuantizer(ModelError):
    """Loading a base model in 4 or 8 bits needs the package bitsandbytes."""

    kind = "quantizer_missing"
    try_this = "Install it into the studio's environment: pip install bitsandbytes. Or train without quantization."


class BadName(ModelError):
    """'{name}' is not the name of a local model."""

    kind = "model_name_invalid"
    try_this = "Use letters, digits, '.', '-' and '_' only."


@dataclass(frozen=True)
class Located:
    """A base model on this machine; `files` maps the name of each file to its SHA-256."""

    path: Path
    id: str
    revision: str | None
    source: Origin
    licence: str = ""
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """A model ready for its task; `heads` are the modules to train whole, `shape` that of this task's model.

    `tokenizer` turns rows into tensors; for images it is the model's image processor. `fresh` names the parameters that
    the checkpoint did not hold, or not in this size.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    heads: list[str]
    shape: ModelShape
    fresh: frozenset[str] = frozenset()


def data_folder() -> Path:
    """Return the studio's data folder: STUDIO_DATA_DIR, else the platform's folder for user data."""
    import platformdirs

    return Path(os.environ.get("STUDIO_DATA_DIR") or platformdirs.user_data_dir("peft-studio", appauthor=False))


def locate(model_id: str, *, revision: str | None = None, data_dir: Path | None = None,
           progress: Callable[[float], None] | None = None,
           cancelled: Callable[[], bool] | None = None) -> Located:
    """Return where a base model lies, fetching or converting it first if need be.

    `model_id` is starter/<name>, local/<name>, hub:<org>/<name>, <org>/<name>, tiny/<arch> or the path of a directory.
    `progress` is told the fraction done; once `cancelled()` is true, Cancelled is raised. Raises ModelError.
    """
    folder = data_dir or data_folder()
    stop = cancelled or (lambda: False)
    if stop():
        raise Cancelled(model_id)
    kind, _, name = model_id.partition("/")
    if kind == "starter":
        return _starter(model_id, folder, progress, stop)
    if kind == "local":
        from engine import gguf

        path = gguf.settled(folder / "models" / "local" / checked_name(name), progress=progress, cancelled=stop)
        return _directory(path, model_id, "local")
    if kind == "tiny":
        from engine import tiny

        return _directory(tiny.folder(name, folder), model_id, "tiny")
    if not model_id.startswith("hub:") and (Path(model_id).is_absolute() or model_id.startswith((".", "~"))
                                            or Path(model_id).is_dir()):
        return _directory(Path(model_id).expanduser().resolve(), model_id, "directory")
    from engine import hub

    path, commit, licence = hub.fetch(model_id.removeprefix("hub:"), revision, progress, stop)
    return Located(path, model_id, commit, "hub", licence, weights.fingerprint(path))


def checked_name(name: str) -> str:
    """Return `name` when it can be the name of a local model's folder; raises BadName."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name) or len(name) > 100:
        raise BadName("model.id", name=name)
    return name


def _starter(model_id: str, data_dir: Path, progress: Callable[[float], None] | None,
             cancelled: Callable[[], bool]) -> Located:
    from engine import starter

    info = starter.get(model_id)
    source = starter.file(info)
    path = source.parent
    if source.suffix == ".gguf":
        from engine import gguf

        path = gguf.converted(source, data_dir / "models" / "starter" / model_id.partition("/")[2],
                              progress=progress, cancelled=cancelled)
    return Located(path, model_id, _version(info), "starter", info.licence, weights.fingerprint(path))


def _version(info: Starter) -> str:
    from importlib import metadata

    return f"{info.package}=={metadata.version(info.package)}"


def _directory(path: Path, model_id: str, source: Origin) -> Located:
    weights.shards(path)
    return Located(path, model_id, None, source, "", weights.fingerprint(path))


def inspect(path: Path, *, only: Sequence[str] | None = None, words: bool = True) -> ModelShape:
    """Return the shape of the model in a directory, from its configuration and the headers of its weights.

    With `only`, just these tasks are tried, and without `words` it is not looked whether there is a head that predicts
    words; both take less time. Raises NoModelFolder, NoConfig, NoWeights, PickleWeights, BrokenWeights,
    UnknownArchitecture, RemoteCode or IncompleteWeights.
    """
    stored = weights.tensors(path)
    return skeleton.shape_of(skeleton.config(path), stored, chat_template=weights.chat_template(path), only=only,
                             words=words)


def load(path: Path, task: Task, labels: Sequence[str], *, dtype: str | torch.dtype = "fp32",
         quantization: str | None = None, device: str = "cpu", shape: ModelShape | None = None,
         attention: str | None = None) -> Loaded:
    """Return the model of `task` with the weights in `path` stored as `dtype`, its new head in float32.

    Seed torch first: the new head is drawn here. `attention` is transformers' name of an attention implementation.
    Raises WrongTask, NoQuantizer, and what `inspect` raises.
    """
    shape = shape or inspect(path)
    if task.name not in shape.task_heads:
        possible = ", ".join(inspect(path).task_heads) or "none"
        raise WrongTask("task", model_type=shape.model_type, task=task.name, possible=possible)
    heads = [head.name for head in shape.task_heads[task.name]]
    configuration = skeleton.config(path)
    for key, value in task.config(labels).items():
        setattr(configuration, key, value)
    tokenizer = task.processor(path)
    if shape.family == "decoder" and configuration.pad_token_id is None and tokenizer is not None:
        configuration.pad_token_id = tokenizer.pad_token_id
    model, fresh = _weights(path, task, configuration, _dtype(dtype), quantization, device, heads, attention)
    for name in heads:
        _keep_float32(model.get_submodule(name))
    return Loaded(model, tokenizer, heads, shape.for_task(task.name), fresh)


def quantizer_installed() -> bool:
    """Return whether base models can be loaded in 4 or 8 bits here; the package is looked for, not imported."""
    return importlib.util.find_spec(QUANTIZER) is not None


def tokenizer_of(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in `path`, free of stored truncation and padding, its end token padding if nothing else."""
    from transformers import AutoTokenizer

    with skeleton.quiet():
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        fast.no_truncation()
        fast.no_padding()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    import torch

    names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if isinstance(dtype, torch.dtype):
        return dtype
    return names[dtype] if dtype in names else getattr(torch, dtype)


def _weights(path: Path, task: Task, configuration: Any, dtype: torch.dtype, quantization: str | None, device: str,
             heads: list[str], attention: str | None) -> tuple[PreTrainedModel, frozenset[str]]:
    options: dict[str, Any] = {"device_map": {"": device}} if quantization or device != "cpu" else {}
    if quantization:
        options["quantization_config"] = _quantizer(quantization, dtype, heads)
    if attention:
        options["attn_implementation"] = attention
    with skeleton.quiet():
        model, info = task.auto_class().from_pretrained(
            path, config=configuration, dtype=dtype, trust_remote_code=False, local_files_only=True,
            use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True, **options)
    lost = sorted(name for name in info["missing_keys"] if not any(name.startswith(h + ".") for h in heads))
    if lost:
        raise skeleton.IncompleteWeights(str(path), count=len(lost), first=lost[0])
    if quantization == "nf4":
        _use_plain_4bit(model)
    return model, frozenset(info["missing_keys"]) | {name for name, *_ in info["mismatched_keys"]}


def _quantizer(quantization: str, dtype: torch.dtype, heads: list[str]) -> Any:
    try:
        import bitsandbytes  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except ImportError:
        raise NoQuantizer("model.quantization") from None
    from transformers import BitsAndBytesConfig

    skip = [*heads, "lm_head"]
    if quantization == "nf4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                  bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)


def _use_plain_4bit(model: torch.nn.Module) -> None:
    """Turn off bitsandbytes' AVX512-BF16 path: after an evaluation its layers give wrong gradients (seen in 0.50.2)."""
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _keep_float32(head: torch.nn.Module) -> None:
    """Hold a head in float32 and cast what reaches it, so that it learns precisely on top of a half-precision base."""
    head.float()
    head.register_forward_pre_hook(_to_float32, with_kwargs=True)


def _to_float32(_: torch.nn.Module, inputs: tuple[Any, ...],
                named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(_float(x) for x in inputs), {name: _float(x) for name, x in named.items()}


def _float(value: Any) -> Any:
    return value.float() if hasattr(value, "is_floating_point") and value.is_floating_point() else value
