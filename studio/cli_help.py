"""How the command line's own help reads: what a value is and how far it may go, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

#: Python's names of types, and how a person calls them.
WORDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "path": "PATH", "file": "FILE", "directory": "FOLDER"}


def number(help: str, *, least: float | None = None, most: float | None = None) -> Any:
    """Return an option whose value lies within bounds, which its help names: "Share of …; from 0 to 1."."""
    bounds = within(least, most)

    def check(value: float | None) -> float | None:
        below = value is not None and least is not None and value < least
        above = value is not None and most is not None and value > most
        if below or above:
            raise typer.BadParameter(f"It is {value:g}, but it must be {bounds}.")
        return value

    return typer.Option(help=f"{help}; {bounds}.", callback=check)


def within(least: float | None, most: float | None) -> str:
    """Return bounds in words; either may be missing, not both."""
    if least is None or most is None:
        return f"at most {most:g}" if least is None else f"at least {least:g}"
    return f"from {least:g} to {most:g}"


def command(app: typer.Typer) -> Any:
    """Return the command made from `app`, every option of which says TEXT or NUMBER for the type of its value."""
    made = typer.main.get_command(app)
    _reword(made)
    return made


def _reword(command: Any) -> None:
    for parameter in command.params:
        parameter.display_type = _worded(parameter.display_type)
    for inner in getattr(command, "commands", {}).values():
        _reword(inner)


def _worded(shown: Callable[..., str]) -> Callable[..., str]:
    def words(ctx: Any) -> str:
        plain = shown(ctx).strip("<>").removeprefix("list[").removesuffix("]")
        return WORDS.get(plain, plain)
    return words
