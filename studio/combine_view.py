"""The Combine page's choices: which adapters fit together, by which ways, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from db import adapters, datasets
from db.tables import Adapter, Composition, Dataset
from db.users import User
from engine import methods, tasks
from engine.errors import StudioError
from engine.recipe import WAYS, Recipe, parse
from studio import cards, form, parts, shell
from studio.combine_result import told_apart
from studio.service import compositions as combining
from studio.text import plural

#: The most adapters the page combines; the API takes more.
MOST = 8
#: Settings the page shows in their own way.
OWN = ("how", "weights")


@dataclass(frozen=True)
class Draft:
    """What is chosen: base model and task as one key, adapters, way, weights (None: usual), dataset, settings."""

    base: str = ""
    adapters: tuple[str, ...] = ()
    how: str = "cat"
    weights: tuple[float | None, ...] = ()
    dataset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def recipe(self) -> Recipe:
        """Return the recipe; where some weights are given, the others have the usual one. Raises SpecError."""
        given = self.weights[:len(self.adapters)]
        weights = None
        if self.how != "lorahub" and any(weight is not None for weight in given):
            filled = [*given, *[None] * (len(self.adapters) - len(given))]
            weights = [usual(self) if weight is None else weight for weight in filled]
        return parse({**self.settings, "how": self.how, "weights": weights})

    def url(self, composition: str = "") -> str:
        """Return the address that opens the page with these choices, and the combination that is shown above them."""
        plain = form.defaults(Recipe, OWN)
        known: dict[str, Any] = {"base": "" if self.adapters else self.base, "adapters": ",".join(self.adapters),
                                 "how": self.how if self.how != "cat" else "", "dataset": self.dataset}
        if any(weight is not None for weight in self.weights):
            known["weights"] = ",".join("" if weight is None else f"{weight:g}" for weight in self.weights)
        known |= {name: value for name, value in self.settings.items() if name in plain and value != plain[name]}
        known["composition"] = composition
        return "?" + urlencode({name: value for name, value in known.items() if value not in ("", None)}, safe=",/")


def there(user: User, id: str) -> bool:
    """Whether an adapter is there."""
    return parts.found(lambda: adapters.get(user, id)) is not None


def from_query(user: User, query: Mapping[str, str]) -> Draft:
    """Return the choices an address holds; adapters that are not there are left out."""
    found = [row for one in query.get("adapters", "").split(",")
             if one and (row := parts.found(lambda id=one: adapters.get(user, id))) is not None][:MOST]
    given = [_number(part) for part in query["weights"].split(",")] if query.get("weights") else []
    how = query.get("how", "cat")
    settings = {name: _value(query[name]) for name in form.defaults(Recipe, OWN) if name in query}
    base = key(found[0]) if found else query.get("base", "")
    return completed(user, Draft(base, tuple(row.id for row in found), how if how in WAYS else "cat",
                                 tuple(given[:MOST]), query.get("dataset", ""), settings))


def from_row(user: User, row: Composition) -> Draft:
    """Return the choices a combination was made with."""
    recipe = row.recipe
    query = {"adapters": ",".join(parent["id"] for parent in row.parents), "how": str(recipe["how"]),
             "dataset": row.dataset_id or ""}
    if recipe.get("weights"):
        query["weights"] = ",".join(f"{weight:g}" for weight in recipe["weights"])
    draft = from_query(user, query)
    settings = {name: value for name, value in recipe.items() if name not in OWN}
    return Draft(draft.base, draft.adapters, draft.how, draft.weights, draft.dataset, settings)


def completed(user: User, draft: Draft) -> Draft:
    """Return the draft with a base model and only adapters of that; the first base where none was chosen."""
    known = bases(user)
    base = draft.base if draft.base in known else next(iter(known), "")
    kept = tuple(row.id for row in fitting(user, base) if row.id in draft.adapters)
    in_order = tuple(id for id in draft.adapters if id in kept)
    return Draft(base, in_order, draft.how, draft.weights, draft.dataset, draft.settings)


# -- what can be chosen ---------------------------------------------------------------------------------------------


def key(row: Adapter) -> str:
    """Return what adapters to be combined have in common, as one text."""
    return f"{row.model} · {row.task}"


def bases(user: User) -> dict[str, str]:
    """Return the base models and tasks with two adapters or more, as {key: title}."""
    counted: dict[str, int] = {}
    for row in adapters.find(user, limit=1000):
        if combinable(row):
            counted[key(row)] = counted.get(key(row), 0) + 1
    titles = {one: one.partition(" · ") for one, count in counted.items() if count > 1}
    return {one: f"{model} · {tasks.get(task).card.title}" for one, (model, _, task) in titles.items()
            if task in tasks.every()}


def fitting(user: User, base: str) -> list[Adapter]:
    """Return the adapters of a base model and task that may be combined, newest first."""
    model, _, task = base.partition(" · ")
    found = adapters.find(user, models=[model], tasks=[task], limit=200) if task else []
    return [row for row in found if combinable(row)]


def combinable(row: Adapter) -> bool:
    """Tell whether the page offers an adapter: LoRA and soft prompts can be combined."""
    kind = methods.every().get(row.method)
    return row.artifact == "adapter" and (row.method == "lora" or (
        kind is not None and kind.card.family == "soft prompt"))


def adapter_choices(user: User, base: str) -> list[tuple[str, str]]:
    """Return (title, id) of each adapter to choose."""
    found = fitting(user, base)
    return [(name + (" · combined" if row.composed else ""), row.id)
            for name, row in zip(names(found), found, strict=True)]


def way_options(found: Sequence[Adapter]) -> list[dict[str, Any]]:
    """Return the ways of combining as cards; one that cannot combine the chosen adapters says why."""
    reasons = combining.ways(found) if len(found) > 1 else {}
    return [{"value": how, "title": way.title, "text": way.summary, "hint": way.paper, "disabled": reasons.get(how, "")}
            for how, way in WAYS.items()]


def dataset_options(user: User, base: str) -> list[dict[str, Any]]:
    """Return the datasets of the task that are ready."""
    task = base.partition(" · ")[2]
    found = [row for row in datasets.find(user, states=["ready"], limit=500)
             if row.task == task and row.eval_of_id is None]
    return [{"value": "", "title": "None: combine only"},
            *({"value": row.id, "title": f"{row.name} ({plural(row.rows or 0, 'row')})"} for row in found)]


def groups(how: str) -> list[form.Group]:
    """Return the settings of a recipe, under the name of its way."""
    return [form.Group("recipe", WAYS[how].title, Recipe, OWN)]


def names(found: Sequence[Adapter]) -> list[str]:
    """Return the adapters' names; of those that share one, with the end of their ids."""
    return told_apart([{"id": row.id, "name": row.name} for row in found])


