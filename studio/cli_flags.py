"""Flags of `peft-studio train`: made from the fields of methods, tasks and training; to a RunSpec and back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine import methods, tasks
from engine.errors import SpecError
from engine.knobs import written
from engine.spec import DataRef, ModelRef, RunSpec, Training


@dataclass
class Flag:
    """One generated flag. `owners` are the parts of a spec that have such a field: "training", "method.lora", ..."""

    name: str
    help: str
    switch: bool
    fields: dict[str, FieldInfo] = field(default_factory=dict)

    @property
    def spelling(self) -> str:
        """The flag as it is typed."""
        return "--" + self.name.replace("_", "-")

    @property
    def owners(self) -> str:
        """Where the field belongs, for the help text."""
        return ", ".join(owner.partition(".")[2] or owner for owner in self.fields)


def flags() -> list[Flag]:
    """Return every generated flag: training's first, then the methods', then the tasks'."""
    found: dict[str, Flag] = {}
    for owner, kind in _owners():
        for name, info in kind.model_fields.items():
            if name == "name":
                continue
            switch = _kinds(info.annotation) == {bool}
            flag = found.setdefault(name, Flag(name, info.description or "", switch))
            flag.switch = flag.switch and switch
            flag.fields[owner] = info
    for flag in found.values():
        flag.help = f"{flag.help} {_spelled(flag)}".strip()
    return list(found.values())


def _spelled(flag: Flag) -> str:
    """Return how a flag's named values are written; where owners have others than the first, by owner."""
    ways: dict[str, list[str]] = {}
    for owner, info in flag.fields.items():
        ways.setdefault(written(info), []).append(owner.partition(".")[2] or owner)
    first = next(iter(ways))
    parts = [said if said == first else f"with {', '.join(owners)}: {said}" for said, owners in ways.items() if said]
    return f"Written: {'; '.join(parts)}." if parts else ""


def document(base: Mapping[str, Any], given: Mapping[str, Any], assignments: Iterable[str] = ()) -> dict[str, Any]:
    """Return a spec document: `base` with the flags of `given` (name -> text or bool) and `path=value` laid over it.

    Raises SpecError for an assignment that is not `path=value`; whether fields exist is for `engine.spec.parse`.
    """
    made: dict[str, Any] = json.loads(json.dumps(base))
    known = {flag.name: flag for flag in flags()}
    for name, text in given.items():
        flag = known[name]
        owner = _owner(flag, made)
        value = text if isinstance(text, bool) else parse(text, flag.fields.get(owner))
        _put(made, [*_path(owner), name], value)
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign or not path.strip():
            raise SpecError("--set", problem=f"'{assignment}' is not of the form path=value",
                            try_this="Write --set method.alpha=32, for example.")
        _put(made, path.strip().split("."), parse(text, _field(path.strip(), made)))
    return made


def parse(text: str, info: FieldInfo | None = None) -> Any:
    """Return the value of a flag's text: as it is for text fields, else JSON, a comma-separated list, or text."""
    kinds = _kinds(info.annotation) if info is not None else {Any}
    if kinds <= {str}:
        return text
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text.lower() in ("none", "") and type(None) in kinds:
        return None
    if list in kinds and "," in text:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def line(spec: RunSpec, name: str = "", program: str = "peft-studio") -> str:
    """Return the shell command that starts this run; only what differs from the defaults is written out."""
    words = [program, "train", "--task", spec.task, "--model", spec.model.id, "--data", spec.data.train]
    for flag, value in (("--name", name), ("--eval", spec.data.eval), ("--forgetting", spec.data.forgetting),
                        ("--revision", spec.model.revision),
                        ("--quantization", spec.model.quantization)):
        words += [flag, value] if value else []
    for role, column in spec.data.columns.items():
        words += ["--column", f"{role}={column}"]
    for step in spec.data.steps:
        words += ["--step", json.dumps(step.model_dump(mode="json"), ensure_ascii=False)]
    words += ["--method", spec.method.name, *(["--find-rate"] if spec.rate_test else [])]
    for setting, value in (spec.rate_test.model_dump(exclude_defaults=True) if spec.rate_test else {}).items():
        words += ["--set", f"rate_test.{setting}={value}"]
    task = spec.make_task()
    made = {"task": spec.task, "method": {"name": spec.method.name}}
    for owner, part in ((f"method.{spec.method.name}", spec.method), ("training", spec.training),
                        (f"task.{spec.task}", task)):
        words += _changed(owner, part, made)
    return " ".join(shlex.quote(word) for word in words)


