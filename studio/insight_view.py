"""The part "What was learned" of a run's and an adapter's page: figures and tables, each with how to read it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import adapters, runs
from db.users import User
from engine.errors import StudioError
from engine.insight.report import Cell, Heat, Lines, Section, Table
from studio import cards, parts, plots, service, session, shell
from studio.service import Learned
from studio.text import count, esc, metric, size
from studio.widgets import asset, drawn_by

TITLE = "What was learned"
#: Seconds between two looks while something is still to come.
SOON = 2.0
#: Columns of a map up to which its cells say their numbers where there is room, and pixels of a row.
SPOKEN, LINE = 12, 26
#: Pixels of a square map and of its smallest row; share of the largest number from which letters are light on dark.
SQUARE, LEAST, STRONG = 440, 7, 0.6
Value = dict[str, Any]
NOTHING: Value = {"sections": []}


def part(elem_id: str, query: str) -> None:
    """Draw the part for the run or adapter that `query` names in the page's address; it looks after itself."""
    box = gr.HTML(NOTHING, html_template="", apply_default_css=False, padding=False, elem_id=elem_id, label=TITLE,
                  elem_classes=["ps-widget", "ps-insight"], head=f'<script src="{asset("insight.js")}"></script>',
                  js_on_load=drawn_by("studioInsight", "sections"))
    timer = gr.Timer(SOON, active=False)

    def look(request: gr.Request) -> tuple[Value, gr.Timer]:
        value, waits = _look(session.user(request), query, shell.query(request, query))
        return value, gr.Timer(SOON, active=waits)

    def again(request: gr.Request) -> tuple[Value, gr.Timer]:
        user = session.user(request)
        if adapter_id := _adapter(user, query, shell.query(request, query)):
            service.learned(user, adapter_id, again=True)
        return look(request)

    shell.load(look, None, [box, timer])
    shell.on([timer.tick], look, None, [box, timer], trigger_mode="once")
    shell.on([box.click], again, None, [box, timer])


def _look(user: User, query: str, id: str) -> tuple[Value, bool]:
    """Return what to show of a run or adapter, and whether more is to come."""
    if not id:
        return NOTHING, False
    adapter_id = _adapter(user, query, id)
    if adapter_id is None:
        run = parts.found(lambda: runs.get(user, id)) if query == "run" else None
        return NOTHING, run is not None and run.state not in runs.ENDED
    found = parts.found(lambda: service.learned(user, adapter_id))
    if found is None:
        return NOTHING, False
    similar = service.similar_prompts(user, adapter_id) if found.insight else []
    return shown(found, similar, maps=query == "adapter"), found.working


def _adapter(user: User, query: str, id: str) -> str | None:
    """Return the id of the adapter whose page it is, or that came of the run; None while there is none."""
    try:
        if query == "adapter":
            return adapters.get(user, id).id
        made = adapters.of_run(user, id)
        return made.id if made else None
    except StudioError:
        return None


def shown(found: Learned, similar: list[dict[str, Any]], *, maps: bool = True) -> Value:
    """Return the value of the component: a list of sections, or what is being waited for, or why there are none."""
    if found.insight is None:
        if found.working:
            return {"title": TITLE, "html": cards.progress(found.progress or None, "Looking into the adapter"),
                    "sections": []}
        error = cards.error(found.error) if found.error else cards.note("This was not worked out.", "muted")
        return {"title": TITLE, "html": error, "again": "Try again", "sections": []}
    made = [section(one) for one in found.insight.sections]
    if not maps:
        # A run's page has the map of its trained parameters above.
        made = [one | {"parts": [part for part in one["parts"] if "html" in part]} if one["name"] == "parameters"
                else one for one in made]
    if similar:
        made.insert(-1, _similar(similar))
    notes = "".join(cards.note(note, "warn") for note in found.insight.notes)
    return {"title": TITLE, "html": notes, "sections": made}


def section(one: Section) -> Value:
    """Return one section as the component draws it."""
    facts = cards.facts([(name.replace("_", " ").removesuffix(" bytes"), _fact(name, value))
                         for name, value in one.facts.items() if value is not None], columns=True) if one.facts else ""
    drawn = [{"title": each.title, "figure": _heat(each), "square": _square(each)} if isinstance(each, Heat) else
             {"title": each.title, "figure": _lines(each)} if isinstance(each, Lines) else
             {"title": each.title, "html": _table(each)} for each in one.parts]
    return {"name": one.name, "title": one.title, "how": one.how, "note": one.note, "html": facts, "parts": drawn}


def _fact(name: str, value: Cell) -> str:
    if isinstance(value, int):
        return size(value) if name.endswith("_bytes") else count(value)
    return metric(value) if isinstance(value, float) else str(value)


def _heat(one: Heat) -> plots.Figure:
    row = min(LINE, max(LEAST, SQUARE // max(len(one.rows), 1)))
    made = plots.heat(one.rows, one.columns, one.values, label=one.title, texts=one.texts or None, x_title=one.x_title,
                      height=66 + row * len(one.rows))
    if one.texts and len(one.columns) <= SPOKEN and not _square(one):
        made["layout"]["annotations"] = _spoken(one)
    return made


def _spoken(one: Heat) -> list[dict[str, Any]]:
    """Return the words of each cell as annotations, in letters that can be read on its colour."""
    most = max((value for line in one.values for value in line if value is not None), default=0) or 1
    # By number: a category called "2" would be taken for the third one.
    return [{"x": column, "y": row, "text": plots.plain(text), "showarrow": False, "font": {
                "size": 11, "color": "var(--ps-panel)" if (value or 0) / most > STRONG else "var(--ps-ink)"}}
            for row, (line, texts) in enumerate(zip(one.values, one.texts, strict=True))
            for column, (value, text) in enumerate(zip(line, texts, strict=True)) if value is not None]


def _square(one: Heat) -> bool:
    return one.rows == one.columns


def _lines(one: Lines) -> plots.Figure:
    series = {line.name: (line.x, line.y) for line in one.series}
    made = plots.lines(series, label=one.title, x_title=one.x_title, y_title=one.y_title, marks=True,
                       height=270 + 14 * len(series))
    made["layout"]["yaxis"] |= {"rangemode": "tozero"}
    if one.x_title == "layer":
        made["layout"]["xaxis"] |= {"dtick": max(1, round(max(len(line.x) for line in one.series) / 8))}
    return made


def _table(one: Table) -> str:
    rows = [["–" if cell is None else count(cell) if isinstance(cell, int) else metric(cell) if isinstance(cell, float)
             else cell for cell in row] for row in one.rows]
    made = cards.table(one.columns, rows, one.title, numeric=one.numeric)
    return made if one.open else cards.more(one.title, made)


def _similar(similar: list[dict[str, Any]]) -> Value:
    """Return the section that compares the prompt with others of the same base model."""
    rows = [(f'<a href="/adapters?adapter={esc(one["id"])}">{esc(one["name"])}</a>', metric(one["averaged"]),
             metric(one["each"])) for one in similar]
    body = cards.table(["Prompt", "Cosine of the means", "Mean cosine of pairs"], rows, "Other prompts",
                       numeric=[1, 2], html_columns=[0])
    return {"name": "other_prompts", "title": "Other prompts of this base model", "note": "", "html": "", "how": (
        "How alike this prompt is to those of other adapters: a prompt of a similar task (cosine of the means near 1) "
        "is a good one to start from."), "parts": [{"title": "", "html": body}]}
