"""A base model built without weights: the source of its ModelShape."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import dimensions, looks, roles, tasks, weights
from engine.errors import ModelError
from engine.shape import HeadModule, ModelShape, Module
from engine.weights import Tensor

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel


class UnknownArchitecture(ModelError):
    """Models of type '{model_type}' are not known to this version."""

    kind = "architecture_unknown"
    try_this = "Choose a model of a common architecture, or install a newer version of transformers."


class RemoteCode(ModelError):
    """The model '{model_type}' needs program code that comes with it, which is never run here."""

    kind = "remote_code_refused"
    try_this = "Choose a model whose architecture is part of transformers."


class IncompleteWeights(ModelError):
    """The weights lack {count} tensors that the base model needs, '{first}' the first of them."""

    kind = "weights_incomplete"
    try_this = "Use the complete weights, and the config.json that belongs to them."


class Skeleton:
    """A model of one class on the meta device, and which of its tensors the checkpoint does not hold."""

    def __init__(self, model: PreTrainedModel, missing: set[str]) -> None:
        self.model = model
        self.missing = missing
        self.prefix = model.base_model_prefix if hasattr(model, model.base_model_prefix or " ") else ""
        self.modules = roles.modules(model, self.prefix)

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter by its full name."""
        return {name: tuple(p.shape) for name, p in self.model.named_parameters()}


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Keep transformers from printing load reports and progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def config(folder: Path) -> PreTrainedConfig:
    """Return a model directory's configuration; raises NoConfig, UnknownArchitecture or RemoteCode."""
    from transformers import AutoConfig

    content = weights.read_json(folder / "config.json")
    model_type = str(content.get("model_type", ""))
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
        if "auto_map" in content:
            raise RemoteCode(str(folder), model_type=model_type) from None
        if model_type in _known_types():
            first = str(error).strip().partition("\n")[0]
            raise weights.BadConfig(str(folder), file="config.json", problem=first) from None
        raise UnknownArchitecture(str(folder), model_type=model_type) from None


def _known_types() -> set[str]:
    from transformers import CONFIG_MAPPING

    return set(CONFIG_MAPPING.keys())


def build(auto: Any, configuration: PreTrainedConfig, stored: Mapping[str, Tensor] | None) -> Skeleton | None:
    """Return the skeleton of the class that an Auto class picks for this configuration; None when it has none.

    `stored` are the checkpoint's tensors; transformers' own loader matches their names to the model's, so that what it
    calls missing here is missing when the weights are loaded. None stands for a complete checkpoint of the base.
    """
    import torch

    with quiet():
        try:
            with torch.device("meta"):
                model = auto.from_config(configuration, trust_remote_code=False)
        except (ValueError, KeyError):
            return None
        if stored is None:
            return Skeleton(model, _outside_base(model))
        empty = {name: torch.empty(tensor.shape, device="meta") for name, tensor in stored.items()}
        model, info = type(model).from_pretrained(
            None, config=configuration, state_dict=empty, device_map={"": "meta"}, dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True)
    mismatched = {item[0] if isinstance(item, tuple) else item for item in info["mismatched_keys"]}
    return Skeleton(model, set(info["missing_keys"]) | mismatched)


def _outside_base(model: PreTrainedModel) -> set[str]:
    """Return the parameters that a checkpoint of the base model alone, with its language head, would lack."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

    for generators in (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING):
        if generators.get(type(model.config), None) is type(model):
            return set()
    prefix = model.base_model_prefix
    if not hasattr(model, prefix):
        return set()
    return {name for name, _ in model.named_parameters() if not name.startswith(prefix + ".")}


def shape_of(configuration: PreTrainedConfig, stored: Mapping[str, Tensor] | None = None, *,
             chat_template: bool = False, only: Sequence[str] | None = None, words: bool = True) -> ModelShape:
    """Return the shape of a model from its configuration and the headers of its weights; `only` these tasks are tried.

    Without `words`, it is left open whether the checkpoint holds a head that predicts words.

    Raises UnknownArchitecture when transformers has no base class for it, IncompleteWeights when weights of the base
    are missing.
    """
    family = dimensions.family_of(configuration)
    base, inside = _base(configuration, family, stored)
    modules = [module if module.name in inside else module.model_copy(update={"role": "head"})
               for module in _complete(base)]
    if getattr(configuration, "tf_padding", False):
        modules = [m.model_copy(update={"padded": m.kind == "conv"}) for m in modules]
    heads: dict[str, list[HeadModule]] = {}
    kept: dict[str, list[Module]] = {}
    dropped: dict[str, list[str]] = {}
    names = {module.name for module in modules}
    tried = list(tasks.every() if only is None else only)
    for name in tried:
        kind = tasks.get(name)
        if family not in kind.families:
            continue
        built = _task(kind(name=name), configuration, stored)
        if built is None:
            continue
        skeleton, heads[name] = built
        full = names_in(skeleton.model, [m.name for m in skeleton.modules])
        rest = [m for m in skeleton.modules if not _within(full[m.name], heads[name])]
        kept[name] = [m.model_copy(update={"role": "head"}) for m in rest if m.name not in names]
        dropped[name] = sorted(names - {m.name for m in rest})
    return ModelShape(
        architecture=(configuration.architectures or [type(base.model).__name__])[0],
        model_type=configuration.model_type, family=family, modules=modules, task_heads=heads,
        tried=list(tasks.every()), words=_says_words(configuration, family, base, stored) if words else None,
        task_kept={name: found for name, found in kept.items() if found},
        task_dropped={name: found for name, found in dropped.items() if found},
        total=sum(module.parameters for module in modules), chat_template=chat_template,
        **dimensions.of(configuration, base.model, modules), **looks.of(configuration, base.model, family),
        **dimensions.storage(configuration, stored, modules))


def _base(configuration: PreTrainedConfig, family: str,
          stored: Mapping[str, Tensor] | None) -> tuple[Skeleton, set[str]]:
    """Return what people mean by the base model, and which of its modules are no language head.

    A generator comes with its language head, an encoder without.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    bare = build(AutoModel, configuration, stored)
    auto = {"decoder": AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM}.get(family)
    base = (build(auto, configuration, stored) if auto else None) or bare
    if base is None:
        raise UnknownArchitecture("config.json", model_type=configuration.model_type)
    return base, {module.name for module in (bare or base).modules}