def roles(columns: Iterable[str]) -> dict[str, str]:
    """Return role -> column of `--column role=column` texts; raises SpecError."""
    found: dict[str, str] = {}
    for text in columns:
        role, sign, column = text.partition("=")
        if not sign or not role or not column:
            raise SpecError("--column", problem=f"'{text}' is not of the form role=column",
                            try_this="Write --column text=sentence, for example.")
        found[role.strip()] = column
    return found


def _changed(owner: str, part: BaseModel, made: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words that set every field of `part` that is not at its default."""
    known = {flag.name: flag for flag in flags()}
    values, usual = part.model_dump(mode="json"), type(part).model_construct().model_dump(mode="json")
    for name, info in type(part).model_fields.items():
        if name == "name" or (name in usual and values[name] == usual[name]):
            continue
        flag = known[name]
        if _owner(flag, made) != owner:
            yield from ("--set", f"{'.'.join([*_path(owner), name])}={_text(values[name], info)}")
        elif flag.switch:
            yield flag.spelling if values[name] else f"--no-{flag.spelling[2:]}"
        else:
            yield from (flag.spelling, _text(values[name], info))


def _text(value: Any, info: FieldInfo) -> str:
    plain = isinstance(value, str) and parse(value, info) == value
    return value if plain else json.dumps(value, ensure_ascii=False)


def _owners() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "training", Training
    for name, method in methods.every().items():
        yield f"method.{name}", method
    for name, task in tasks.every().items():
        yield f"task.{name}", task


def _owner(flag: Flag, made: Mapping[str, Any]) -> str:
    """Return which part of the spec a flag belongs to: training, the chosen method, the chosen task, or the first."""
    wanted = ["training", f"method.{(made.get('method') or {}).get('name')}", f"task.{made.get('task')}"]
    return next((owner for owner in wanted if owner in flag.fields), next(iter(flag.fields)))


def _path(owner: str) -> list[str]:
    part = owner.partition(".")[0]
    return ["data", "options"] if part == "task" else [part]


def _put(made: dict[str, Any], path: list[str], value: Any) -> None:
    for depth, step in enumerate(path[:-1]):
        inner = made.setdefault(step, {})
        if inner is None:
            inner = made[step] = {}
        if not isinstance(inner, dict):
            raise SpecError("--set", problem=f"{'.'.join(path[:depth + 1])} has no field '{path[depth + 1]}'")
        made = inner
    made[path[-1]] = value


def _field(path: str, made: Mapping[str, Any]) -> FieldInfo | None:
    part, _, name = path.rpartition(".")
    task, method = str(made.get("task")), str((made.get("method") or {}).get("name"))
    kind: type[BaseModel] | None = {
        "training": Training, "model": ModelRef, "data": DataRef, "method": methods.every().get(method),
        "data.options": tasks.every().get(task), "": RunSpec}.get(part)
    return kind.model_fields.get(name) if kind else None


def _kinds(annotation: Any) -> set[Any]:
    """Return the plain types that a value of this annotation may have."""
    origin = get_origin(annotation)
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if isinstance(annotation, type) and origin is None:
        return {annotation}
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return {kind for inner in get_args(annotation) for kind in _kinds(inner)}
    if origin in (list, tuple, set) or getattr(origin, "__name__", "") == "Sequence":
        return {list}
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _kinds(get_args(annotation)[0])
    return {origin or Any}
