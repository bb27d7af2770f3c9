"""What our own tuners share, so that saving, loading, switching, disabling and merging them is peft's own work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_adapters_to_merge
from peft.utils.peft_types import PeftType, register_peft_method
from torch import nn

#: Names of the tuners registered here, which plain peft does not know.
OWN: set[str] = set()


@dataclass
class TunerConfig(PeftConfig):
    """What adapter_config.json holds for each of our tuners: which modules are wrapped and which are saved whole."""

    #: The name under which the tuner is registered; its upper case is the peft type.
    kind: ClassVar[str] = ""

    target_modules: list[str] | str | None = field(default=None)
    exclude_modules: list[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)
    layers_to_transform: list[int] | int | None = field(default=None)
    layers_pattern: list[str] | str | None = field(default=None)

    @property
    def places(self) -> int:
        """Places of the model's input that the adapter takes for itself."""
        return 0

    def __post_init__(self) -> None:
        """Set the peft type."""
        super().__post_init__()
        self.peft_type = peft_type(self.kind)
        if isinstance(self.target_modules, list):
            # Sorted, so that the same run writes the same bytes.
            self.target_modules = sorted(self.target_modules)


class TunerLayer(nn.Module, BaseTunerLayer):
    """A module of the base model with something learned around it: parameters by adapter name in flat dictionaries.

    A subclass names its dictionaries in `adapter_layer_names` (those in `modules_in` hold modules, the others
    parameters), fills them in `build`, and computes in `forward`. Everything else a model may ask of the wrapped module
    is answered by the module itself.
    """

    modules_in: ClassVar[tuple[str, ...]] = ()

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: Any) -> None:
        """Wrap `base_layer` for a first adapter."""
        super().__init__()
        self.base_layer = base_layer
        for name in self.adapter_layer_names:
            setattr(self, name, nn.ModuleDict() if name in self.modules_in else nn.ParameterDict())
        self.settings: dict[str, Any] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the wrapped module where this one has none of that name."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)

    def build(self, adapter_name: str, config: Any) -> None:
        """Create the parameters of an adapter."""
        raise NotImplementedError

    def update_layer(self, adapter_name: str, config: Any) -> None:
        """Add an adapter."""
        self.settings[adapter_name] = config
        self.build(adapter_name, config)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def active(self) -> list[str]:
        """Return the adapters that count in a forward pass: none while disabled or merged."""
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return []
        known = self._get_available_adapters()
        return [] if self.merged else [name for name in self.active_adapters if name in known]

    def to_merge(self, adapter_names: list[str] | None) -> list[str]:
        """Return the adapters still to be merged."""
        known = self._get_available_adapters()
        return [name for name in check_adapters_to_merge(self, adapter_names) if name in known]

    def check_merge(self) -> None:
        """Raise ValueError where the weights have no place for what was learned; most tuners have none at all."""
        raise ValueError("what it learned is not a change of weights.")

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold adapters into the weights; raises what `check_merge` raises."""
        self.check_merge()

    def unmerge(self) -> None:
        """Take what was merged out again; there is nothing to do where nothing can be merged."""


class TunerModel(BaseTuner):
    """Puts `tuner_layer_cls` around every module its configuration names."""

    tuner_layer_cls: type[TunerLayer] = TunerLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _create_and_replace(self, peft_config: Any, adapter_name: str, target: nn.Module, target_name: str,
                            parent: nn.Module, current_key: str, *args: Any, **kwargs: Any) -> None:
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, peft_config)
            return
        made = self._make(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            made.requires_grad_(False)
        self._replace_module(parent, target_name, made, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """Put a module in another's place; unloading, peft would look for the weight of heads that have none."""
        if isinstance(new_module, TunerLayer):
            super()._replace_module(parent, child_name, new_module, child)
        else:
            setattr(parent, child_name, new_module)

    def _make(self, target: nn.Module, adapter_name: str, config: Any, name: str) -> TunerLayer:
        """Return the layer that is put around `target`, whose name in the model is `name`."""
        return self.tuner_layer_cls(target, adapter_name, config)

    def _check_merge_allowed(self) -> None:
        """Refuse before the first layer is merged rather than after half of them."""
        super()._check_merge_allowed()
        for module in self.model.modules():
            if isinstance(module, TunerLayer):
                module.check_merge()


def peft_type(name: str) -> PeftType:
    """Return peft's type of that name, adding it to the enumeration, which has no door of its own for that."""
    upper = name.upper()
    known: Any = PeftType
    if upper in known.__members__:
        return known[upper]
    member: Any = str.__new__(PeftType, upper)
    member._name_, member._value_, member.__objclass__ = upper, upper, PeftType
    known._member_names_.append(upper)
    known._member_map_[upper] = known._value2member_map_[upper] = member
    type.__setattr__(PeftType, upper, member)
    return cast("PeftType", member)


def register(config: type[TunerConfig], model: type[TunerModel]) -> None:
    """Make a tuner known to peft under its configuration's `kind`; parameter names begin with the model's prefix."""
    OWN.add(config.kind)
    peft_type(config.kind)
    register_peft_method(name=config.kind, config_cls=config, model_cls=model, prefix=model.prefix)


def out_width(module: nn.Module) -> int:
    """Return how many numbers a linear (also transposed), convolution or norm layer gives out for a token."""
    weight: torch.Tensor = getattr(module, "weight")  # noqa: B009
    if type(module).__name__ == "Conv1D":
        return int(weight.shape[1])
    return int(getattr(module, "out_features", weight.shape[0]))


def in_width(module: nn.Module) -> int:
    """Return how many numbers a linear layer (also transposed) takes in for a token."""
    weight: torch.Tensor = getattr(module, "weight")  # noqa: B009
    return int(weight.shape[0]) if type(module).__name__ == "Conv1D" else int(getattr(module, "in_features", 0))


def along_outputs(values: torch.Tensor, found: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """Return `values`, (outputs,), shaped to meet what `module` gave out: channels come second in images, else last."""
    second = isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.GroupNorm) or (
        getattr(module, "data_format", "") == "channels_first")
    return values.view(-1, *[1] * (found.dim() - 2)) if second else values


def bias_of(module: nn.Module) -> torch.Tensor | None:
    """Return the bias of a module, or None."""
    return getattr(module, "bias", None)


def check_bias(module: nn.Module) -> None:
    """Raise ValueError where a bias given to a module would be ignored, as norm layers without a mean ignore it."""
    if bias_of(module) is None and not (isinstance(module, nn.Linear | nn.LayerNorm | nn.Conv2d)
                                        or type(module).__name__ == "Conv1D"):
        raise ValueError(f"layers of type {type(module).__name__} have no place for a bias.")


def check_weight(module: nn.Module) -> None:
    """Raise ValueError where weights are stored in 4 or 8 bits, which nothing can be added to."""
    weight: torch.Tensor = getattr(module, "weight")  # noqa: B009
    if not weight.is_floating_point():
        raise ValueError("weights stored in 4 or 8 bits cannot take it in; dequantize the model first.")


def give_bias(module: Any, width: int, like: torch.Tensor) -> torch.Tensor:
    """Return the bias of a module's own, giving it one of zeros where it has none."""
    if bias_of(module) is None:
        dtype = module.weight.dtype if module.weight.is_floating_point() else torch.float32
        module.bias = nn.Parameter(torch.zeros(width, dtype=dtype, device=like.device), requires_grad=False)
    return module.bias
