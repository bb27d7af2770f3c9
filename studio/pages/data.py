"""Data: bring a file, see what is in it, say which column plays which part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from db import datasets
from studio import (
    data_detail,
    data_hub,
    data_prepare,
    data_problems,
    data_rows,
    data_tokens,
    data_versions,
    data_view,
    parts,
    service,
    session,
    shell,
)
from studio.data_detail import NoFile, ours
from studio.pages import Page

PAGE = Page("data", "Data", icon="M3.5 5.5c0-1.4 2.9-2.5 6.5-2.5s6.5 1.1 6.5 2.5S13.6 8 10 8 3.5 6.9 3.5 5.5zm0 0v9c0 "
            "1.4 2.9 2.5 6.5 2.5s6.5-1.1 6.5-2.5v-9M3.5 10c0 1.4 2.9 2.5 6.5 2.5s6.5-1.1 6.5-2.5")

#: Seconds between two looks while something is being read, and while nothing is.
SOON, LATER = 1, 10


def build() -> None:
    """Draw the list and the page of one dataset; the URL decides which of them is seen."""
    with shell.frame(PAGE, title="Data", lead="Texts, tables and images to learn from. They stay on this machine."):
        problem, lost = shell.html(elem_id="data-error"), shell.html(elem_id="data-lost")
        go = shell.address("data-address")
        with gr.Column(elem_id="data-listing", visible=False) as listing:
            _list_part(problem, go)
        with gr.Column(elem_id="dataset", visible=False) as detail, data_detail.page(problem, go):
            data_rows.tab(problem, go)
            data_prepare.tab(problem)
            data_problems.tab(problem)
            data_tokens.tab(problem)
            data_versions.tab(problem)
        shell.load(_which, None, [listing, detail, lost])


def _which(request: gr.Request) -> Any:
    one = shell.query(request, "dataset")
    return parts.which(one, lambda: datasets.get(session.user(request), one), ("All data", "/data"))


# -- the list and adding --------------------------------------------------------------------------------------------


def _list_part(problem: gr.HTML, go: gr.HTML) -> None:
    with shell.section("Add data", "Tables, texts or images, as files or zip archives. What is in it is recognised by "
                       "content: encoding, separator, header and columns.", elem_id="data-add"):
        with gr.Row(elem_classes=["ps-halves"]):
            file = gr.File(label="Data to learn from", elem_id="data-file", type="filepath", height=150)
            other = gr.File(label="Data to evaluate on (optional)", elem_id="data-eval-file", type="filepath",
                            height=150)
        with gr.Row(elem_classes=["ps-beside"]):
            name = gr.Textbox(label="Name (optional)", elem_id="data-name", max_lines=1,
                              placeholder="The file's name is used otherwise")
            add = gr.Button("Add this data", variant="primary", elem_id="data-submit")
    data_hub.part(problem, go)
    with parts.toolbar("data-samples"):
        shell.html('<span class="ps-muted">Or look around with a sample:</span>')
        for key, info in service.SAMPLES.items():
            button = gr.Button(info["title"].removesuffix(" (sample)"), elem_id=f"data-sample-{key}", size="sm")
            shell.on([button.click], _sampler(key), None, [go], card=problem, busy="minimal")
    table = parts.kept("data-list", ["ps-stack"])
    timer = gr.Timer(SOON, active=False)
    shell.load(_listing, None, [table, timer], card=problem)
    shell.on([timer.tick], _listing, None, [table, timer], card=problem, trigger_mode="once", clears=False)
    shell.on([add.click], _add, [file, other, name], [go], card=problem, busy="minimal")


def _sampler(key: str) -> Any:
    def use(request: gr.Request) -> str:
        return f"/data?dataset={service.add_sample(session.user(request), key).id}"
    return use


def _listing(request: gr.Request) -> Any:
    if shell.query(request, "dataset"):
        return gr.skip(), gr.Timer(active=False)
    found = datasets.find(session.user(request), limit=300)
    reading = any(row.state in data_view.READING for row in found)
    return data_view.listing(found), gr.Timer(SOON if reading else LATER, active=True)


def _add(file: str | None, other: str | None, name: str, request: gr.Request) -> str:
    user = session.user(request)
    if not file:
        raise NoFile()
    path, second = Path(file), Path(other) if other else None
    row = service.add_dataset(user, path, name=(name or "").strip(), filename=path.name, eval_path=second,
                              eval_filename=second.name if second else "", move=ours(path))
    return f"/data?dataset={row.id}"
