"""Every error a person can meet: each says what happened, where, and what to do next."""

from __future__ import annotations

from typing import Any


class StudioError(Exception):
    """Something went wrong."""

    kind = "error"
    try_this = "Look at the log for details."
    exit_code = 1
    status = 400

    def __init__(self, where: str = "", *, try_this: str | None = None, **facts: Any) -> None:
        """Fill the placeholders of the class docstring and of `try_this` with `facts`.

        `where` names the file, row, column or field concerned.
        """
        self.facts = facts
        self.where = where
        self.what = _fill(" ".join((type(self).__doc__ or "").split("\n\n")[0].split()), facts)
        self.try_this = _fill(try_this if try_this is not None else type(self).try_this, facts)
        super().__init__(self.what)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self), self.where, self.try_this, self.facts))

    def as_dict(self) -> dict[str, str]:
        """Return the four fields every surface shows: kind, what, where, try_this."""
        return {"kind": self.kind, "what": self.what, "where": self.where, "try_this": self.try_this}


class Refused(StudioError):
    """The request was refused before any work began."""

    kind = "refused"
    exit_code = 2
    status = 422


class SpecError(Refused):
    """The run's settings are not valid: {problem}"""

    kind = "spec_invalid"
    try_this = "Correct the field and start again."


class UnknownKey(SpecError):
    """'{key}' is not a setting of {owner}."""

    kind = "unknown_key"
    try_this = "Remove it, or use one of: {known}."


class DataError(Refused):
    """The data cannot be used: {problem}"""

    kind = "data_invalid"
    try_this = "Correct the file and upload it again."


class ModelError(Refused):
    """The base model cannot be used: {problem}"""

    kind = "model_invalid"
    try_this = "Choose another base model."


class NotEnough(Refused):
    """There is not enough {resource}: {needed} needed, {available} available."""

    kind = "not_enough"
    try_this = "Choose smaller settings or free some {resource}."


class Cancelled(StudioError):
    """The work was stopped."""

    kind = "cancelled"
    try_this = "Start it again when you like."
    exit_code = 3


def _fill(text: str, facts: dict[str, Any]) -> str:
    try:
        return text.format(**facts)
    except (KeyError, IndexError, ValueError):
        return text


def _restore(kind: type[StudioError], where: str, try_this: str, facts: dict[str, Any]) -> StudioError:
    error = kind(where, **facts)
    error.try_this = try_this
    return error
