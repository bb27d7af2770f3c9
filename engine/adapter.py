"""A trained result on disk: reads its folder, and puts an adapter onto a base model without copying the base."""

from __future__ import annotations

import ast
import copy
import functools
import importlib.util
import json
import warnings
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from engine import images, models, tasks, weights
from engine.errors import ModelError, Refused
from engine.tasks.base import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from transformers import PreTrainedTokenizerBase

#: LoRA initialisations that leave the base weights alone; the others (PiSSA, OLoRA, CorDA, LoftQ) rewrite them.
HARMLESS_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "lora_ga")


class AdapterMissing(Refused):
    """There is no adapter or model in '{folder}'."""

    kind = "adapter_missing"
    try_this = "Choose the folder that holds adapter_config.json or config.json."


class PickledAdapter(Refused):
    """The adapter's weights are a pickle file, which can run code when it is opened."""

    kind = "adapter_pickled"
    try_this = "Save the adapter as safetensors."


class AdapterMismatch(ModelError):
    """The adapter does not fit this base model: {problem}"""

    kind = "adapter_mismatch"
    try_this = "Choose the base model this adapter was trained on."


class Trained(BaseModel):
    """What a folder written by a run (or by peft alone) says about itself: the content of its `studio.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    folder: Path
    kind: Literal["adapter", "model"]
    task: str = ""
    labels: list[str] = []
    options: dict[str, Any] = {}
    columns: dict[str, str] = {}
    model_id: str = ""
    revision: str | None = None
    quantization: str | None = None
    method: str = ""
    max_length: int | None = None
    #: Names of the files it was trained and evaluated on, as {train, eval}.
    data: dict[str, str] = {}
    #: Preparation of the rows it learned from; None where that was not written down.
    steps: list[dict[str, Any]] | None = None
    #: Of a composed adapter: its recipe, the names of its parents and their weights.
    composed: dict[str, Any] = {}

    def make_task(self, fallback: str = "") -> Task:
        """Return the task with the options of the run; raises UnknownTask."""
        name = self.task or fallback
        return tasks.get(name).model_validate({"name": name} | self.options)

    @property
    def problem(self) -> str:
        """The kind of classification: single_label, multi_label or regression."""
        return str(self.options.get("problem", "single_label"))


def read(folder: Path) -> Trained:
    """Return what `folder` holds; a folder written by plain peft has no `studio.json` and gets plain labels.

    Raises AdapterMissing and PickledAdapter.
    """
    if (folder / "adapter_config.json").is_file():
        kind = "adapter"
        if not (folder / "adapter_model.safetensors").is_file():
            pickled = (folder / "adapter_model.bin").is_file()
            raise PickledAdapter(folder.name) if pickled else AdapterMissing(folder.name, folder=folder.name)
    elif (folder / "config.json").is_file():
        kind = "model"
    else:
        raise AdapterMissing(folder.name, folder=folder.name)
    facts = _json(folder / "studio.json")
    known = {key: value for key, value in facts.items() if key not in ("folder", "kind") and value is not None}
    return Trained(folder=folder, kind=kind, **known)


def tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in an adapter's file, by its saved name, without reading the weights.

    Raises BrokenWeights.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / "adapter_model.safetensors"
    try:
        opened: Any = safe_open(str(path), framework="numpy")
        with opened as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise weights.BrokenWeights(path.name, file=path.name, problem=str(error)) from error


def twin(model: Any) -> Any:
    """Return a copy of `model` whose modules are new and whose tensors are the same objects: it costs no memory."""
    shared: Iterable[torch.Tensor] = chain(model.parameters(), model.buffers())
    memo = {id(tensor): tensor for tensor in shared}
    for module in model.modules():
        # A 4-bit layer repeats its parameter's quantisation state (block scales) as a plain attribute.
        state = getattr(module, "quant_state", None)
        if state is not None:
            memo[id(state)] = state
    return copy.deepcopy(model, memo)


def set_labels(config: Any, trained: Trained, fallback_task: str = "") -> None:
    """Write the task's labels into a model's configuration."""
    if trained.labels:
        for key, value in trained.make_task(fallback_task).config(trained.labels).items():
            setattr(config, key, value)


def tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer saved in a folder, with its chat template, or its image processor; None without either."""
    if images.has_processor(folder):
        return images.processor_of(folder)
    return models.tokenizer_of(folder) if weights.has_tokenizer(folder) else None


def with_new_heads(base: Any, trained: Trained, heads: Iterable[str], fallback_task: str) -> Any:
    """Return a twin of `base` whose `heads` have fresh random weights (always the same) for the labels of `trained`."""
    import torch

    random: Any = torch.random
    model = twin(base)
    set_labels(model.config, trained, fallback_task)
    with torch.no_grad(), random.fork_rng(devices=[]):
        random.manual_seed(0)
        for name, head in _blank(model, list(heads)).items():
            for module in head.modules():
                model._init_weights(module)
            model.set_submodule(name, head)
    return model.eval()


