"""The part "From the Hub" of the Data page: look at a dataset by its id, choose what of it to take, and add it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from db.looks import Look
from engine.errors import Refused
from studio import cards, data_view, service, session, shell
from studio.text import count, esc, plural, size

#: Seconds between two looks while a worker asks the Hub.
SOON = 1.0
#: Stands in the picker for no split to evaluate on.
NONE = "none"
LEAD = ("Only its files of data are fetched, into the cache of this machine; a program that comes with a dataset is "
        "never run.")


class NoDataset(Refused):
    """No dataset is named."""

    kind = "no_dataset"
    try_this = "Write its id first, such as organisation/name."


def part(problem: gr.HTML, go: gr.HTML) -> None:
    """Draw the part; `go` leads to the dataset that was added."""
    asked, timer = gr.State({}), gr.Timer(SOON, active=False)
    with shell.section("From the Hub", LEAD, elem_id="data-hub"):
        with gr.Row(elem_classes=["ps-beside"]):
            ref = gr.Textbox(label="Dataset id", placeholder="organisation/name", elem_id="data-hub-id", max_lines=1)
            look = gr.Button("Look", elem_id="data-hub-look")
        about = shell.html(elem_id="data-hub-about")
        with gr.Row(elem_classes=["ps-filters"], visible=False) as choices:
            config = shell.picker(label="Configuration", elem_id="data-hub-config")
            split = shell.picker(label="Learn from", elem_id="data-hub-split")
            held = shell.picker(label="Evaluate on", elem_id="data-hub-eval")
        rows = shell.html(elem_id="data-hub-rows")
        add = gr.Button("Add this dataset", variant="primary", elem_id="data-hub-add", visible=False)
    view = [about, choices, config, split, held, rows, add, timer]
    shell.on([look.click, ref.submit], _look, [ref], [asked, *view], card=problem, busy="minimal")
    shell.on([config.input], _config, [asked, config], [asked, *view], card=problem)
    shell.on([split.input], _split, [asked, config, split], [asked, *view], card=problem)
    shell.on([timer.tick], _view, [asked], view, card=problem, trigger_mode="once", clears=False)
    shell.on([add.click], _add, [asked, config, split, held], [go], card=problem, busy="minimal")


def _look(ref: str, request: gr.Request) -> Any:
    if not (ref or "").strip():
        raise NoDataset()
    asked = {"id": ref, "config": "", "split": ""}
    service.hub_data.look(session.user(request), ref, again=True)
    return asked, *_view(asked, request)


def _config(asked: Mapping[str, str], config: Any, request: gr.Request) -> Any:
    asked = {**asked, "config": shell.chosen(config) or "", "split": ""}
    return asked, *_view(asked, request)


def _split(asked: Mapping[str, str], config: Any, split: Any, request: gr.Request) -> Any:
    asked = {**asked, "config": shell.chosen(config) or "", "split": shell.chosen(split) or ""}
    return asked, *_view(asked, request)


def _add(asked: Mapping[str, str], config: Any, split: Any, held: Any, request: gr.Request) -> str:
    if not asked:
        raise NoDataset()
    # What was looked at is what is added, whatever has been put on the Hub since.
    listing = (_asked(asked, request).found or {}).get("listing") or {}
    row = service.add_hub_dataset(
        session.user(request), asked["id"], config=shell.chosen(config) or "", split=shell.chosen(split) or "",
        eval_split=shell.chosen(held) or NONE, revision=listing.get("revision"))
    return f"/data?dataset={row.id}"


def _asked(asked: Mapping[str, str], request: gr.Request) -> Look:
    return service.hub_data.look(session.user(request), asked["id"], config=asked["config"], split=asked["split"])


def _view(asked: Mapping[str, str], request: gr.Request) -> Any:
    """Draw what is known so far of the dataset that is asked for; the choices stay while more of it is fetched."""
    if not asked:
        return *[gr.skip()] * 7, gr.Timer(active=False)
    look = _asked(asked, request)
    timer = gr.Timer(SOON, active=look.working)
    if look.working:
        told = cards.progress(look.progress or None, "Asking the Hub")
        return told, *[gr.skip()] * 4, "", gr.Button(visible=False), timer
    if look.found is None:
        told = cards.error(look.error or {"what": "The Hub was not asked."})
        return told, gr.Row(visible=bool(asked["config"])), *[gr.skip()] * 3, "", gr.Button(visible=False), timer
    return _shown(look.found, timer)


def _shown(found: Mapping[str, Any], timer: gr.Timer) -> tuple[Any, ...]:
    listing, chosen = found["listing"], found["chosen"] or {"config": "", "split": "", "eval_split": ""}
    configs = [{"value": one["name"], "title": one["name"]} for one in listing["configs"]]
    splits: Sequence[Mapping[str, Any]] = next(
        (one["splits"] for one in listing["configs"] if one["name"] == chosen["config"]), [])
    options = [{"value": one["name"], "title": _title(one)} for one in splits]
    others = [{"value": NONE, "title": "None"}, *(one for one in options if one["value"] != chosen["split"])]
    return (_about(listing), gr.Row(visible=True),
            shell.picks(configs, chosen["config"] or None, label="Configuration", elem_id="data-hub-config"),
            shell.picks(options, chosen["split"] or None, label="Learn from", elem_id="data-hub-split"),
            shell.picks(others if chosen["split"] else [], (chosen["eval_split"] or NONE) if chosen["split"] else None,
                        label="Evaluate on", elem_id="data-hub-eval"),
            _rows(found), gr.Button(visible=bool(chosen["split"])), timer)


def _title(split: Mapping[str, Any]) -> str:
    return ", ".join([str(split["name"]), *([plural(split["rows"], "row")] if split["rows"] is not None else []),
                      size(split["bytes"])])


def _about(listing: Mapping[str, Any]) -> str:
    """Return what there is to know before adding: licence, commit, how its files came to be."""
    told = [f"Licence: {listing['licence'] or 'none stated'}", f"commit {listing['revision'][:10]}",
            f"{count(len(listing['configs']))} {'configuration' if len(listing['configs']) == 1 else 'configurations'}"]
    if listing["converted"]:
        told.append("its files as the Hub converted them to parquet")
    if listing["cached"]:
        told.append("from the cache of this machine: the Hub cannot be reached")
    return f'<p><b>{esc(listing["id"])}</b> <span class="ps-muted">{esc(" · ".join(told))}</span></p>'


def _rows(found: Mapping[str, Any]) -> str:
    if found.get("problem"):
        return cards.error(found["problem"])
    if found["chosen"] is None:
        return cards.note("It has several configurations: choose one to see its first rows.", "muted")
    columns = found["columns"]
    rows = [[data_view.cell(row.get(name)) for name in columns] for row in found["rows"]]
    return (f'<div class="ps-stack ps-tall">{cards.table(columns, rows, "First rows")}</div>' if rows
            else cards.note("This split has no rows.", "muted"))
