"""Settings: where things are, who works, which versions, and whether everything is in order."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from db import workers
from db.settings import settings
from db.tables import Worker
from db.users import User
from studio import cards, doctor, session, shell
from studio.pages import Page
from studio.text import ago, count, duration, esc, size

PAGE = Page("settings", "Settings", icon="M3.5 6h7M14.5 6h2M12.5 4v4M3.5 14h2M9.5 14h7M7.5 12v4")
WORDS = {"good": "In order", "warn": "Worth a look", "bad": "Must be fixed"}


def build() -> None:
    """Draw the page."""
    with shell.frame(PAGE, title="Settings", lead="Where things are stored, who works for you, whether all is well."):
        card = shell.html(elem_id="settings-error")
        with shell.section("Is everything in order?", elem_id="settings-doctor"):
            checks = shell.html(elem_id="settings-checks")
            again = gr.Button("Check again", elem_id="settings-again", size="sm", min_width=160)
        with shell.section("Workers", "They train, read data and answer questions; runs wait until one is free.",
                           elem_id="settings-workers"):
            listing = shell.html(elem_id="settings-worker-list")
        with gr.Row(elem_classes=["ps-halves"]):
            with shell.section("Where things are", elem_id="settings-places"):
                places = shell.html(elem_id="settings-place-list")
            with shell.section("Versions", elem_id="settings-versions"):
                versions = shell.html(elem_id="settings-version-list")
        with shell.section("All settings", "Each is read from a variable STUDIO_… when the studio starts.",
                           elem_id="settings-all"):
            everything = shell.html(elem_id="settings-list")
        shell.load(_open, None, [checks, listing, places, versions, everything], card=card)
        shell.on(again.click, _checks, None, [checks], card=card, busy="minimal")
        shell.poll(5, _workers, None, [listing], card=card)


def _open(request: gr.Request) -> tuple[str, ...]:
    user = session.user(request)
    values = settings().masked()
    rows = [(f"STUDIO_{name.upper()}", words(name, values.get(name)), info.description or "")
            for name, info in type(settings()).model_fields.items()]
    return (_report(), _listing(user), cards.facts(doctor.places().items()), cards.facts(doctor.versions().items()),
            cards.table(["Variable", "Value", "What it is"], rows, "All settings"))


def words(name: str, value: Any) -> str:
    """Return a setting's value as a person reads it: sizes, seconds, on and off."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if name.endswith("_bytes"):
        return f"{size(value)} ({count(value)} bytes)"
    return f"{value:g} seconds" if name.endswith("_seconds") else str(value)


def _checks(request: gr.Request) -> str:
    session.user(request)
    return _report()


def _workers(request: gr.Request) -> str:
    return _listing(session.user(request))


def _report() -> str:
    items = "".join(
        f'<li class="ps-note ps-{item.level}"><span class="ps-badge ps-{item.level}">{WORDS[item.level]}</span><div>'
        f'<p class="ps-what">{esc(item.title)}</p><p class="ps-where">{esc(item.text)}</p>'
        + (f'<p class="ps-try">{esc(item.try_this)}</p>' if item.try_this else "") + "</div></li>"
        for item in doctor.report())
    return f'<ul class="ps-findings ps-checks">{items}</ul>'


def _listing(user: User) -> str:
    found = workers.find(user)
    if not found:
        return cards.empty("No worker is running", "Runs wait safely. peft-studio up or peft-studio worker starts one.")
    return cards.table(["Machine", "Device", "Memory", "Slots", "Up for", "Last heard of"],
                       [_row(worker) for worker in found], "Workers")


def _row(worker: Worker) -> tuple[str, ...]:
    device = worker.device
    return (f"{worker.host} ({worker.pid})", str(device.get("name") or device.get("class") or "processor"),
            size(device.get("memory_bytes")), f"{worker.busy} of {worker.slots} busy",
            duration(time.time() - worker.started_at), ago(worker.heartbeat_at))
