"""The tab "Problems" of a dataset: repeated rows, near-duplicates, leaks, and likely label errors after a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from db import datasets
from db.tables import Dataset
from db.users import User
from studio import cards, data_looks, parts, service, shell
from studio.data_samples import plain, shortened, texts
from studio.text import count, esc, metric, percent, plural

#: Groups shown at once, and characters of a row.
OPEN, LONGEST = 12, 200


def tab(problem: gr.HTML) -> None:
    """Draw the tab; it asks for what it shows when it is opened."""
    with gr.Tab("Problems", id="problems") as made:
        box = parts.kept("dataset-problems", ["ps-stacked-cards"])
        again = gr.Button("Try again", elem_id="dataset-problems-again", size="sm", visible=False)
        timer = gr.Timer(data_looks.SOON, active=False)
    outputs = [box, timer, again]
    shell.load(_opened, None, outputs, card=problem)
    shell.on([made.select, timer.tick], _look, None, outputs, card=problem, trigger_mode="once", clears=False)
    shell.on([again.click], _again, None, outputs, card=problem, busy="minimal")


def _opened(request: gr.Request) -> Any:
    if shell.query(request, "tab") != "problems":
        return gr.skip(), gr.Timer(active=False), gr.skip()
    return _look(request)


def _look(request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is None or row.state != "ready":
        return data_looks.later(row), gr.Timer(data_looks.SOON, active=row is not None and row.state != "failed"), \
            gr.Button(visible=False)
    if not (row.task and row.columns):
        return cards.note("Say which column plays which part first.", "muted"), gr.Timer(active=False), \
            gr.Button(visible=False)
    look = service.looks.problems(user, row.id)
    html = suspected(user, row) + data_looks.shown(
        look, lambda found: draw(row, _beside(user, row), found), "Comparing all rows with each other")
    return html, gr.Timer(data_looks.SOON, active=look.working), gr.Button(visible=look.state == "failed")


def _again(request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is not None:
        service.looks.problems(user, row.id, again=True)
    return _look(request)


def _beside(user: User, row: Dataset) -> Dataset | None:
    return next(iter(datasets.find(user, eval_of_id=row.id, states=["ready", "failed"], limit=1)), None)


def suspected(user: User, row: Dataset) -> str:
    """Return rows that runs were wrong about as a card, or that they would stand there."""
    title, found = "Likely label errors", service.suspects.suspects(user, row.id)
    if not found:
        return cards.card(title, '<p class="ps-muted">After a run on this data, the rows stand here that it found '
                                 "hardest to believe: where its own answer is another one, with a high loss.</p>")
    shown = texts(user, row, [one.row for one in found])
    rows = [(data_looks.link(row.id, one.row), shown[one.row], plain(one.expected), plain(one.predicted),
             metric(one.loss), f'<a href="/runs?run={esc(one.run_id)}">{esc(one.run_name)}</a>'
             + (f" and {count(one.runs - 1)} more" if one.runs > 1 else "")) for one in found]
    table = cards.table(["Row", "Text", "Given", "The run says", "Loss", "Run"], rows, title, numeric=[0, 4],
                        html_columns=[0, 1, 5])
    return cards.card(title, "<p>Runs on this data were sure of another answer for these rows. Look whether what is "
                             "given is right; a row's number leads to it.</p>", f'<div class="ps-stack">{table}</div>')


def draw(row: Dataset, beside: Dataset | None, found: dict[str, Any]) -> str:
    """Return repeated rows and leaks as cards; `found` is an `engine.data.leaks.Problems`."""
    made = [_leaks(row, beside, found), _conflicts(row, found), _same(row, found)]
    if "near" in found["done"]:
        made.append(_near(row, found))
    return "".join(made)


def _leaks(row: Dataset, beside: Dataset | None, found: dict[str, Any]) -> str:
    title = "Evaluation rows that training has seen"
    if beside is not None and beside.state == "failed":
        return cards.card(title, '<p class="ps-muted">The file to evaluate on could not be read.</p>')
    if found["leak_count"] is None or beside is None:
        return cards.card(title, '<p class="ps-muted">There is no file to evaluate on. A share of these rows is kept '
                                 "aside instead: rows that repeat each other may land on both sides.</p>")
    near = found["near_leak_count"]
    said = f"{plural(found['leak_count'], 'row')} of {beside.name} also stand here" + (
        f", {count(near)} more are nearly the same." if near is not None else ".")
    rows = [(data_looks.link(beside.id, one["row"]), data_looks.link(row.id, one["same_as"]), _alike(one["alike"]),
             shortened(one["text"], LONGEST)) for one in found["leaks"][:200]]
    table = cards.table(["Row there", "Row here", "Alike", "Text"], rows, title, numeric=[0, 1, 2],
                        html_columns=[0, 1]) if rows else ""
    return cards.card(title, f"<p>{esc(said)}</p>", f'<div class="ps-stack ps-tall">{table}</div>' if table else "")


def _conflicts(row: Dataset, found: dict[str, Any]) -> str:
    if not found["conflict_count"]:
        return ""
    rows = [(data_looks.links(row.id, one["rows"][:6], one["count"] - 6), ", ".join(one["answers"]),
             shortened(one["text"], LONGEST)) for one in found["conflicts"]]
    return _listed("The same text with different answers",
                   f"{plural(found['conflict_count'], 'row')} contradict each other.",
                   ["Rows", "Answers", "Text"], rows)


def _same(row: Dataset, found: dict[str, Any]) -> str:
    repeat = "repeats" if found["same_count"] == 1 else "repeat"
    said = f"{plural(found['same_count'], 'row')} of {count(found['rows'])} {repeat} an earlier one, case aside."
    rows = [(data_looks.links(row.id, one["rows"][:6], one["count"] - 6), count(one["count"]),
             shortened(one["text"], LONGEST)) for one in found["same"]]
    return _listed("Repeated rows", said if found["same_count"] else "No row repeats another.",
                   ["Rows", "How often", "Text"], rows)


def _near(row: Dataset, found: dict[str, Any]) -> str:
    differ = "differs" if found["near_count"] == 1 else "differ"
    said = f"{plural(found['near_count'], 'row')} {differ} from another only in a few letters."
    rows = [(data_looks.links(row.id, one["rows"][:6], one["count"] - 6), _alike(one["alike"]),
             shortened(one["text"], LONGEST)) for one in found["near"]]
    return _listed("Nearly the same", said if found["near_count"] else "No row is nearly the same as another.",
                   ["Rows", "Alike", "Text"], rows)


def _listed(title: str, said: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def table(part: Sequence[Sequence[Any]], name: str) -> str:
        return f'<div class="ps-stack">{cards.table(columns, part, name, html_columns=[0])}</div>'
    shown = table(rows[:OPEN], title) if rows else ""
    rest = cards.more(f"{count(len(rows) - OPEN)} more groups", table(rows[OPEN:], f"{title}, more")) \
        if len(rows) > OPEN else ""
    return cards.card(title, f"<p>{esc(said)}</p>", shown, rest)


def _alike(share: float) -> str:
    return "the same" if share >= 1 else percent(share, 2)
