"""Making one adapter of several: what does not fit together is refused at once, the work itself is the worker's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db import adapters, compositions, datasets
from db.blobs import Blobs
from db.errors import Conflict
from db.tables import Adapter, Composition, Dataset
from db.users import User
from engine import parents
from engine.compose import NeedsExamples
from engine.errors import Refused
from engine.recipe import WAYS, Recipe, parse
from worker import client


class AdapterTwice(Refused):
    """The adapter '{name}' is chosen twice."""

    kind = "adapter_twice"
    try_this = "Name each adapter once; give it a larger weight instead."


class BaseChanged(Refused):
    """The files of the base model '{model}' changed between {first} and {other}."""

    kind = "base_changed"
    try_this = "Choose adapters trained on the same files, or train one of them again."


class DatasetNotReady(Conflict):
    """The dataset '{name}' is not ready ({state})."""

    kind = "dataset_not_ready"
    try_this = "Wait until it has been read, or choose another."


class OtherTask(Refused):
    """The dataset '{name}' is for {theirs}, the adapters are for {ours}."""

    kind = "other_task"
    try_this = "Choose a dataset of the adapters' task."


def compose(user: User, adapter_ids: Sequence[str], recipe: Recipe | dict[str, Any], *, name: str = "",
            dataset_id: str | None = None) -> Composition:
    """Have adapters combined, and measured against each other where a dataset is given; LoraHub needs one.

    Raises NotFound, SpecError, the errors of engine.parents and of this module.
    """
    chosen = recipe if isinstance(recipe, Recipe) else parse(recipe)
    found = [adapters.get(user, id) for id in adapter_ids]
    dataset = datasets.get(user, dataset_id) if dataset_id else None
    check(found, chosen, dataset)
    row = compositions.create(user, adapter_ids, chosen, name=name, dataset_id=dataset_id)
    client.compose(row.id)
    return row


def check(found: Sequence[Adapter], recipe: Recipe, dataset: Dataset | None) -> None:
    """Refuse adapters that do not fit together, the recipe, or the dataset; reads no weights."""
    for place, row in enumerate(found):
        if row.id in [other.id for other in found[:place]]:
            raise AdapterTwice("adapters", name=row.name)
        first = found[0]
        if row.model == first.model and row.model_hash and first.model_hash and row.model_hash != first.model_hash:
            raise BaseChanged("adapters", model=row.model, first=first.name, other=row.name)
    blobs = Blobs()
    parents.check(parents.read([blobs.local(row.key) for row in found], [row.name for row in found]), recipe)
    if dataset is None:
        if recipe.searches:
            raise NeedsExamples("dataset")
        return
    if dataset.state != "ready":
        raise DatasetNotReady(dataset.id, name=dataset.name, state=dataset.state)
    if dataset.task and dataset.task != found[0].task:
        raise OtherTask("dataset", name=dataset.name, theirs=dataset.task.replace("_", " "),
                        ours=found[0].task.replace("_", " "))


def cancel_composition(user: User, id: str) -> Composition:
    """Stop combining; raises NotFound."""
    compositions.get(user, id)
    client.cancel("composition", id)
    return compositions.get(user, id)


def ways(found: Sequence[Adapter]) -> dict[str, str]:
    """Return for each way of combining why it cannot combine these adapters; nothing for one that can.

    What holds whatever the way (another base model, other labels) is said by `check` instead.
    """
    blobs = Blobs()
    try:
        read = parents.read([blobs.local(row.key) for row in found], [row.name for row in found])
    except Refused:
        return {}
    reasons: dict[str, str] = {}
    for how in WAYS:
        try:
            parents.check(read, parse({"how": how}))
        except (parents.DifferentRanks, parents.NotLora, parents.NotPrompt) as problem:
            reasons[how] = problem.what
        except Refused:
            continue
    return reasons