def _says_words(configuration: PreTrainedConfig, family: str, base: Skeleton,
                stored: Mapping[str, Tensor] | None) -> bool:
    """Whether the checkpoint holds all of a language head, one that fills gaps where the model is an encoder."""
    from transformers import AutoModelForMaskedLM

    found = build(AutoModelForMaskedLM, configuration, stored) if family == "encoder" else base
    if found is None or family == "vision" or found.model.get_output_embeddings() is None:
        return False
    return all(name.startswith(f"{found.prefix}.") for name in found.missing) if found.prefix else not found.missing


def _complete(base: Skeleton) -> list[Module]:
    """Return the modules of the base whose weights are there; raises IncompleteWeights for one that must be."""
    lists = roles.blocks(base.model)
    needed = sorted(name for name in base.missing
                    if any(name.startswith(block.name + ".") for block in lists) or "embed" in name)
    if needed:
        raise IncompleteWeights("weights", count=len(needed), first=needed[0])
    lost = {_short(base, name.rpartition(".")[0]) for name in base.missing}
    return [module for module in base.modules if module.name not in lost]


def _task(task: Any, configuration: PreTrainedConfig,
          stored: Mapping[str, Tensor] | None) -> tuple[Skeleton, list[HeadModule]] | None:
    """Return the task's model with two labels and the modules it must train anew; None when there is no such model.

    A module is new when the checkpoint lacks all of it, or when its size depends on the number of labels.
    """
    auto = task.auto_class()
    two = build(auto, configured(task, configuration, 2), stored)
    if two is None:
        return None
    # Only its sizes are asked for: the weights need not be matched again.
    three = build(auto, configured(task, configuration, 3), None) if task.config(["0", "1"]) else two
    if three is None:
        return None
    sizes = two.sizes(), three.sizes()
    changed = {name for name, size in sizes[0].items() if sizes[1].get(name) != size}
    names = _owners(two.model, two.missing | changed)
    return two, [_head(name, two.model, three.model) for name in names]


def configured(task: Any, configuration: PreTrainedConfig, labels: int) -> PreTrainedConfig:
    """Return a copy of the configuration as `task` sets it for this many labels."""
    import copy

    changed = copy.deepcopy(configuration)
    # Where there are several classes for a task (DeiT), transformers looks through this list.
    changed.architectures = changed.architectures or []
    for key, value in task.config([str(i) for i in range(labels)]).items():
        setattr(changed, key, value)
    return changed


def _owners(model: torch.nn.Module, names: set[str]) -> list[str]:
    """Return the largest modules all of whose parameters are in `names`, in the order of the model."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    wanted = names & parameters
    found: list[str] = []
    for name, _ in model.named_modules():
        own = {p for p in parameters if p.startswith(name + ".")} if name else parameters
        if own and own <= wanted and not any(name.startswith(outer + ".") for outer in found):
            found.append(name)
    return found


def _head(name: str, two: torch.nn.Module, three: torch.nn.Module) -> HeadModule:
    few, many = (sum(p.numel() for p in model.get_submodule(name).parameters()) for model in (two, three))
    return HeadModule(name=name, fixed=few - 2 * (many - few), per_label=many - few)


def _within(name: str, heads: list[HeadModule]) -> bool:
    return any(name == head.name or name.startswith(head.name + ".") for head in heads)


def names_in(model: torch.nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Return, for each module that the shape names, its full name in `model`; raises KeyError for one not there."""
    prefix = getattr(model, "base_model_prefix", "")
    known = {name for name, _ in model.named_modules()}
    found: dict[str, str] = {}
    for name in names:
        full = f"{prefix}.{name}" if prefix else name
        if full not in known and name in known:
            full = name
        if full not in known:
            raise KeyError(name)
        found[name] = full
    return found


def _short(skeleton: Skeleton, name: str) -> str:
    prefix = skeleton.prefix
    return name[len(prefix) + 1:] if prefix and name.startswith(prefix + ".") else name
