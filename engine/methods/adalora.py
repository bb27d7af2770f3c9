"""LoRA that moves its rank to the layers that need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from engine.knobs import knob
from engine.methods._peft import (
    Layers,
    PeftMethod,
    Targets,
    fan_in_fan_out,
    layers_knob,
    targets_knob,
    times_full,
)
from engine.methods.base import Card
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: The part of a tensor's name that says it holds singular values.
VALUES = ".lora_E"


class Schedule(NamedTuple):
    """When ranks fall: none before update `first`, to the final budget at update `last`, a look `every` few."""

    first: int
    last: int
    every: int


class Adalora(PeftMethod):
    """Learns updates as P·Λ·Q, and takes singular values away from the layers where they matter least."""

    name: Literal["adalora"] = "adalora"
    r: int = knob(8, ge=1, le=1024, scale="log2", slider=(1, 128), title="Final rank",
                  help="Average rank of a layer at the end; some keep more, some nothing.")
    init_r: int = knob(12, ge=2, le=2048, scale="log2", slider=(2, 192), title="First rank",
                       help="Rank that every layer starts with; about one and a half times the final one.")
    alpha: int = knob(32, ge=1, slider=(1, 256), scale="log2", title="Alpha",
                      help="Strength: the update is scaled by alpha / first rank.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    warmup: float = knob(0.1, ge=0, lt=1, step=0.05, advanced=True, title="Before ranks fall",
                         help="Share of the updates in which every layer keeps its first rank.")
    settled: float = knob(0.3, gt=0, lt=1, step=0.05, advanced=True, title="After ranks fell",
                          help="Share of the updates at the end in which ranks stay as they are.")
    every: int = knob(10, ge=1, le=10_000, scale="log2", slider=(1, 1000), advanced=True, title="Updates between looks",
                      help="Ranks are moved each time this many updates have passed.")
    orthogonality: float = knob(0.5, ge=0, le=10, step=0.1, advanced=True, title="Orthogonality",
                                help="How strongly P and Q are kept orthogonal, so that Λ tells what matters.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="AdaLoRA", family="reparameterization", order=22,
        summary="LoRA that starts wide and gives its rank to the layers where it helps most.",
        paper="Zhang et al., 2023", url="https://arxiv.org/abs/2303.10512",
        use_when="The number of parameters is fixed and you want the most of it, or to see which layers matter.",
        avoid_when="Runs are short: ranks are chosen from what was seen so far.",
        settings="First rank 12, final rank 8, ranks settled for the last 30 % of the updates.",
        formula="ΔW = (α / r₀)·P·Λ·Q, PᵀP ≈ QQᵀ ≈ I, small entries of Λ are set to zero", mergeable=True)
    quantized: ClassVar[tuple[str, ...]] = ("nf4",)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Add that there must be something to take away, and time for it."""
        reasons = super().obstacles(shape, task, quantization)
        if self.init_r <= self.r:
            reasons.append(f"The first rank ({self.init_r}) must be larger than the final one ({self.r}).")
        if self.warmup + self.settled >= 1:
            reasons.append("No updates are left in which ranks could fall: lower the share before or after.")
        return reasons

    def trained_in(self, module: Module) -> int:
        """Return r₀·(d_in + d_out + 1). All of it is saved: what was taken away are rows whose value is zero."""
        return self.init_r * (module.d_in + module.d_out + 1)

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return twenty times full fine-tuning's: the paper uses 5e-4 to 2.2e-3 where full fine-tuning uses 5e-5."""
        return times_full(shape, 20)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config; its schedule is set once the number of updates is known."""
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            init_r=self.init_r, target_r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, total_step=2,
            deltaT=self.every, orth_reg_weight=self.orthogonality, target_modules=list(modules),
            fan_in_fan_out=fan_in_fan_out(modules))

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft; the divisors r₀ are constants, where peft would train them on a bf16 base."""
        from peft.tuners._buffer_dict import BufferDict
        from peft.tuners.adalora.layer import AdaLoraLayer

        wrapped = super().attach(model, shape, heads)
        for module in wrapped.modules():
            if isinstance(module, AdaLoraLayer):
                constants = {name: value.detach() for name, value in module.ranknum.items()}
                module.ranknum = BufferDict(constants, persistent=False)  # pyright: ignore[reportAttributeAccessIssue]
        return wrapped

    # -- while it trains -------------------------------------------------------------------------------------------

    def schedule(self, total: int) -> Schedule | None:
        """Return when ranks fall in a run of `total` updates; None when it is too short to tell what matters."""
        last = total - max(1, round(self.settled * total))
        first = min(round(self.warmup * total), last - 1)
        return Schedule(first, last, min(self.every, max(1, last - first))) if last >= 1 else None

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """Return the mean over P and Q of ‖PᵀP - I‖, times the weight asked for (equation 4 of the paper)."""
        if not self.orthogonality:
            return None
        import torch

        terms: list[torch.Tensor] = []
        for name, p in model.named_parameters():
            if p.requires_grad and (".lora_A." in name or ".lora_B." in name):
                product = p @ p.T if ".lora_A." in name else p.T @ p
                terms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=p.device)))
        return self.orthogonality * torch.stack(terms).mean() if terms else None

    def after_update(self, model: torch.nn.Module, step: int, total: int) -> None:
        """Weigh every singular value by the gradients of this update, and take away those beyond the budget."""
        plan = self.schedule(total)
        if plan is None:
            return
        tuner: Any = model.base_model
        config = tuner.peft_config[tuner.trainable_adapter_name]
        config.total_step, config.tinit, config.tfinal, config.deltaT = total, plan.first, total - plan.last, plan.every
        tuner.update_and_allocate(step)

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Return the smoothed importance of every tensor, and which singular values are kept."""
        import torch

        allocator, config = _allocator(model)
        found = {f"importance.{name}": value for name, value in allocator.exp_avg_ipt.items()}
        found |= {f"uncertainty.{name}": value for name, value in allocator.exp_avg_unc.items()}
        return found | {f"kept.{name}": torch.tensor(kept) for name, kept in (config.rank_pattern or {}).items()}

    def load_state(self, model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state` returned."""
        import torch

        allocator, config = _allocator(model)
        own = dict(model.base_model.model.named_parameters())  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        allocator.exp_avg_ipt, allocator.exp_avg_unc = (
            {name: value.to(own[name].device) for name, value in _part(state, part).items()}
            for part in ("importance", "uncertainty"))
        allocator.ipt = {name: torch.zeros_like(value) for name, value in allocator.exp_avg_ipt.items()}
        config.rank_pattern = {name: value.tolist() for name, value in _part(state, "kept").items()} or None

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write a peft directory with all rows, those taken away having a singular value of zero.

        peft would leave them out, by the pattern of its last look; what has grown back since a stopped run's last
        look would be lost, and the file's size could not be foreseen.
        """
        _, config = _allocator(model)
        pattern, config.rank_pattern = config.rank_pattern, None
        super().save(model, folder)
        config.rank_pattern = pattern


def final_ranks(folder: Path) -> dict[str, int]:
    """Return the rank of each layer of a saved adapter, by module name: its singular values that are not zero."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    return {name.removesuffix(VALUES).removeprefix("base_model.model."): int((values != 0).sum())
            for name, values in tensors.items() if name.endswith(VALUES)}


def _allocator(model: torch.nn.Module) -> tuple[Any, Any]:
    """Return peft's rank allocator and the config it reads."""
    tuner: Any = model.base_model
    return tuner.rankallocator, tuner.peft_config[tuner.trainable_adapter_name]


def _part(state: Mapping[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(part + "."): value for name, value in state.items() if name.startswith(part + ".")}
