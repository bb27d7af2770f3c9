"""Whom the playground asks: base models with their tasks, the adapters on them, and what there is to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from db import adapters, models, runs
from db.blobs import Blobs
from db.tables import Adapter
from db.users import User
from engine import adapter as adapters_on_disk
from engine import tasks
from engine.errors import Refused, StudioError
from engine.tasks import Task
from studio import cards, login, service, session, snippets
from studio.service import holding

#: Adapters asked at once, beside the base.
MOST = 3
BASE = "The base model itself"


class NothingToAsk(Refused):
    """There is nothing to ask yet."""

    kind = "nothing_to_ask"
    try_this = "Write a text first."


class NobodyChosen(Refused):
    """No model is chosen."""

    kind = "nobody_chosen"
    try_this = "Choose a base model, or one of its adapters."


@dataclass(frozen=True)
class Players:
    """Who is asked: ids (None is the base) and names, on which base model, for which task; and the first adapter."""

    ids: list[str | None]
    names: list[str]
    model: str
    task: str
    first: Adapter | None

    def question(self) -> dict[str, Any]:
        """Return the part of a question that says whom."""
        return {"adapters": self.ids, "model": self.model, "task": self.task}


def key(model: str, task: str) -> str:
    """Return what stands for a base model with a task in the address."""
    return f"{model} · {task}"


def task_of(base: str | None) -> type[Task] | None:
    """Return the task of a chosen base, None when there is none."""
    name = (base or "").partition(" · ")[2]
    return tasks.every().get(name)


def bases(user: User) -> dict[str, str]:
    """Return every base model with every task it has adapters for, then those that can chat as they are."""
    pairs = dict.fromkeys((row.model, row.task) for row in adapters.find(user, limit=500))
    known = models.find(user, limit=200)
    chats = [name for name, task in tasks.every().items() if task.playground == "chat"]
    for model in known:
        heads = (model.shape or {}).get("task_heads") or {}
        pairs |= {(model.ref, task): None for task in chats if model.state == "ready" and task in heads}
    titles = {row.ref: row.title for row in known}
    return {key(model, task): f"{titles.get(model, model)} · {tasks.get(task).card.title}"
            for model, task in pairs if task in tasks.every()}


def adapters_of(user: User, base: str | None) -> list[Adapter]:
    """Return the adapters of a chosen base model and task, newest first."""
    model, _, task = (base or "").partition(" · ")
    return adapters.find(user, models=[model], tasks=[task], limit=200) if task else []


def trained(chosen: list[Adapter]) -> list[set[str]]:
    """Return the roles that each adapter was trained with, nothing where that is not known of all of them."""
    made: list[set[str]] = []
    for row in chosen:
        try:
            made.append(set(adapters_on_disk.read(Blobs().local(row.key)).columns))
        except (StudioError, OSError, ValueError):
            return []
    return made if all(made) else []


def nobody(base: str | None) -> str:
    """Return what is shown in the place of a question: there is nobody to ask, or no way to ask yet."""
    task = task_of(base)
    if task is not None:
        return cards.empty(
            f"{task.card.title} cannot be tried here yet",
            "The run's page shows predictions, and a downloaded adapter comes with the lines of code that ask it.",
            [("See the adapters", "/adapters"), ("See the runs", "/runs")])
    return cards.empty("Nobody to ask yet", "Train an adapter, or add a base model that can chat.",
                       [("Start with sample data", "/"), ("Add a base model", "/models")])


def players(user: User, base: str | None, chosen: list[str] | None, beside: bool) -> Players:
    """Return whom to ask; the base alone where no adapter is chosen. Raises NobodyChosen, NotFound."""
    kept = [adapters.get(user, one) for one in (chosen or [])[:MOST]]
    if not base:
        raise NobodyChosen("playground")
    ids: list[str | None] = [None] if beside or not kept else []
    model, _, task = base.partition(" · ")
    return Players([*ids, *(row.id for row in kept)], [*([BASE] if ids else []), *(row.name for row in kept)],
                   model, task, kept[0] if kept else None)


def stop(asking: str, request: gr.Request) -> Any:
    """Stop the answers under way, by their ids."""
    user = session.user(request)
    # The last one first: it must not begin because the one before it has stopped.
    for one in reversed(asking.split()):
        service.stop_asking(user, one)
    return gr.Button(interactive=False)


def script(asked: snippets.Question, who: Players, request: gr.Request) -> str:
    """Return the part that does the same from a script."""
    return snippets.shown(asked, address(request), who.first, signed=login.enabled())


def address(request: gr.Request) -> str:
    """Return the address by which this page was reached, without its path."""
    page = urlsplit(request.headers.get("referer", ""))
    here: Any = request.request
    return f"{page.scheme}://{page.netloc}" if page.netloc else str(here.base_url).rstrip("/")


def usual(user: User, task: type[Task], chosen: list[Adapter]) -> dict[str, Any]:
    """Return what can be chosen when asking as the first adapter's run had it."""
    for row in chosen[:1]:
        spec = runs.get(user, row.run_id).spec if row.run_id else {}
        own = (spec.get("data") or {}).get("options") or {}
        return task.model_validate({"name": row.task} | own).usual()
    return {}


def held(user: User, chosen: Sequence[Adapter]) -> str:
    """Return what is said of how the base model is held; nothing where it is held in full, as it was for all."""
    way, noticed = holding.held(user, chosen)
    learned = "adapter" if len(chosen) == 1 else "adapters"
    return cards.findings(noticed) if noticed else cards.note(
        f"The base model is held as {way}, as while the {learned} learned.", "muted") if way else ""
