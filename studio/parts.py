"""Parts the list and detail pages share: charts under a heading, HTML that stays as opened, rows of actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import gradio as gr

from engine.errors import StudioError
from studio import cards, plots, shell
from studio.text import esc
from studio.widgets import asset, drawn_by

Thing = TypeVar("Thing")


def chart(title: str, elem_id: str, level: int = 3) -> gr.HTML:
    """Draw a heading of a level and a figure beneath it, as one block, and return the figure to update."""
    with gr.Column(elem_classes=["ps-chart"], min_width=0):
        shell.html(f'<h{level} class="ps-chart-title">{esc(title)}</h{level}>')
        return plots.figure(elem_id=elem_id, label=title)


def kept(elem_id: str, classes: Sequence[str] = ()) -> gr.HTML:
    """Return a place for ready HTML; on an update what was opened, scrolled or focused in it stays so."""
    return _scripted("kept", "", elem_id, ["ps-html", *classes])


def columns(elem_id: str, label: str) -> gr.HTML:
    """Return a table of first rows with a role to choose in each column's header; `.input` fires on a choice."""
    return _scripted("columns", {}, elem_id, [], label)


def rename(elem_id: str) -> gr.HTML:
    """Return a button that asks for a name: its value is {"name": …}, its `.submit` fires when a person saves one."""
    return _scripted("rename", {}, elem_id, [], "Rename")


def toolbar(elem_id: str) -> gr.Row:
    """Return a row of buttons and links, each as wide as its words."""
    return gr.Row(elem_id=elem_id, elem_classes=["ps-toolbar"])


def which(one: str, get: Callable[[], Any], back: tuple[str, str]) -> tuple[Any, Any, str]:
    """Return list, detail and what is said of a lost id: the list without an id in the URL, else the page of that one.

    An id that is not there shows the error and the way `back` (label, href).
    """
    shown = ""
    if one:
        try:
            get()
        except StudioError as problem:
            shown = cards.error(problem) + cards.links([back])
    return gr.Column(visible=not one), gr.Column(visible=bool(one) and not shown), shown


def absent(named: Sequence[tuple[str, str, bool]]) -> str:
    """Return what is said of things that an address names and that are not here: (noun, name, whether it is there)."""
    gone = [f"{noun} '{short_name(name)}'" for noun, name, there in named if name and not there]
    if not gone:
        return ""
    return cards.note("It may have been deleted, or the address is mistyped. Choose what is offered here.", "warn",
                      f"The address names what is not here: {', '.join(gone)}.")


def short_name(name: str, most: int = 60) -> str:
    """Return a name of at most `most` letters."""
    return name if len(name) <= most else name[:most - 1] + "…"


def found(get: Callable[[], Thing]) -> Thing | None:
    """Return what `get` returns, or None where it is not there."""
    try:
        return get()
    except StudioError:
        return None


def _scripted(kind: str, value: Any, elem_id: str, classes: Sequence[str], label: str = "") -> gr.HTML:
    return gr.HTML(value, html_template="", apply_default_css=False, padding=False, elem_id=elem_id, label=label,
                   elem_classes=["ps-widget", f"ps-{kind}", *classes],
                   head=f'<script src="{asset("parts.js")}"></script>',
                   js_on_load=drawn_by("studioParts", kind))
