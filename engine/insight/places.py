"""Where a tensor belongs in the base model: which kind of module, and which layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

from engine.breakdown import GROUPS, REST, group
from engine.insight.report import Heat, digits
from engine.shape import ModelShape, Module

#: Column of what lies outside the blocks.
OUTSIDE = "other"
_NUMBER = re.compile(r"\.(\d+)(?=\.|$)")


class Places:
    """Finds the kind and layer of a module from its name in a model, whatever stands before it there."""

    def __init__(self, shape: ModelShape) -> None:
        self._modules = {module.name: module for module in shape.modules}
        self._within: dict[str, int] = {}
        for module in shape.modules:
            parent = module.name
            while module.layer is not None and "." in parent:
                parent = parent.rpartition(".")[0]
                # A block's number holds for what is inside it, not for the list of all blocks.
                if self._within.setdefault(parent, module.layer) != module.layer:
                    self._within[parent] = -1

    def module(self, name: str) -> Module | None:
        """Return the module of the base model that `name` is in some task's model, or None."""
        return next((self._modules[short] for short in _endings(name) if short in self._modules), None)

    def of(self, name: str) -> tuple[str, int | None]:
        """Return what a person calls the kind of a module, and its layer; a module inside which others lie has one."""
        if (module := self.module(name)) is not None:
            return group(module.role, module.kind), module.layer
        for short in _endings(name):
            if (layer := self._within.get(short, -1)) >= 0:
                return _last_word(short), layer
        number = _NUMBER.search(name)
        return _last_word(name), int(number[1]) if number else None

    def heat(self, title: str, values: Mapping[str, float | None], *, percent: bool = False,
             say: Callable[[float], str] | None = None, called: str = "") -> Heat:
        """Return a map of kind by layer from one number for each module; where a cell has several, of their mean.

        `called` names what stands beside the modules, in place of their own kind.
        """
        cells: dict[tuple[str, int | None], list[float]] = {}
        for name, value in values.items():
            if value is not None:
                kind, layer = self.of(name)
                cells.setdefault((called or kind, layer), []).append(float(value))
        rows = sorted_kinds({kind for kind, _ in cells})
        layers: list[int | None] = [*sorted({layer for _, layer in cells if layer is not None})]
        if any(layer is None for _, layer in cells):
            layers.append(None)
        word = say or ((lambda value: f"{value:.2%}") if percent else (lambda value: f"{value:.4g}"))
        means = [[fmean(found) if (found := cells.get((kind, layer))) else None for layer in layers] for kind in rows]
        return Heat(title=title, rows=rows, columns=[OUTSIDE if layer is None else str(layer + 1) for layer in layers],
                    values=[[digits(value) for value in line] for line in means],
                    texts=[["" if value is None else word(value) for value in line] for line in means])


def sorted_kinds(kinds: Iterable[str]) -> list[str]:
    """Return kinds of modules in the order in which a model uses them, unknown ones last."""
    order = [*GROUPS.values(), *REST.values()]
    return sorted(set(kinds), key=lambda kind: (order.index(kind) if kind in order else len(order), kind))


def _endings(name: str) -> list[str]:
    """Return `name` and what is left of it without its first part, its first two parts and so on."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _last_word(name: str) -> str:
    words = [part for part in name.split(".") if part and not part.isdigit()]
    return words[-1].replace("_", " ") if words else "block"
