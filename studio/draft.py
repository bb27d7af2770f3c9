"""A run being prepared on the Train page: what is chosen so far, as a URL, as form values and as a RunSpec document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from engine import methods, tasks
from engine.spec import DataRef, ModelRef, Training
from studio import form

#: Chosen in the evaluation picker: the dataset's own evaluation file, or a split when it has none.
USUAL = "usual"
#: Keep a share of the training rows aside even when the dataset has an evaluation file.
SPLIT = "split"
#: The longest "set" a URL may carry.
LONGEST = 4000

Values = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Draft:
    """What is chosen; every part may still be missing ("").

    `values` holds settings by the groups of `groups()`: "method.lora", "training", "options.causal_lm", "model".
    """

    dataset: str = ""
    eval: str = USUAL
    task: str = ""
    model: str = ""
    revision: str | None = None
    method: str = "lora"
    values: Values = field(default_factory=dict)
    #: Steps of preparation in place of the dataset's own; None for those.
    steps: list[dict[str, Any]] | None = None
    #: What the dataset was confirmed or guessed to need of its task; it stands where nothing else was chosen.
    own: dict[str, Any] = field(default_factory=dict)

    def groups(self) -> list[form.Group]:
        """Return the settings that belong to the chosen method and task."""
        made: list[form.Group] = []
        if kind := methods.every().get(self.method):
            made.append(form.Group(f"method.{self.method}", kind.card.title, kind))
        task = tasks.every().get(self.task)
        counted = task is None or task.reads == "text"
        made.append(form.Group("training", "Training", Training, skip=() if counted else ("max_length",)))
        if task is not None:
            made.append(form.Group(f"options.{self.task}", task.card.title, task))
        # Of the data everything is chosen elsewhere, but what forgetting is measured on.
        rest = tuple(name for name in DataRef.model_fields if name != "forgetting")
        return [*made, form.Group("data", "Evaluation", DataRef, skip=rest),
                form.Group("model", "Base model", ModelRef, skip=("id", "revision"))]

    def document(self) -> dict[str, Any]:
        """Return the RunSpec document; whether it is valid is for engine.spec to say."""
        def part(key: str) -> dict[str, Any]:
            return dict(self.values.get(key, {}))
        data: dict[str, Any] = {"train": self.dataset, "options": part(f"options.{self.task}")} | part("data")
        if self.eval != USUAL:
            data["eval"] = None if self.eval == SPLIT else self.eval
        if self.steps is not None:
            data["steps"] = self.steps
        return {"task": self.task, "model": {"id": self.model, "revision": self.revision} | part("model"), "data": data,
                "method": {"name": self.method} | part(f"method.{self.method}"), "training": part("training")}

    def changes(self) -> list[tuple[str, Any, Any]]:
        """Return (title, value, default) of every setting that is not at its default."""
        return [found for group in self.groups() for found in form.changes(group.model, self.values.get(group.key, {}))]

    def url(self) -> str:
        """Return the query ("?…") that opens the page with this draft."""
        parts = {"dataset": self.dataset, "eval": "" if self.eval == USUAL else self.eval, "task": self.task,
                 "model": self.model, "revision": self.revision or "", "method": self.method}
        different = {g.key: kept for g in self.groups() if (kept := self._different(g))}
        packed = json.dumps(different, separators=(",", ":"), ensure_ascii=False) if different else ""
        parts["set"] = packed if len(packed) <= LONGEST else ""
        steps = "" if self.steps is None else json.dumps(self.steps, separators=(",", ":"), ensure_ascii=False)
        parts["steps"] = steps if len(steps) <= LONGEST else ""
        return "?" + urlencode({key: value for key, value in parts.items() if value})

    def with_dataset(self, id: str, task: str) -> Draft:
        """Return the draft with another dataset and the task its columns speak for."""
        return replace(self, dataset=id, eval=USUAL, task=task or self.task, steps=None)

    def with_own(self, options: Mapping[str, Any], *, again: bool = False) -> Draft:
        """Return the draft with what its dataset needs of the task, under what was chosen; `again`, in its place."""
        key = f"options.{self.task}"
        chosen = {} if again else self.values.get(key, {})
        values, made = {name: inner for name, inner in self.values.items() if name != key}, {**options, **chosen}
        return replace(self, own=dict(options), values=values | ({key: made} if made else {}))

    def _different(self, group: form.Group) -> dict[str, Any]:
        """Return the settings of a group that are not what an address without them would open with."""
        usual = form.defaults(group.model, group.skip)
        own = self.own if group.key == f"options.{self.task}" else {}
        chosen = usual | dict(self.values.get(group.key, {}))
        return {name: value for name, value in chosen.items() if name in usual and value != (usual | own)[name]}


def from_query(query: Mapping[str, Any]) -> Draft:
    """Return the draft that `url` wrote; what is not understood is left at its default."""
    def text(name: str, default: str = "") -> str:
        return str(query.get(name) or default)[:300]
    try:
        values = json.loads(str(query.get("set") or "{}")[:LONGEST])
    except ValueError:
        values = {}
    kept = {str(key): dict(inner) for key, inner in values.items() if isinstance(inner, dict)} \
        if isinstance(values, dict) else {}
    return Draft(text("dataset"), text("eval", USUAL), text("task"), text("model"), text("revision") or None,
                 text("method", "lora"), kept, _steps(query))


def from_spec(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a stored run's document, to change and start again."""
    data, model, method = document["data"], dict(document["model"]), dict(document["method"])
    name = method.pop("name")
    values = {f"method.{name}": method, "training": dict(document.get("training") or {}),
              f"options.{document['task']}": dict(data.get("options") or {}),
              "model": {"quantization": model.get("quantization")}, "data": {"forgetting": data.get("forgetting")}}
    return Draft(data["train"], data.get("eval") or SPLIT, document["task"], model["id"], model.get("revision"), name,
                 values, list(data.get("steps") or []))


def _steps(query: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    try:
        steps = json.loads(str(query.get("steps") or "")[:LONGEST])
    except ValueError:
        return None
    return [dict(step) for step in steps if isinstance(step, dict)] if isinstance(steps, list) else None

