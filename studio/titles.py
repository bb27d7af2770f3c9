"""What settings are called where people read of them: from a path in a RunSpec to the title and words of the form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine import methods, tasks
from engine.spec import DataRef, ModelRef, RateTest, Training
from studio import form

#: What is chosen by name, outside the settings.
NAMED = {"task": "Task", "method.name": "Method", "model.id": "Base model", "model.revision": "Revision",
         "data.train": "Dataset", "data.eval": "Evaluate on", "data.steps": "Steps of preparation"}
#: What the parts of a RunSpec are called, the longest path first.
PARTS = {"data.options": "Task", "data.columns": "Columns", "method": "Method", "training": "Training",
         "model": "Base model", "data": "Data", "rate_test": "Learning-rate test"}


@dataclass(frozen=True)
class Setting:
    """One setting: the title of the part it belongs to, its own, and its field where a form has one."""

    part: str
    title: str
    field: FieldInfo | None = None

    @property
    def whole(self) -> str:
        """The title with that of its part: "Training › Epochs"."""
        return " › ".join(text for text in (self.part, self.title) if text)


def find(path: str, document: Mapping[str, Any] | None = None) -> Setting | None:
    """Return the setting that a dotted path of a RunSpec names, or None.

    `document` tells which method and task are meant; without it the first that has such a setting is.
    """
    if path in NAMED:
        return Setting("", NAMED[path])
    part = next((known for known in PARTS if path.startswith(f"{known}.")), "")
    if not part:
        return None
    names = path.removeprefix(f"{part}.").split(".")
    found = (_through(kind, names) for kind in _kinds(part, document or {}))
    fields = next((each for each in found if each), [])
    if not fields:
        return None
    title = " › ".join(form.title(name, info) for name, info in zip(names, fields, strict=True))
    return Setting(PARTS[part], title, fields[-1])


def shown(found: Setting | None, value: Any) -> str:
    """Return a setting's value as the form writes it: on, none, 0.0003; what a person wrote stays as it is."""
    if found is None or found.field is None:
        return value if isinstance(value, str) else "–" if value is None else json.dumps(value, ensure_ascii=False)
    control = form.field("", found.field)
    written = isinstance(value, str) and value not in [option["value"] for option in control["options"]]
    return str(value) if written else form.shown(found.field, value)


def called(path: str, value: Any) -> str:
    """Return the title of a method or task that a path's value names, "" where it names none."""
    kinds: Mapping[str, Any] = {"method.name": methods.every(), "task": tasks.every()}.get(path, {})
    return kinds[value].card.title if isinstance(value, str) and value in kinds else ""


def _kinds(part: str, document: Mapping[str, Any]) -> Sequence[type[BaseModel]]:
    """Return the models that may stand at a part of a RunSpec."""
    every = {"method": methods.every(), "data.options": tasks.every()}.get(part)
    if every is not None:
        name = str((document.get("method") or {}).get("name") if part == "method" else document.get("task"))
        return [every[name]] if name in every else list(every.values())
    one = {"training": Training, "model": ModelRef, "data": DataRef, "rate_test": RateTest}.get(part)
    return [one] if one else []


def _through(kind: type[BaseModel], names: Sequence[str]) -> list[FieldInfo]:
    """Return the fields along a path through a model and the parts in it, none where one is not known."""
    fields: list[FieldInfo] = []
    model: type[BaseModel] | None = kind
    for name in names:
        if model is None or name not in model.model_fields:
            return []
        fields.append(model.model_fields[name])
        model = _part(fields[-1].annotation)
    return fields


def _part(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _part(inner)) is not None), None)
