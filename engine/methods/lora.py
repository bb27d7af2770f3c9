"""The default choice: low-rank updates beside frozen layers, as carried by peft."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from engine.knobs import knob
from engine.methods import _loftq
from engine.methods._peft import (
    Layers,
    PeftMethod,
    Targets,
    Word,
    fan_in_fan_out,
    layers_knob,
    targets_knob,
    times_full,
)
from engine.methods.base import Card, Doubt
from engine.shape import ModelShape, Module, nameless, select

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Init = Literal["default", "gaussian", "orthogonal", "pissa", "pissa_fast", "olora", "eva", "loftq"]
#: What the ways to start are called.
STARTS = {"pissa": "PiSSA", "pissa_fast": "Fast PiSSA", "olora": "OLoRA", "eva": "EVA", "loftq": "LoftQ"}
#: Our names of initialisations -> peft's.
PEFT_INITS: dict[str, Any] = {"default": True, "pissa_fast": "pissa_niter_16", "loftq": True}
#: These rewrite the base weights when they start; what is saved is converted to a plain LoRA of twice the rank.
REWRITING = ("pissa", "pissa_fast", "olora")

Pattern = dict[Word, Annotated[float, Field(gt=0)]]
Ranks = dict[Word, Annotated[int, Field(ge=1, le=4096)]]


class Lora(PeftMethod):
    """Learns a low-rank update B·A beside each chosen linear layer; the layer itself stays frozen."""

    name: Literal["lora"] = "lora"
    r: int = knob(8, ge=1, le=4096, scale="log2", slider=(1, 256), title="Rank",
                  help="Rank of the update. Higher learns more and costs more.")
    alpha: float = knob(16, gt=0, slider=(1, 256), scale="log2", title="Alpha",
                        help="Strength: the update is scaled by alpha / r.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()
    use_rslora: bool = knob(False, advanced=True, title="Rank-stabilised (rsLoRA)",
                            help="Scale by alpha / √r instead: keeps large ranks (64 and more) learning.")
    use_dora: bool = knob(False, advanced=True, title="DoRA",
                          help="Also learn the length of each output's weights. A little better, slower.")
    init: Init = knob("default", advanced=True, title="Start from", words=STARTS, help=(
        "Default starts as no change. PiSSA, OLoRA: main directions of the weights (saved at twice the rank). EVA: "
        "those of your data. Fast PiSSA approximates them. LoftQ: what 4 bits took from the base."))
    lora_plus_ratio: float = knob(1.0, ge=1, le=64, advanced=True, scale="log2", title="LoRA+ ratio",
                                  help="B learns this many times faster than A. 1 is plain LoRA, 16 is LoRA+.")
    rank_pattern: Ranks = knob(default_factory=dict, advanced=True, title="Ranks by layer",
                               help="Another rank for some targets, by role or end of name.")
    alpha_pattern: Pattern = knob(default_factory=dict, advanced=True, title="Alphas by layer",
                                  help="Another alpha for some targets, by role or end of name.")

    card: ClassVar[Card] = Card(
        title="LoRA", family="reparameterization", order=10,
        summary="Learns small low-rank updates beside frozen layers: about 1 % of the weights, close to full quality.",
        paper="Hu et al., 2021", url="https://arxiv.org/abs/2106.09685",
        use_when="The default choice for any task; with a 4-bit base it is QLoRA.",
        avoid_when="The data holds far more than the update can store: raise the rank or train all weights.",
        settings="Rank 8 to 32 on all linear layers, alpha twice the rank, ten times full fine-tuning's learning rate.",
        formula="h = W·x + (α / r)·B·A·x, only A and B are trained", mergeable=True)
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")
    convolutions: ClassVar[bool] = True

    @model_validator(mode="after")
    def _dora_keeps_the_base(self) -> Lora:
        if self.use_dora and self.init in (*REWRITING, "loftq"):
            raise ValueError(f"DoRA cannot start from {self.init}: it needs the original base weights")
        return self

    @property
    def float32(self) -> bool:
        """Initialisations that rewrite the base need it in float32, or its rounding would be learned."""
        return self.init in REWRITING

    @property
    def needs_data(self) -> bool:
        """EVA looks at the data before training."""
        return self.init == "eva"

    def rank(self, module: Module) -> int:
        """Return the rank of a module's update."""
        return int(_matched(self.rank_pattern, module, self.r))

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the linear layers and convolutions that are changed."""
        return super().chosen(shape) + shape.in_layers(shape.convolutions(self.targets), self.blocks(shape))

    def trained_in(self, module: Module) -> int:
        """Return r·(d_in·k + d_out) for a kernel of k places (1 for linear layers); DoRA adds d_out."""
        rank = self.rank(module)
        return rank * module.d_in * module.kernel + rank // module.groups * module.d_out + (
            module.d_out if self.use_dora else 0)

    def fault(self, module: Module) -> str | None:
        """Refuse convolutions that peft cannot wrap."""
        if module.padded:
            return ("is padded by the model, which reads its stride (tf_padding), and peft's LoRA layers hide that: "
                    "take SSF, BitFit or full fine-tuning, or set tf_padding to false in the model's config.json.")
        if self.rank(module) % module.groups:
            return (f"keeps its channels in {module.groups} groups, by which the rank must be divisible; leave it out, "
                    "or take SSF.")
        return None

    def stored_in(self, module: Module) -> int:
        """Return what is trained, twice where the start rewrote the base."""
        return self.trained_in(module) * (2 if self.init in REWRITING else 1)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why nothing would be adapted, or why the initialisation cannot be had."""
        reasons = super().obstacles(shape, task, quantization)
        chosen = self.chosen(shape)
        if self.init in REWRITING:
            if quantization:
                reasons.append(f"{self.init} rewrites the base weights, which a base in 4 or 8 bits does not allow.")
            if narrow := [m for m in chosen if self.rank(m) > min(m.d_in, m.d_out)]:
                width = min(narrow[0].d_in, narrow[0].d_out)
                reasons.append(f"{self.init} needs a rank of at most {width}, the width of {narrow[0].name}.")
        if any(m.kind == "conv" for m in chosen) and self.init not in ("default", "gaussian"):
            reasons.append(f"{self.init} starts from the matrices of linear layers, which convolutions do not have.")
        for field in ("rank_pattern", "alpha_pattern"):
            if chosen and (odd := nameless(chosen, getattr(self, field))):
                title = type(self).model_fields[field].title
                reasons.append(f"{title} names '{odd[0]}', but no adapted layer is called so.")
        if self.init == "loftq" and quantization != "nf4":
            reasons.append("loftq restores what a base stored in 4 bits (nf4) has lost; this base is not so stored.")
        if self.init == "olora" and any(m.transposed for m in chosen):
            reasons.append("olora cannot start from layers whose weights are stored transposed, as this model's are.")
        return reasons

    def doubts(self, shape: ModelShape) -> list[Doubt]:
        """Tell of a rank beyond what the layers can hold."""
        narrow = min((min(m.d_in * m.kernel, m.d_out) for m in self.chosen(shape)), default=0)
        if not 0 < narrow < self.r:
            return []
        return [Doubt("r", f"The narrowest of these layers holds a rank of {narrow:,} at most; {self.r:,} costs more "
                      "there and learns nothing more.", f"Choose at most {narrow:,}, or full fine-tuning.")]

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return ten times the rate of full fine-tuning (LoRA Without Regret, 2025)."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=list(modules),  # pyright: ignore[reportArgumentType]
            bias="none", use_rslora=self.use_rslora, use_dora=self.use_dora,
            init_lora_weights=PEFT_INITS.get(self.init, self.init), fan_in_fan_out=fan_in_fan_out(modules),
            **self._patterns(modules), **self._eva())

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with updates on exactly the chosen modules and `heads` trained whole."""
        wrapped = super().attach(model, shape, heads)
        if self.init == "loftq":
            _loftq.start(wrapped)
        if self.init in REWRITING:
            remembered: Any = wrapped
            remembered.initial_updates = {name: p.detach().clone() for name, p in wrapped.named_parameters()
                                          if ".lora_A." in name or ".lora_B." in name}
        return wrapped

    def initialise(self, model: torch.nn.Module, batches: Iterable[dict[str, torch.Tensor]]) -> None:
        """Point A at the main directions of each layer's inputs (EVA, Paischer et al., 2024); B stays zero."""
        if self.init != "eva":
            return
        from peft import initialize_lora_eva_weights

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = [{name: value for name, value in batch.items() if name != "labels"} for batch in batches]
            initialize_lora_eva_weights(model, inputs, show_progress_bar=False)  # pyright: ignore[reportArgumentType]

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write a peft directory; where the start rewrote the base, as the plain LoRA that fits the original base."""
        super().save(model, folder)
        if self.init in REWRITING:
            _convert(folder, model)

    def groups(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return one group, or two for LoRA+: B's rate is `lora_plus_ratio` times A's (Hayou et al., 2024)."""
        if self.lora_plus_ratio == 1:
            return super().groups(model, learning_rate, weight_decay)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        slow = [p for name, p in trained if ".lora_B." not in name]
        fast = [p for name, p in trained if ".lora_B." in name]
        return [{"params": slow, "lr": learning_rate, "weight_decay": weight_decay},
                {"params": fast, "lr": learning_rate * self.lora_plus_ratio, "weight_decay": weight_decay}]

    def _patterns(self, modules: dict[str, Module]) -> dict[str, Any]:
        ranks = {re.escape(full): self.rank(m) for full, m in modules.items() if self.rank(m) != self.r}
        alphas = {re.escape(full): alpha for full, m in modules.items()
                  if (alpha := _matched(self.alpha_pattern, m, self.alpha)) != self.alpha}
        return {"rank_pattern": ranks, "alpha_pattern": alphas}

    def _eva(self) -> dict[str, Any]:
        """Every layer keeps the rank asked for (rho 1): ranks moved between layers could not be previewed."""
        if self.init != "eva":
            return {}
        from peft import EvaConfig

        return {"eva_config": EvaConfig(rho=1.0, use_label_mask=False)}