def settings_state(draft: Draft, elem_id: str) -> dict[str, Any]:
    """Return the settings that matter for the chosen way."""
    value = form.state(groups(draft.how), {"recipe": draft.settings}, elem_id=elem_id)
    value["values"]["recipe"]["how"] = draft.how
    return value


def usual(draft: Draft) -> float:
    """Return the weight an adapter has when none is given."""
    return Recipe.model_validate({"how": draft.how}).weights_for(max(len(draft.adapters), 1))[0]


# -- whether it can begin -------------------------------------------------------------------------------------------


def verdict(user: User, draft: Draft) -> tuple[str, bool]:
    """Return what stands in the way or is worth knowing, as HTML, and whether combining can begin."""
    found = [adapters.get(user, one) for one in draft.adapters]
    if len(found) < 2:
        return cards.note("Choose two adapters or more.", "muted"), False
    dataset = parts.found(lambda: datasets.get(user, draft.dataset)) if draft.dataset else None
    try:
        combining.check(found, draft.recipe(), dataset)
    except StudioError as problem:
        return cards.error(problem), False
    return _learned_here(found, dataset), True


def _learned_here(found: Sequence[Adapter], dataset: Dataset | None) -> str:
    """Say which adapters have seen the rows they would be compared on."""
    names = [row.name for row in found if dataset is not None and row.dataset_id == dataset.id and row.run_id]
    if not names:
        return ""
    return cards.note(f"{', '.join(names)} learned from this dataset: unless it has a file to evaluate on, the scores "
                      "will look better than they are.", "warn")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _value(text: str) -> Any:
    number = _number(text)
    return text if number is None else int(number) if number.is_integer() and "." not in text else number


def chosen_rows(user: User, draft: Draft) -> list[Adapter]:
    """Return the chosen adapters, in their order."""
    return [row for one in draft.adapters if (row := parts.found(lambda id=one: adapters.get(user, id))) is not None]


def picks(user: User, draft: Draft) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of the pickers of base model and dataset."""
    options = [{"value": one, "title": title} for one, title in bases(user).items()]
    help = "LoraHub finds the weights on some of its rows and compares on others." if draft.how == "lorahub" else (
        "Compares the result with its parts; combining needs none.")
    rows = dataset_options(user, draft.base)
    picked = draft.dataset if draft.dataset in [one["value"] for one in rows] else ""
    return (shell.picks(options, draft.base or None, label="Base model and task", elem_id="combine-base"),
            shell.picks(rows, picked, label="Dataset", elem_id="combine-dataset", help=help))
