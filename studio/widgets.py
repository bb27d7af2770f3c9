"""Gradio components of our own: choice cards, a confirm dialog, the address bar. Their scripts are studio/static."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import gradio as gr

from studio.theme import STATIC, css

Kind = Literal["choice", "picker", "confirm", "address", "settings", "figure"]


@cache
def asset(name: str) -> str:
    """Return the URL of a file in studio/static, with its hash so that browsers may keep it for ever."""
    content = css().encode() if name == "studio.css" else (STATIC / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return f"/static-studio/{name}?v={digest}"


def scripted(kind: Kind, value: Any, *, elem_id: str, label: str = "", classes: Sequence[str] = (),
             visible: bool = True) -> gr.HTML:
    """Return a component that studio.js draws from its value: `studio.<kind>(element, props, trigger, watch)`.

    The value is JSON; the browser keeps what the person changed under `value.chosen` or `value.values`.
    """
    return gr.HTML(value, html_template="", apply_default_css=False, padding=False, elem_id=elem_id, label=label,
                   elem_classes=["ps-widget", f"ps-{kind}", *classes], visible=visible,
                   head=f'<script src="{asset("studio.js")}"></script>', js_on_load=drawn_by("studio", kind))


def drawn_by(script: str, kind: str) -> str:
    """Return the code that draws a component with `window.<script>.<kind>`, waiting for that script where need be.

    Gradio loads a component's script once and awaits it only for the first component that names it: the next ones may
    be drawn before it has arrived.
    """
    return (f"const draw = () => window.studio && window.{script} ? {script}.{kind}(element, props, trigger, watch)"
            f" : addEventListener('ps-script', draw, {{ once: true }}); draw();")


def html(value: str = "", *, elem_id: str | None = None, classes: Sequence[str] = (), visible: bool = True) -> gr.HTML:
    """Return a place for ready HTML (from studio.cards); it has no padding and runs no script."""
    return gr.HTML(value, apply_default_css=False, padding=False, js_on_load=None, elem_id=elem_id, visible=visible,
                   elem_classes=["ps-html", *classes])


def choice(options: Sequence[dict[str, Any]] = (), chosen: str | None = None, *, label: str, elem_id: str,
           columns: int = 3, titled: bool = False) -> gr.HTML:
    """Return cards of which one can be chosen, by mouse or arrow keys; `.input` fires when a person chooses.

    An option is {"value", "title", "text", "hint", "tag", "caution", "disabled" (the reason, or ""), "more" (behind a
    button)}. Set it with `choices(...)`, read the chosen value with `chosen(value)`.
    """
    value = choices(options, chosen, label=label, columns=columns, titled=titled)
    return scripted("choice", value, elem_id=elem_id, label=label)


def choices(options: Sequence[dict[str, Any]], chosen: str | None, *, label: str, columns: int = 3,
            titled: bool = False) -> dict[str, Any]:
    """Return the value of a `choice` component; `titled` shows the label above it."""
    return {"options": list(options), "chosen": chosen, "label": label, "columns": columns, "titled": titled}


def picker(options: Sequence[dict[str, Any]] = (), chosen: str | None = None, *, label: str, elem_id: str,
           help: str = "", empty: str = "Choose …", visible: bool = True) -> gr.HTML:
    """Return a native select of {"value", "title", "group", "disabled"}; `.input` fires when a person chooses.

    Set it with `picks(...)`, read it with `chosen(value)`, as for `choice`.
    """
    return scripted("picker", picks(options, chosen, label=label, elem_id=elem_id, help=help, empty=empty),
                    elem_id=elem_id, label=label, visible=visible)


def picks(options: Sequence[dict[str, Any]], chosen: str | None, *, label: str, elem_id: str, help: str = "",
          empty: str = "Choose …") -> dict[str, Any]:
    """Return the value of a `picker` component."""
    return {"options": list(options), "chosen": chosen, "label": label, "id": elem_id, "help": help, "empty": empty}


def chosen(value: Any) -> str | None:
    """Return what was chosen, refusing anything that is not an enabled option."""
    if not isinstance(value, dict):
        return None
    allowed = {o.get("value") for o in value.get("options", []) if isinstance(o, dict) and not o.get("disabled")}
    picked = value.get("chosen")
    return picked if picked in allowed else None


def confirm(label: str, *, question: str, detail: str = "", yes: str = "", no: str = "Cancel", danger: bool = True,
            elem_id: str, disabled: bool = False, visible: bool = True) -> gr.HTML:
    """Return a button that asks before its `.click` event fires: `shell.on(button.click, delete, ...)`."""
    return scripted("confirm", confirmation(label, question=question, detail=detail, yes=yes, no=no, danger=danger,
                                            disabled=disabled), elem_id=elem_id, label=label, visible=visible)


def confirmation(label: str, *, question: str, detail: str = "", yes: str = "", no: str = "Cancel",
                 danger: bool = True, disabled: bool = False) -> dict[str, Any]:
    """Return the value of a `confirm` component, to change its words or to disable it; `no` takes the question back."""
    return {"label": label, "question": question, "detail": detail, "yes": yes or label, "no": no, "danger": danger,
            "disabled": disabled}


def address(elem_id: str = "address") -> gr.HTML:
    """Return an invisible component: setting it to "/runs?run=…" goes there, to "?run=…" only rewrites the URL."""
    return scripted("address", "", elem_id=elem_id, classes=["ps-hidden"])
