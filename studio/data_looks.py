"""What the parts of a dataset's page share that a worker makes: how far it is, what was found, links to rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from db import datasets
from db.looks import Look
from db.tables import Dataset
from db.users import User
from engine.errors import StudioError
from studio import cards, parts, session, shell
from studio.text import count, esc, plural

#: Seconds between two looks while something is still to come, and while it may become another.
SOON, LATER = 1.5, 8.0


def opened(request: gr.Request) -> tuple[User, Dataset | None]:
    """Return who asks and the dataset in the URL; None when there is no id in it, or nothing by that id."""
    user, wanted = session.user(request), shell.query(request, "dataset")
    return user, parts.found(lambda: datasets.get(user, wanted)) if wanted else None


def follow(row: Dataset | None, ask: Callable[[], Look], draw: Callable[[dict[str, Any]], str],
           word: str) -> tuple[str, gr.Timer]:
    """Return what a look found, or how far it is, and the timer that asks again."""
    if row is None:
        return "", gr.Timer(active=False)
    if row.state != "ready":
        return "", gr.Timer(SOON, active=row.state != "failed")
    try:
        look = ask()
    except StudioError as error:
        return cards.note(error.what, "muted"), gr.Timer(LATER, active=True)
    return shown(look, draw, word), gr.Timer(SOON if look.working else LATER, active=look.working or not row.confirmed)


def shown(look: Look, draw: Callable[[dict[str, Any]], str], word: str) -> str:
    """Return what a look found, with its progress while more is to come, or why there is nothing."""
    if look.state == "failed":
        return cards.error(look.error or {"what": "This was not found out."})
    bar = cards.card("", cards.progress(look.progress or None, word)) if look.working else ""
    return bar + (draw(look.found) if look.found else "")


def later(row: Dataset | None) -> str:
    """Return what a part says that has nothing to show before the dataset was read."""
    if row is None or row.state == "ready":
        return ""
    return cards.note("There is something to see here once the file has been read.", "muted")


def link(dataset_id: str, number: int, text: str = "") -> str:
    """Return a link to a row in the table of rows."""
    return (f'<a href="/data?dataset={esc(dataset_id)}&amp;tab=rows&amp;row={number}" '
            f'aria-label="Show row {count(number)}">{esc(text or count(number))}</a>')


def links(dataset_id: str, numbers: list[int], more: int = 0) -> str:
    """Return links to rows, and how many more there are."""
    made = ", ".join(link(dataset_id, number) for number in numbers)
    return made + (f" and {esc(plural(more, 'more', 'more'))}" if more > 0 else "")


def picture(dataset_id: str, number: int, size: int, alt: str) -> str:
    """Return the image of a row, fetched when it comes into sight."""
    return (f'<img src="/api/v1/datasets/{esc(dataset_id)}/rows/{number}/image?size={size}" alt="{esc(alt)}" '
            f'loading="lazy" decoding="async">')
