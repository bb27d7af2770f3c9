"""What a base model is made of, without its weights: the input of every count, chart and memory estimate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["linear", "norm", "conv", "embedding", "other"]
Role = Literal["query", "key", "value", "output", "qkv", "up", "gate", "down", "gate_up",
               "norm", "embedding", "pooler", "head", "pointwise", "spatial", "depthwise", "other"]

ATTENTION: tuple[Role, ...] = ("query", "key", "value", "output", "qkv")
MLP: tuple[Role, ...] = ("up", "gate", "down", "gate_up")
#: Convolutions that see one place, several places, and several places of each channel by itself.
CONVOLUTIONS: tuple[Role, ...] = ("pointwise", "spatial", "depthwise")


class Module(BaseModel):
    """One parameter-holding module. `d_in` and `d_out` are its input and output widths; `layer` is None outside blocks.

    `parameters` counts its own parameters (weight and bias); `transposed` marks GPT-2's Conv1D. A convolution sees
    `kernel` places at a time in `groups` parts; `padded` where the model reads its stride in order to pad for it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind
    role: Role = "other"
    layer: int | None = None
    d_in: int = 0
    d_out: int = 0
    bias: bool = False
    parameters: int = 0
    transposed: bool = False
    tied: bool = False
    kernel: int = 1
    groups: int = 1
    padded: bool = False


class HeadModule(BaseModel):
    """A module a task adds or must train anew: it has `fixed + per_label * labels` parameters."""

    model_config = ConfigDict(frozen=True)

    name: str
    fixed: int = 0
    per_label: int = 0

    def parameters(self, labels: int) -> int:
        """Return its parameter count for a task of `labels` outputs."""
        return self.fixed + self.per_label * labels


class ModelShape(BaseModel):
    """The modules and dimensions of a base model, computed once on the meta device and stored with it."""

    architecture: str
    model_type: str
    family: Literal["encoder", "decoder", "encoder-decoder", "vision"]
    total: int = Field(description="Parameters of the base model, tied weights counted once, task head excluded.")
    layers: int = Field(description="Blocks that hold parameters; those of an encoder come before its decoder's.")
    depth: int = Field(0, description="How often an input passes a block; more than `layers` where blocks are shared.")
    hidden: int
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    intermediate: int = 0
    vocab: int = 0
    max_length: int = Field(0, description="Longest input in tokens; 0 when unlimited.")
    dtype: str = "float32"
    weight_bytes: int = 0
    chat_template: bool = False
    tied_embeddings: bool = False
    picture: int = Field(0, description="Width of the square images it is made for, in pixels; 0 if it sees none.")
    traces: list[int] = Field(default=[], description="Numbers that the layers of each block give out for one image of "
                                                      "that size; what lies before the blocks comes first.")
    open_attention: bool = Field(True, description="Whether transformers lets another function do its attention.")
    modules: list[Module] = []
    task_heads: dict[str, list[HeadModule]] = Field(
        default={}, description="By task name: the modules that task trains anew. A task that is absent is impossible.")
    words: bool | None = Field(None, description="Whether the checkpoint comes with a head that predicts words, also "
                                                 "hidden ones; null where nobody looked.")
    tried: list[str] = Field(default=[], description="The tasks that were tried; nothing is known of any other.")
    task_kept: dict[str, list[Module]] = Field(
        default={}, description="By task name: pretrained modules outside `modules` that the task's model keeps.")
    task_dropped: dict[str, list[str]] = Field(
        default={}, description="By task name: names in `modules` that the task's model does without.")

    def for_task(self, task: str) -> ModelShape:
        """Return the shape of the model this task builds: its modules and their total, its new head excluded."""
        kept, dropped = self.task_kept.get(task, []), set(self.task_dropped.get(task, []))
        if not kept and not dropped:
            return self
        modules = [m for m in self.modules if m.name not in dropped] + kept
        left = self.task_kept | {task: []}, self.task_dropped | {task: []}
        return self.model_copy(update={"modules": modules, "total": sum(m.parameters for m in modules),
                                       "task_kept": left[0], "task_dropped": left[1]})

    def linear(self, targets: str | Sequence[str] = "all-linear") -> list[Module]:
        """Return the linear modules that `targets` names, heads and poolers excluded.

        `targets` is "all-linear", "attention", "mlp", one role ("query"), a list of roles, or a list of name suffixes.
        """
        inner = [m for m in self.modules if m.kind == "linear" and m.role not in ("head", "pooler")
                 and (m.layer is not None or self.layers == 0)]
        return select(inner, targets)

    def convolutions(self, targets: str | Sequence[str] = "all-linear") -> list[Module]:
        """Return the convolutions inside blocks that `targets` names.

        "all-linear" stands for those that mix channels in models whose blocks have no linear layers, as older
        convolutional networks are; elsewhere for none.
        """
        inner = [m for m in self.modules if m.kind == "conv" and m.layer is not None and m.role in CONVOLUTIONS]
        if targets == "all-linear":
            return [] if self.linear() else [m for m in inner if m.groups == 1]
        return select(inner, targets)

    def in_layers(self, modules: Iterable[Module], layers: Sequence[int] | None) -> list[Module]:
        """Return those of `modules` that lie in the given layers; all of them for None."""
        return [m for m in modules if layers is None or m.layer in layers]

    def head_parameters(self, task: str, labels: int) -> int:
        """Return the number of parameters of the head that `task` trains with `labels` outputs."""
        return sum(head.parameters(labels) for head in self.task_heads.get(task, []))


#: What a person may write for a group of modules -> the roles it stands for.
GROUPS: dict[str, tuple[str, ...]] = {
    "attention": ATTENTION, "mlp": MLP,
    "q": ("query", "qkv"), "k": ("key", "qkv"), "v": ("value", "qkv"), "o": ("output",),
    "conv": ("pointwise", "spatial"), "up": ("up", "gate_up"), "gate": ("gate", "gate_up"),
}


def nameless(modules: Sequence[Module], words: Iterable[str]) -> list[str]:
    """Return the words that name none of the modules and are no group or role either: those that were misspelt."""
    roles = {*GROUPS, *(role for group in GROUPS.values() for role in group), *get_args(Role)}
    return [word for word in words if word not in roles and not select(modules, [word])]


def select(modules: Sequence[Module], targets: str | Sequence[str]) -> list[Module]:
    """Return the modules chosen by "all-linear", group names, roles, or dotted name suffixes."""
    if targets == "all-linear":
        return list(modules)
    wanted = [targets] if isinstance(targets, str) else list(targets)
    roles = {role for word in wanted for role in GROUPS.get(word, (word,))}
    return [m for m in modules if m.role in roles
            or any(m.name == word or m.name.endswith("." + word) for word in wanted)]
