"""What the methods carried by peft share: which layers they change, why one cannot be, and how they are attached."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from engine.knobs import knob
from engine.methods.base import Method, Piece, full_learning_rate
from engine.shape import ModelShape, Module, nameless

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Storage formats of a frozen base as people call them.
FORMATS = {"int8": "8 bits (int8)", "nf4": "4 bits (nf4)"}


def plain(word: str) -> str:
    """Return `word`; raises ValueError unless it is a group, a role or the end of a module's name."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", word):
        raise ValueError("a target is a group, a role or the end of a module's name: letters, digits, '.', '-' and '_'")
    return word


Word = Annotated[str, AfterValidator(plain)]
Targets = Literal["all-linear", "attention", "mlp"] | list[Word]
Layers = Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=0)]] | None


def targets_knob(default: str = "all-linear", why: str = "all-linear matches full fine-tuning best.") -> Any:
    """Return the field that says which linear layers are changed."""
    return knob(default, title="Layers to adapt", help=(
        f"{why} One of all-linear, attention, mlp, or a list: q, k, v, o, up, gate, down or ends of module names."))


def layers_knob() -> Any:
    """Return the field that says in which blocks layers are changed."""
    return knob(None, advanced=True, title="Blocks", words={None: "All"}, help=(
        "Which blocks to adapt: all, a number for that many at the top, or a list counted from 0."))


class PeftMethod(Method):
    """A method that peft carries on chosen linear layers. A subclass names its settings, counts and peft's config."""

    if TYPE_CHECKING:  # Each method declares these two itself, so that a form shows them after its own settings.
        targets: Targets
        layers: Layers

    #: Whether layers whose weights are stored transposed (GPT-2's) can carry it.
    transposed: ClassVar[bool] = True
    #: Whether convolutions can carry it.
    convolutions: ClassVar[bool] = False
    #: Whether linear layers can carry it that are given images, (rows, height, width, channels), as ConvNeXt's are.
    maps: ClassVar[bool] = True
    #: Storage formats of a frozen base on which it trains right.
    quantized: ClassVar[tuple[str, ...]] = ()
    #: The task's head learns no faster than this; set where the method's own rate is too large for a head.
    head_most: ClassVar[float | None] = None

    @field_validator("targets", mode="before", check_fields=False)
    @classmethod
    def _words_are_plain(cls, targets: Any) -> Any:
        """Refuse an odd word by itself, before it is reported as none of the groups."""
        return [plain(word) if isinstance(word, str) else word for word in targets] if isinstance(targets, list) \
            else targets

    @model_validator(mode="after")
    def _something_is_named(self) -> PeftMethod:
        if getattr(self, "targets", None) == []:
            raise ValueError("targets is an empty list, so nothing would be adapted")
        if getattr(self, "layers", None) == []:
            raise ValueError("layers is an empty list, so nothing would be adapted")
        return self

    # -- what a method says of itself ------------------------------------------------------------------------------

    def trained_in(self, module: Module) -> int:
        """Return the number of parameters that are trained in one chosen module."""
        raise NotImplementedError

    def stored_in(self, module: Module) -> int:
        """Return the number of values that are saved for one chosen module."""
        return self.trained_in(module)

    def shared(self, modules: Sequence[Module]) -> tuple[int, int]:
        """Return how many values all chosen modules share: trained, and saved."""
        return 0, 0

    def fault(self, module: Module) -> str | None:
        """Return why this module cannot carry the method, as the rest of a sentence after its name; None if it can."""
        return None

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config for exactly these modules, by their full names in the model."""
        raise NotImplementedError

    # -- what follows from it --------------------------------------------------------------------------------------

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the modules that are changed."""
        return shape.in_layers(shape.linear(self.targets), self.blocks(shape))

    def blocks(self, shape: ModelShape) -> list[int] | None:
        """Return the numbers of the blocks asked for; None for all."""
        if isinstance(self.layers, int):
            return list(range(max(0, shape.layers - self.layers), shape.layers))
        return self.layers

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return what is trained and saved in each chosen module, and last what they share."""
        modules = self.chosen(shape)
        found = [Piece(m.name, m.kind, m.role, m.layer, self.trained_in(m), self.stored_in(m)) for m in modules]
        trained, stored = self.shared(modules)
        return [*found, Piece("", "other", "other", None, trained, stored)] if trained or stored else found

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why nothing would be changed, or why a chosen layer or the base's storage cannot carry the method."""
        reasons = self._missing_blocks(shape)
        modules = self.chosen(shape)
        maps = any(m.kind == "conv" and m.layer is not None for m in shape.modules)
        if not modules and maps and not shape.linear():
            reasons.append("The blocks of this model are convolutions; " + (
                "name them by all-linear, conv, pointwise, spatial or depthwise." if self.convolutions else
                f"{self.card.title} cannot change these: take LoRA, SSF, BitFit or full fine-tuning."))
        elif not modules:
            # Methods that choose by the part a layer plays have no targets of their own.
            targets = getattr(self, "targets", None)
            named = targets if isinstance(targets, str) else ", ".join(targets or ())
            reasons.append(f"No linear layer of this model is one of: {named}." if named
                           else f"This model has none of the layers that {self.card.title} changes.")
        elif isinstance(asked := getattr(self, "targets", None), list):
            known = shape.linear() + [m for m in shape.modules if m.kind == "conv" and m.layer is not None]
            reasons += [f"No layer of this model is called '{word}'." for word in nameless(known, asked)[:1]]
        if not self.transposed and any(m.transposed for m in modules):
            reasons.append(f"{self.card.title} cannot change layers whose weights are stored transposed, as this "
                           "model's are.")
        if modules and maps and not self.maps:
            reasons.append(f"{self.card.title} takes rows of tokens, and this model's linear layers are given images.")
        if quantization and quantization not in self.quantized:
            reasons.append(f"{self.card.title} does not train right on a base stored in "
                           f"{FORMATS.get(quantization, quantization)}; store it unquantized, or take LoRA.")
        faults = ((m, fault) for m in modules if (fault := self.fault(m)))
        return reasons + [f"{m.name} {fault}" for m, fault in [*faults][:1]]

    def _missing_blocks(self, shape: ModelShape) -> list[str]:
        if isinstance(self.layers, int):
            return [f"This model has {shape.layers} blocks, not {self.layers}."] if self.layers > shape.layers else []
        outside = [layer for layer in self.layers or [] if layer >= shape.layers]
        return [f"There is no block {outside[0]}: this model's are numbered 0 to {shape.layers - 1}."] \
            if outside else []

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft: exactly the chosen modules are changed, and `heads` are trained whole."""
        from peft import get_peft_model

        from engine.skeleton import names_in

        chosen = self.chosen(shape)
        full = names_in(model, [m.name for m in chosen])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = self.config({full[m.name]: m for m in chosen})
            config.task_type, saved = task_type(model, heads)
            config.modules_to_save = saved or None
            return get_peft_model(model, config)

    def groups(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return one group, or two where the head must not learn as fast as the rest."""
        if self.head_most is None:
            return super().groups(model, learning_rate, weight_decay)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        own = [p for name, p in trained if ".modules_to_save." not in name]
        head = [p for name, p in trained if ".modules_to_save." in name]
        found = [{"params": own, "lr": learning_rate, "weight_decay": weight_decay}]
        return [*found, {"params": head, "lr": min(learning_rate, self.head_most), "weight_decay": weight_decay}] \
            if head else found


