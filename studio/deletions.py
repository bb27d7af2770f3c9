"""What is said before a dataset or a base model is deleted: what goes with it, and what stays without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db import adapters, datasets
from db.tables import Dataset, Model
from db.users import User
from studio import shell
from studio.text import plural


def dataset(user: User, row: Dataset, beside: Sequence[Dataset]) -> dict[str, Any]:
    """Return the question before a dataset is deleted; `beside` are those that only evaluate it, which go too."""
    too = " and ".join(f"'{one.name}'" for one in beside)
    goes = f"The file and what was read from it go, and the file it is evaluated on, {too}, too." if too else \
        "The file and what was read from it go."
    used = datasets.used_by(user, row.id, *(one.id for one in beside))
    return shell.confirmation("Delete", question="Delete this data?", yes="Delete the data", detail=" ".join(filter(
        None, (goes, _stay(used["runs"], "run", "used it", "but cannot be started again on its rows")))))


def model(user: User, row: Model) -> dict[str, Any]:
    """Return the question before a base model is removed."""
    need = _stay(adapters.count(user, models=[row.ref]), "adapter", "", "but cannot be used until it is added again")
    return shell.confirmation("Remove", question="Remove this base model?", yes="Remove the model", detail=" ".join(
        filter(None, (need, "Files the studio keeps of it are deleted."))))


def _stay(count: int, noun: str, did: str, but: str) -> str:
    """Return how many things stay without what they came from; "" for none."""
    if not count:
        return ""
    did = did or ("needs it" if count == 1 else "need it")
    return f"{plural(count, noun)} {did}: {'it stays' if count == 1 else 'they stay'}, {but}."