def attach(base: Any, trained: Trained, *, share: bool = True, name: str = "default",
           task_name: str = "") -> Any:
    """Return a peft model of `base` and the adapter in `trained.folder`, ready to predict.

    With `share`, `base` itself is left untouched and its tensors are used in place, so any number of adapters of any
    method and any number of labels can live on one base. Raises AdapterMismatch.
    """
    import peft
    import torch

    from engine.tuners import registered

    registered()
    library: Any = peft
    config = library.PeftConfig.from_pretrained(str(trained.folder))
    model = base
    if share:
        model = copy.deepcopy(base) if rewrites_base(trained.folder) else twin(base)
    shapes = tensors(trained.folder)
    set_labels(model.config, trained, task_name)
    with torch.no_grad():
        _fit_heads(model, config, shapes)
        if share:
            _unshare(model, shapes)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            wrapped = library.PeftModel.from_pretrained(model, str(trained.folder), adapter_name=name, config=config,
                                                        torch_device=str(next(model.parameters()).device))
    except (RuntimeError, ValueError, KeyError) as error:
        raise AdapterMismatch(trained.folder.name, problem=_short(error)) from None
    for warning in caught:
        if "missing adapter keys" in str(warning.message):
            raise AdapterMismatch(trained.folder.name, problem=_short(warning.message))
    return wrapped.eval()


def is_own(folder: Path) -> bool:
    """Return whether an adapter is of a type that peft knows only after `import engine.tuners`; imports neither."""
    kind = _json(folder / "adapter_config.json").get("peft_type")
    return bool(kind) and str(kind).upper() not in _peft_types()


@functools.cache
def _peft_types() -> frozenset[str]:
    """Return the adapter types of peft itself, read from its source: importing it takes seconds and torch."""
    found = importlib.util.find_spec("peft")
    place = Path(next(iter(found.submodule_search_locations or []))) if found is not None else Path()
    tree = ast.parse((place / "utils" / "peft_types.py").read_text(encoding="utf-8"))
    kinds = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "PeftType")
    return frozenset(node.value.value.upper() for node in kinds.body if isinstance(node, ast.Assign)
                     and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))


def rewrites_base(folder: Path) -> bool:
    """Return whether loading the adapter changes the base's own weights, as a PiSSA adapter saved as such does."""
    return _json(folder / "adapter_config.json").get("init_lora_weights") not in HARMLESS_INITS


def _fit_heads(model: Any, config: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Give each saved head the saved width, in fp32: peft copies the base's head before it loads the adapter's."""
    import torch

    wrong: list[str] = []
    saved: set[str] = set(getattr(config, "modules_to_save", None) or [])
    if config.task_type == "SEQ_CLS":
        # peft saves these two with every sequence classifier, named in the file or not.
        saved |= {"classifier", "score"}
    for name, module in model.named_modules():
        if any(name == head or name.endswith(f".{head}") for head in saved):
            here = dict(module.named_parameters())
            prefix = f"base_model.model.{name}."
            wide = any(shape != tuple(here[key[len(prefix):]].shape) for key, shape in shapes.items()
                       if key.startswith(prefix) and key[len(prefix):] in here)
            if wide or any(value.dtype != torch.float32 for value in here.values()):
                wrong.append(name)
    for name, head in _blank(model, wrong).items():
        model.set_submodule(name, head)


def _blank(model: Any, names: list[str]) -> dict[str, torch.nn.Module]:
    """Return new fp32 modules of zeros, shaped by the model's present configuration, on the replaced ones' device."""
    import torch

    from engine.precision import cast_inputs

    if not names:
        return {}
    with torch.device("meta"):
        shaped = type(model)(model.config)
    heads: dict[str, torch.nn.Module] = {}
    for name in names:
        device = next(model.get_submodule(name).parameters()).device
        heads[name] = shaped.get_submodule(name).to_empty(device=device).float()
        for parameter in heads[name].parameters():
            parameter.zero_()
        cast_inputs(heads[name])
    return heads


def _unshare(model: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Give the model its own copy of every base tensor that the adapter's file overwrites (biases, embeddings)."""
    import torch

    own = dict(model.named_parameters(remove_duplicate=False))
    for key in shapes:
        name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
        if name in own:
            parent, _, leaf = name.rpartition(".")
            fresh = torch.nn.Parameter(own[name].detach().clone(), requires_grad=False)
            setattr(model.get_submodule(parent), leaf, fresh)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value: Any = json.loads(path.read_text(encoding="utf-8"))
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _short(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:3])
    return text if len(text) <= 300 else text[:297] + "..."