def times_full(shape: ModelShape, factor: float) -> float:
    """Return `factor` times the usual rate of full fine-tuning, to two digits."""
    return float(f"{factor * full_learning_rate(shape):.1e}")


def fan_in_fan_out(modules: dict[str, Module]) -> bool:
    """Return whether the weights of these modules are stored transposed."""
    return any(m.transposed for m in modules.values())


def common_divisor(modules: Iterable[Module], most: int, *, inputs: bool = True, outputs: bool = True) -> int:
    """Return the largest number up to `most` that divides the input and output widths of all modules."""
    sizes = [size for m in modules for size in ((m.d_in,) * inputs + (m.d_out,) * outputs)]
    whole = math.gcd(*sizes) if sizes else 1
    return max(number for number in range(1, min(most, whole) + 1) if whole % number == 0)


def task_type(model: PreTrainedModel, heads: Sequence[str]) -> tuple[Any, list[str]]:
    """Return peft's task type where it changes nothing but convenience, and the modules to save beside the updates.

    peft's SEQ_CLS adds `classifier` and `score` to the saved modules by itself, so it is used only when these are
    trained anyway.
    """
    from peft import TaskType
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )

    kind = type(model).__name__
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() and not heads:
        return TaskType.CAUSAL_LM, []
    usual = [name for name, _ in model.named_modules() if name.endswith(("classifier", "score"))]
    if kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values() and usual and set(usual) <= set(heads):
        return TaskType.SEQ_CLS, [name for name in heads if name not in ("classifier", "score")]
    return None, list(heads)
