"""The adapters a combination is made of: what they are and whether they fit together. Reads no weights, no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine import adapter
from engine.adapter import Trained
from engine.errors import Refused
from engine.recipe import MOST, WAYS, Recipe

#: A factor's key in an adapter's file: module of the base model, and which of the two factors.
FACTOR = re.compile(r"^base_model\.model\.(?P<module>.+)\.(?P<factor>lora_(?:embedding_)?[AB])(?:\.weight)?$")
#: Settings of a LoRA configuration under which the update is not B·A alone, and what they are called.
SPECIAL = {
    "use_dora": "DoRA also rescales the base weights, so the updates do not add up",
    "lora_bias": "it has biases beside its updates",
    "trainable_token_indices": "it changes single tokens of the embedding",
    "target_parameters": "it changes parameters outside layers", "layer_replication": "it repeats layers of the base",
    "alora_invocation_tokens": "it acts on part of the text only", "use_qalora": "it pools its inputs",
    "use_bdlora": "its factors are block-diagonal", "arrow_config": "it routes between adapters",
    "monteclora_config": "its factors are random", "kasa_config": "it learns a diagonal between its factors"}
#: What the key of a soft prompt's or prefix's tensor contains.
PROMPT_WORDS = ("prompt", "prefix")


class TooFew(Refused):
    """Combining takes two to {most} adapters, not {count}."""

    kind = "too_few_adapters"
    try_this = "Choose two to {most} adapters of one base model."


class DifferentBase(Refused):
    """{first} and {other} belong to different base models ({mine}, {theirs})."""

    kind = "different_base"
    try_this = "Choose adapters of one base model."


class DifferentTask(Refused):
    """{first} and {other} were trained for different tasks ({mine}, {theirs})."""

    kind = "different_task"
    try_this = "Choose adapters of one task."


class DifferentLabels(Refused):
    """{first} and {other} have different labels ({mine}; {theirs})."""

    kind = "different_labels"
    try_this = "Choose adapters trained on the same labels."


class DifferentHeads(Refused):
    """{first} and {other} were saved with different heads: {what}."""

    kind = "different_heads"
    try_this = "Choose adapters whose heads have the same layers, as runs of one base model and one task have."


class DifferentRanks(Refused):
    """{way} needs equal ranks, but {module} has rank {mine} in {first} and {theirs} in {other}."""

    kind = "different_ranks"
    try_this = "Use the exact sum or the closest of a small rank: they take any ranks."


class DifferentShapes(Refused):
    """{what} has the shape {mine} in {first} and {theirs} in {other}."""

    kind = "different_shapes"
    try_this = "Choose adapters of one length and one base model."


class DifferentPlaces(Refused):
    """{first} and {other} have their virtual tokens at different places: {mine}; {theirs}."""

    kind = "different_places"
    try_this = "Choose soft prompts whose virtual tokens stand alike, as those of one template do."


class NotLora(Refused):
    """{name} is a {kind} adapter; {way} combines LoRA adapters."""

    kind = "not_lora"
    try_this = "Choose LoRA adapters; soft prompts of one shape can be averaged."


class NotPrompt(Refused):
    """{name} is no soft prompt, and only soft prompts can be averaged."""

    kind = "not_a_prompt"
    try_this = "Choose another way of combining."


class NotComposable(Refused):
    """{name} cannot be combined: {problem}."""

    kind = "not_composable"
    try_this = "Choose another adapter, or train this one again without that."


@dataclass(frozen=True)
class Parent:
    """One adapter to combine: the `name` people know it by, what its folder says, and its tensors' shapes."""

    name: str
    trained: Trained
    config: dict[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def kind(self) -> str:
        """The type of adapter as peft calls it, such as LORA."""
        return str(self.config.get("peft_type") or "unknown")

    @property
    def base(self) -> tuple[str, str]:
        """Id and revision of the base model."""
        known = self.trained.model_id or str(self.config.get("base_model_name_or_path") or "")
        return known.removeprefix("hub:"), str(self.trained.revision or self.config.get("revision") or "")

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The rank of each layer's update, by the layer's module in the base model."""
        found: dict[str, int] = {}
        for key, shape in self.shapes.items():
            if (match := FACTOR.match(key)) and match["factor"].endswith("A"):
                found[match["module"]] = shape[0]
        return found

    def scale(self, module: str) -> float:
        """Return what the update of a module is multiplied by: alpha / r, or alpha / √r for rsLoRA."""
        patterns: dict[str, float] = self.config.get("alpha_pattern") or {}
        # The way peft matches: a pattern is a name, or the end of one, or a regular expression for it.
        own = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
        alpha = float(patterns[own] if own is not None else self.config.get("lora_alpha") or 8)
        rank = self.ranks[module]
        return alpha / (rank**0.5 if self.config.get("use_rslora") else rank)

    @property
    def prompts(self) -> list[str]:
        """The keys of soft prompts and prefixes."""
        if self.kind == "LORA":
            return []
        return [key for key in self.shapes if any(word in key.lower() for word in PROMPT_WORDS)]

    @property
    def heads(self) -> list[str]:
        """The keys of what was trained whole beside the updates: heads, or embeddings."""
        prompts = set(self.prompts)
        return [key for key in self.shapes if not FACTOR.match(key) and key not in prompts]


def read(folders: Sequence[Path], names: Sequence[str]) -> list[Parent]:
    """Return what the folders hold. Raises AdapterMissing, PickledAdapter, NotComposable."""
    found: list[Parent] = []
    for folder, name in zip(folders, names, strict=True):
        trained = adapter.read(folder)
        if trained.kind == "model":
            raise NotComposable(name, name=name, problem="it is a whole model",
                                try_this="Choose adapters; models trained whole are not combined.")
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        found.append(Parent(name, trained, config, adapter.tensors(folder)))
    return found


def check(parents: Sequence[Parent], recipe: Recipe) -> None:
    """Refuse parents that do not fit together or the recipe; raises one of this module's errors, or WrongWeights."""
    if not 2 <= len(parents) <= MOST:
        raise TooFew("adapters", count=len(parents), most=MOST)
    if recipe.how != "lorahub" or recipe.weights is not None:
        recipe.weights_for(len(parents))
    first = parents[0]
    for parent in parents:
        _fits_way(parent, recipe)
    for other in parents[1:]:
        _same_origin(first, other)
        _same_heads(first, other)
        if recipe.how == "average":
            _same_prompts(first, other)
        else:
            _same_layers(first, other)
    if recipe.way.equal_ranks:
        _same_ranks(parents, recipe)


def _fits_way(parent: Parent, recipe: Recipe) -> None:
    if recipe.how == "average":
        if not parent.prompts:
            raise NotPrompt(parent.name, name=parent.name)
        return
    if parent.kind != "LORA":
        raise NotLora(parent.name, name=parent.name, kind=parent.kind.replace("_", " ").lower(),
                      way=WAYS[recipe.how].title)
    problem = next((why for key, why in SPECIAL.items() if parent.config.get(key)), "")
    if not problem and parent.config.get("bias", "none") != "none":
        problem = "it also changes biases"
    if not problem and adapter.rewrites_base(parent.trained.folder):
        problem = "its start rewrote the base weights"
    odd = [key for key in parent.heads if ".lora_" in key]
    if not problem and odd:
        problem = f"it has more than two factors: {_plain(odd[0])}"
    if not problem and not parent.ranks:
        problem = "it updates no layer"
    if problem:
        raise NotComposable(parent.name, name=parent.name, problem=problem)


def _same_origin(first: Parent, other: Parent) -> None:
    mine, theirs = first.trained, other.trained
    if first.base != other.base:
        raise DifferentBase(other.name, first=first.name, other=other.name, mine=" ".join(first.base).strip(),
                            theirs=" ".join(other.base).strip())
    tasks = [f"{one.task}, {one.problem}" if one.task == "text_classification" else one.task for one in (mine, theirs)]
    if tasks[0] != tasks[1]:
        raise DifferentTask(other.name, first=first.name, other=other.name, mine=tasks[0] or "unknown",
                            theirs=tasks[1] or "unknown")
    if mine.labels != theirs.labels:
        raise DifferentLabels(other.name, first=first.name, other=other.name, mine=_listed(mine.labels),
                              theirs=_listed(theirs.labels))


def _same_heads(first: Parent, other: Parent) -> None:
    mine = {key: first.shapes[key] for key in first.heads}
    theirs = {key: other.shapes[key] for key in other.heads}
    odd = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
    if odd:
        raise DifferentHeads(other.name, first=first.name, other=other.name, what=_plain(odd[0]))


def _same_prompts(first: Parent, other: Parent) -> None:
    for key in sorted({*first.prompts, *other.prompts}):
        mine, theirs = first.shapes.get(key), other.shapes.get(key)
        if mine != theirs or first.kind != other.kind:
            raise DifferentShapes(other.name, what=_plain(key), first=first.name, other=other.name,
                                  mine=_shape(mine), theirs=_shape(theirs))
    places = [_places(one) for one in (first, other)]
    if places[0] != places[1]:
        raise DifferentPlaces(other.name, first=first.name, other=other.name, mine=places[0], theirs=places[1])


def _places(parent: Parent) -> str:
    """Return where a soft prompt's virtual tokens stand, "" where its kind knows but one place."""
    if "before" in parent.config:
        around = [" ".join("[P]" if place < 0 else f"<{place}>" for place in parent.config.get(side) or [])
                  for side in ("before", "after")]
        return " ".join(part for part in (around[0], "{text}", around[1]) if part)
    return "between text and answer" if parent.config.get("infix") else ""


def _same_layers(first: Parent, other: Parent) -> None:
    """A layer both adapt must have the same inputs and outputs, whatever the ranks."""
    for key in first.shapes.keys() & other.shapes.keys():
        if (match := FACTOR.match(key)) is None:
            continue
        rank = 0 if match["factor"].endswith("A") else 1
        mine, theirs = ([n for axis, n in enumerate(shape) if axis != rank]
                        for shape in (first.shapes[key], other.shapes[key]))
        if mine != theirs:
            raise DifferentShapes(other.name, what=match["module"], first=first.name, other=other.name,
                                  mine=_shape(first.shapes[key]), theirs=_shape(other.shapes[key]))


def _same_ranks(parents: Sequence[Parent], recipe: Recipe) -> None:
    seen: dict[str, tuple[Parent, int]] = {}
    for parent in parents:
        for module, rank in parent.ranks.items():
            known, expected = seen.setdefault(module, (parent, rank))
            if rank != expected:
                raise DifferentRanks(parent.name, way=recipe.way.title, module=module, mine=expected, theirs=rank,
                                     first=known.name, other=parent.name)


def _plain(key: str) -> str:
    return key.removeprefix("base_model.model.")


def _shape(shape: tuple[int, ...] | None) -> str:
    return " × ".join(map(str, shape)) if shape else "nothing"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:6]) + (" …" if len(labels) > 6 else "") if labels else "none"
