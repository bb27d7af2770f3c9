"""Looks into a dataset: asked for once, made by a worker, and read again by whoever asks the same."""

from __future__ import annotations

from typing import Any

from db import datasets, looks, models
from db.looks import Look
from db.tables import Dataset, Model
from db.users import User
from engine import tasks
from engine.errors import Refused, SpecError
from studio.service.datasets import DatasetNotReady
from studio.service.roles import RoleMissing
from worker import client

#: What a first batch may be cut at.
SHORTEST, LONGEST = 8, 32_768


class NoTokens(Refused):
    """Images are not turned into tokens."""

    kind = "no_tokens"
    try_this = "Look at the images themselves."


class NoConversations(Refused):
    """Chat templates are for language models; this data is for {task}."""

    kind = "no_conversations"
    try_this = "Choose the task for language models, with the columns of the conversation."


class BadLength(SpecError):
    """The maximum length is {length}, not between {least} and {most} tokens."""

    kind = "max_length_invalid"
    try_this = "Choose a length the base model takes, such as 128."


def samples(user: User, id: str) -> Look:
    """Return a few rows of each label: `found` is an `engine.data.samples.Samples`.

    Raises NotFound, DatasetNotReady, RoleMissing.
    """
    return _asked(user, _ready(user, id), None, "samples", {})


def problems(user: User, id: str, *, again: bool = False) -> Look:
    """Return repeated rows and leaks: `found` is an `engine.data.leaks.Problems`, there in part before the end.

    Raises NotFound, DatasetNotReady, RoleMissing.
    """
    row = _ready(user, id)
    other = next(iter(datasets.find(user, eval_of_id=id, states=["ready"], limit=1)), None)
    return _asked(user, row, other.parquet_key if other else None, "problems", {}, again=again)


def batch(user: User, id: str, model: str, max_length: int, *, again: bool = False) -> Look:
    """Return the first rows as a base model sees them: `found` is an `engine.data.first_batch.Batch`.

    Raises NotFound, DatasetNotReady, RoleMissing, NoTokens, BadLength.
    """
    row = _ready(user, id)
    if tasks.get(row.task or "").reads != "text":
        raise NoTokens(id)
    known = models.by_ref(user, model)
    most = longest(known)
    if not SHORTEST <= max_length <= most:
        raise BadLength("max_length", length=max_length, least=SHORTEST, most=most)
    asked = {"model": model, "revision": known.revision if known else None, "max_length": max_length}
    return _asked(user, row, None, "batch", asked, again=again)


def longest(model: Model | None) -> int:
    """Return the most tokens that a text may be cut at for a base model: what it takes, where that is known."""
    limit = int((model.shape or {}).get("max_length") or 0) if model is not None else 0
    return min(limit or LONGEST, LONGEST)


def lengths(user: User, id: str, model: str, revision: str | None = None, *, ask: bool = True) -> Look:
    """Return how long the rows are in a base model's tokens: `found` is an `engine.data.token_lengths.TokenLengths`.

    Unless asked to `ask`, what nobody asked for stays missing. Raises NotFound, DatasetNotReady, RoleMissing, NoTokens.
    """
    row = _ready(user, id)
    if tasks.get(row.task or "").reads != "text":
        raise NoTokens(id)
    return _asked(user, row, None, "lengths", {"model": model, "revision": revision}, ask=ask)


def chat(user: User, id: str, model: str, template: str = "auto", *, again: bool = False) -> Look:
    """Return the first conversations in a chat template: `found` is an `engine.data.chat_preview.ChatPreview`.

    Raises NotFound, DatasetNotReady, RoleMissing, NoConversations.
    """
    row = _ready(user, id)
    if row.task != "causal_lm":
        raise NoConversations(id, task=row.task)
    known = models.by_ref(user, model)
    asked = {"model": model, "revision": known.revision if known else None, "template": template}
    return _asked(user, row, None, "chat", asked, again=again)


def view(user: User, row: Dataset, search: str, sort: str | None, descending: bool) -> Look:
    """Return how far a search of a large file is, or its order by a column."""
    return _asked(user, row, None, "view", {"search": search, "sort": sort, "descending": descending})


def _ready(user: User, id: str) -> Dataset:
    """Return a dataset whose columns play parts; raises NotFound, DatasetNotReady, RoleMissing."""
    row = datasets.get(user, id)
    if row.state != "ready" or row.parquet_key is None:
        raise DatasetNotReady(id, name=row.name, state=row.state)
    if not row.task or not row.columns:
        raise RoleMissing("columns", missing="the task",
                          try_this="Say on the dataset's page which column plays which part.")
    return row


def _asked(user: User, row: Dataset, beside: str | None, what: str, asked: dict[str, Any], *,
           again: bool = False, ask: bool = True) -> Look:
    """Return a look, and have a worker make it where nobody did or does; what failed only if asked `again`."""
    steps = datasets.get(user, row.eval_of_id).steps if row.eval_of_id else row.steps
    name = looks.name(what, asked, row.parquet_key, row.sha256, beside,
                      *([] if what == "view" else [row.task, row.columns, row.options, steps]))
    found = looks.read(row.id, name)
    if ask and (found.lost or (again and found.state == "failed")):
        found = looks.write(row.id, name, Look(what=what, asked=asked, state="queued"))
        client.look(row.id, name)
    return found