def _matched(pattern: Ranks | Pattern, module: Module, otherwise: float) -> float:
    """Return the value of the longest word of `pattern` that names `module`."""
    words = [word for word in pattern if select([module], [word])]
    return pattern[max(words, key=len)] if words else otherwise


def _convert(folder: Path, model: Any) -> None:
    """Rewrite a saved adapter as W + s·(B·A − B₀·A₀): the matrices side by side, with twice the rank.

    The scale s of each layer stays: alpha doubles with the rank, or grows by √2 under rsLoRA.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "adapter_model.safetensors")
    for name, first in model.initial_updates.items():
        stored = name.replace(".default.", ".")
        start = first.to(weights[stored])
        weights[stored] = _joined(weights[stored], start, down=".lora_A." in name)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    grown = math.sqrt(2) if config["use_rslora"] else 2
    config |= {"r": 2 * config["r"], "lora_alpha": grown * config["lora_alpha"], "init_lora_weights": True,
               "rank_pattern": {name: 2 * rank for name, rank in config["rank_pattern"].items()},
               "alpha_pattern": {name: grown * alpha for name, alpha in config["alpha_pattern"].items()}}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _joined(trained: torch.Tensor, start: torch.Tensor, *, down: bool) -> torch.Tensor:
    import torch

    return torch.cat([trained, start] if down else [trained, -start], dim=0 if down else 1).contiguous()
