"""Folds an adapter into its base model: a plain transformers model that no longer needs peft."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import adapter, models, skeleton
from engine.errors import Cancelled, NotEnough, Refused

if TYPE_CHECKING:
    import torch

Progress = Callable[[float], None]

#: Free disk asked for beyond the weights themselves: tokenizer, configuration, the file system's own needs.
SPARE = 64 * 1024**2


class NotMergeable(Refused):
    """This adapter cannot be folded into the weights: {problem}"""

    kind = "not_mergeable"
    try_this = "Use it as an adapter: download it and load it with peft."


def merge(adapter_dir: Path, model_path: Path, out_dir: Path, *, task_name: str = "", dtype: str | None = None,
          quantization: str | None = None, progress: Progress | None = None,
          cancelled: Callable[[], bool] | None = None) -> Path:
    """Write `adapter_dir` merged into the model in `model_path` to `out_dir`: weights, tokenizer, chat template.

    Each layer is merged in fp32 and stored in `dtype` (float32, bfloat16, float16; None: the base's own). An adapter
    trained on a quantized base is merged into that base dequantized, never quantized again. `out_dir` appears only when
    it is complete. `progress` gets fractions from 0 to 1. Raises NotMergeable, NotEnough, AdapterMismatch, Cancelled.
    """
    report: Progress = progress or (lambda fraction: None)
    check = _checker(cancelled)
    trained = adapter.read(adapter_dir)
    _refuse(trained, out_dir)
    report(0.0)
    base, stored, loaded = _load(trained, model_path, task_name, quantization or trained.quantization)
    target = _dtype(dtype) or stored
    _check_disk(base, target, out_dir)
    check()
    report(0.3)
    untied = _untie(base, adapter_dir)
    wrapped = adapter.attach(base, trained, share=False, task_name=task_name)
    merged = _fold(wrapped, target, lambda part: report(0.3 + 0.4 * part), check)
    if untied:
        merged.config.tie_word_embeddings = False
    with _whole(out_dir) as folder:
        _save(merged, adapter.tokenizer(adapter_dir) or loaded.tokenizer, folder, target)
        check()
    report(1.0)
    return out_dir


def _refuse(trained: adapter.Trained, out_dir: Path) -> None:
    import peft

    from engine.tuners import registered

    registered()
    library: Any = peft
    if trained.kind == "model":
        raise NotMergeable(trained.folder.name, problem="it is a whole model already.",
                           try_this="Download it as it is.")
    if library.PeftConfig.from_pretrained(str(trained.folder)).is_prompt_learning:
        raise NotMergeable(trained.folder.name, problem="a soft prompt is input, not a change of weights.")
    if out_dir.exists() and any(out_dir.iterdir()):
        raise NotMergeable(str(out_dir.name), problem="the target folder is not empty.", try_this="Choose another.")


def _load(trained: adapter.Trained, path: Path, task_name: str,
          quantization: str | None) -> tuple[Any, torch.dtype, models.Loaded]:
    """Return the base with plain weights, and the dtype in which it is stored on disk."""
    import torch

    task = trained.make_task(task_name)
    shape = models.inspect(path)
    stored = _dtype(shape.dtype) or torch.float32
    precise = quantization is not None or adapter.rewrites_base(trained.folder)
    loaded = models.load(path, task, trained.labels, dtype=torch.float32 if precise else stored,
                         quantization=quantization, shape=shape)
    model: Any = loaded.model
    if quantization:
        with skeleton.quiet():
            model = model.dequantize(dtype=torch.float32)
    return model, stored, loaded


def _fold(wrapped: Any, target: torch.dtype, report: Progress, check: Callable[[], None]) -> Any:
    """Merge layer by layer in fp32, so that only one layer at a time takes twice its memory."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    layers: list[Any] = [module for module in wrapped.modules() if isinstance(module, BaseTunerLayer)]
    if not layers and not any(isinstance(module, ModulesToSaveWrapper) for module in wrapped.modules()):
        raise NotMergeable(wrapped.active_adapter, problem="no layer of the model carries it.")
    for done, layer in enumerate(layers, 1):
        check()
        inner = layer.get_base_layer()
        # Only the layer's own tensors: what is inside it may be another layer's base.
        for parameter in inner.parameters(recurse=False):
            parameter.data = parameter.data.float()
        try:
            layer.merge(safe_merge=True)
        except (ValueError, NotImplementedError, TypeError) as error:
            raise NotMergeable(wrapped.active_adapter, problem=str(error).splitlines()[0]) from None
        for parameter in inner.parameters(recurse=False):
            parameter.data = parameter.data.to(target)
        report(done / len(layers))
    merged = _unwrap(wrapped).to(target)
    _refuse_new_tensors(merged, wrapped.active_adapter)
    return merged


def _refuse_new_tensors(model: Any, adapter_name: str) -> None:
    """Raise NotMergeable where the architecture has no place for what was folded in, such as a bias."""
    import torch

    with torch.device("meta"), skeleton.quiet():
        places = set(type(model)(model.config).state_dict())
    homeless = sorted(set(model.state_dict()) - places)
    if homeless:
        raise NotMergeable(adapter_name, problem=f"layers of this architecture have no {homeless[0].split('.')[-1]} "
                                                 f"({homeless[0]}) to hold what was learned.")


def _unwrap(wrapped: Any) -> Any:
    """Take every wrapper of peft out of the model.

    peft's own `unload` fails for IA³ beside a saved head that is more than one linear layer.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    model = wrapped.get_base_model()
    outer: list[tuple[str, Any]] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{above}.") for above, _ in outer)
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)) and not inside:
            outer.append((name, module))
    for name, module in outer:
        if hasattr(module, "unload_and_optionally_merge_module"):
            plain = module.unload_and_optionally_merge_module(merge=False, safe_merge=False, adapter_names=None)
        else:
            plain = module.get_base_layer()
        model.set_submodule(name, plain)
    model._hf_peft_config_loaded = False
    return model


def _untie(base: Any, adapter_dir: Path) -> bool:
    """Separate output and input embeddings that share a tensor when the adapter changes one of them."""
    import torch

    out = base.get_output_embeddings()
    # Models that look at images have none, and some say so by an error.
    into = base.get_input_embeddings() if out is not None else None
    if out is None or into is None or getattr(out, "weight", None) is not into.weight:
        return False
    ends = {id(out): "", id(into): ""}
    names = [name for name, module in base.named_modules() if id(module) in ends]
    touched = [key for key in adapter.tensors(adapter_dir) if any(f".{name}." in key for name in names)]
    if not touched:
        return False
    out.weight = torch.nn.Parameter(into.weight.detach().clone(), requires_grad=False)
    base.config.tie_word_embeddings = False
    return True


def _save(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write weights as safetensors in parts of at most 5 GB, configuration, generation settings and tokenizer."""
    model.config.dtype = dtype
    with skeleton.quiet():
        model.save_pretrained(str(folder), max_shard_size="5GB")
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    for path in folder.iterdir():
        path.chmod(0o644)


@contextmanager
def _whole(out_dir: Path) -> Generator[Path]:
    """Give a temporary folder that becomes `out_dir` when all went well, and disappears when not."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".tmp-merge-", dir=out_dir.parent))
    try:
        yield folder
        if out_dir.exists():
            out_dir.rmdir()
        folder.chmod(0o755)
        folder.rename(out_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_disk(model: Any, dtype: torch.dtype, out_dir: Path) -> None:
    needed = sum(p.numel() for p in model.parameters()) * dtype.itemsize + SPARE
    place = next(parent for parent in out_dir.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NotEnough(str(place.name), resource="disk space", needed=f"{needed / 1e9:.2f} GB",
                        available=f"{free / 1e9:.2f} GB", try_this="Free some disk space, or merge on another disk.")


def _dtype(name: str | None) -> torch.dtype | None:
    import torch

    known = {"float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
             "float16": torch.float16, "fp16": torch.float16}
    if name is not None and name not in known:
        raise NotMergeable("dtype", problem=f"'{name}' is no number format.",
                           try_this=f"Use one of: {', '.join(known)}.")
    return known[name] if name else None


def _checker(cancelled: Callable[[], bool] | None) -> Callable[[], None]:
    def check() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("merge")

    return check
