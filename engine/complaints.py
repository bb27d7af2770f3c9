"""What pydantic complains of, in our words: which field, by its title, and what it must be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

#: What a value must be, by the type of pydantic's error; {…} are the facts it comes with.
WORDS = {
    "missing": "is missing", "extra_forbidden": "is not known here",
    "int_type": "must be a whole number", "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number", "int_parsing_size": "is too large a number",
    "float_type": "must be a number", "float_parsing": "must be a number", "finite_number": "must be a finite number",
    "bool_type": "must be true or false", "bool_parsing": "must be true or false",
    "string_type": "must be a text", "bytes_type": "must be a text", "none_required": "must be null",
    "list_type": "must be a list", "tuple_type": "must be a list", "set_type": "must be a list",
    "dict_type": "must be an object of names and values", "mapping_type": "must be an object of names and values",
    "model_type": "must be an object of names and values",
    "model_attributes_type": "must be an object of names and values",
    "dataclass_type": "must be an object of names and values",
    "greater_than": "must be above {gt:,}", "greater_than_equal": "must be at least {ge:,}",
    "less_than": "must be below {lt:,}", "less_than_equal": "must be at most {le:,}",
    "multiple_of": "must be a multiple of {multiple_of:,}",
    "string_too_short": "must have at least {min_length:,} characters",
    "string_too_long": "must have at most {max_length:,} characters",
    "too_short": "must hold at least {min_length:,}", "too_long": "must hold at most {max_length:,}",
    "literal_error": "must be {expected}", "enum": "must be {expected}",
    "string_pattern_mismatch": "is not written in the way it must be",
    "string_unicode": "is not valid text", "json_type": "must be JSON", "json_invalid": "is not valid JSON",
    "date_from_datetime_parsing": "must be a date such as 2024-05-31",
    "datetime_from_date_parsing": "must be a time such as 2024-05-31T12:00:00",
    "datetime_parsing": "must be a time such as 2024-05-31T12:00:00"}
#: Names that pydantic puts behind a field's place to tell which type of several it tried.
_TRIED = re.compile(r"int|float|str|bool|none|list|dict|tuple|.*\[.*\]|function-.*|constrained-.*|json-.*|tagged-union")


@dataclass(frozen=True)
class Complaint:
    """What is wrong: `where` is the field's dotted path, `problem` a sentence without its full stop.

    `place` is the path in parts; `kind` that of pydantic.
    """

    kind: str
    place: list[str | int]
    problem: str
    own: str = ""

    @property
    def where(self) -> str:
        """The path as it is written in the document."""
        return ".".join(str(part) for part in self.place)


def first(errors: ValidationError | Sequence[Mapping[str, Any]], model: type[BaseModel] | None = None, *,
          got: bool = False) -> Complaint:
    """Return the first complaint; all that a field of several types could have been stand in it, told together.

    `model` knows the titles of fields; without it their names stand for them. `got` adds what was there instead.
    """
    listed = errors.errors(include_url=False) if isinstance(errors, ValidationError) else list(errors)
    one = listed[0]
    place = _place(one["loc"], model)
    said = dict.fromkeys(_said(other) for other in listed if _place(other["loc"], model) == place)
    words = " or ".join([next(iter(said)), *(text.removeprefix("must be ") for text in list(said)[1:])])
    if one["type"] in ("value_error", "assertion_error"):
        # Ours, which may name the field itself.
        words = str(one["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
        named = title(place, model)
        problem = f"{named}: {words}" if named else words
        return Complaint(one["type"], place, problem, words)
    named = title(place, model) or ("Everything" if one["type"] == "missing" else "It")
    there = f" (got {short(one['input'])})" if got and one["type"] not in ("missing", "extra_forbidden") else ""
    return Complaint(one["type"], place, f"{named} {words}{there}")


def title(place: Sequence[str | int], model: type[BaseModel] | None) -> str:
    """Return what a field is called where it is shown: its title, with the number of an item or the key of a pair.

    The parts it lies in are left out: its path names them.
    """
    found: list[str] = []
    nameless = model is None
    for part in place:
        info = model.model_fields.get(str(part)) if model is not None else None
        if isinstance(part, int):
            found.append(f"item {part + 1}")
        elif info is not None:
            found = [*(found if found[-1:] and found[-1].startswith("item ") else []), info.title or _plain(str(part))]
        else:
            found.append(_plain(str(part)) if nameless else f"'{part}'")
        model = _inner(info.annotation) if info is not None else model if isinstance(part, int) else None
    return ", ".join([*found[:1], *(text[0].lower() + text[1:] for text in found[1:])])


def short(value: Any) -> str:
    """Return a value as JSON of at most 60 characters."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _place(loc: Sequence[str | int], model: type[BaseModel] | None) -> list[str | int]:
    """Return the path of a field without the names of the types that were tried for it."""
    place: list[str | int] = []
    for part in loc:
        known = model is not None and not place and str(part) in model.model_fields
        if known or isinstance(part, int) or not (place and _TRIED.fullmatch(part)):
            place.append(part)
    return place


def _said(error: Mapping[str, Any]) -> str:
    facts = dict(error.get("ctx") or {})
    if error["type"] in ("string_too_short", "too_short") and facts.get("min_length") == 1:
        return "must not be empty"
    if error["type"] in WORDS:
        return WORDS[error["type"]].format(**facts)
    return "is not valid"


def _plain(name: str) -> str:
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _inner(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field or the items of a list are made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner(part)) is not None), None)
