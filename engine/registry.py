"""Finds every method and task by looking at the files of its package: adding one is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


def discover(package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """Import each module of `package` and return the subclasses of `base` defined there, by their `name` default."""
    found: dict[str, type[T]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name == "base" or info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for item in vars(module).values():
            own = isinstance(item, type) and item.__module__ == module.__name__
            if own and issubclass(item, base) and item is not base:
                found[name_of(item)] = item
    return found


@cache
def name_of(kind: type[BaseModel]) -> str:
    """Return the value that the `name` field of a method or task always has."""
    field: Any = kind.model_fields["name"]
    return str(field.default)
