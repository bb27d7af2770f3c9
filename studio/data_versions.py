"""The tab "Versions" of a dataset: its family, and how one differs from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from db import datasets, versions
from db.tables import Dataset
from db.users import User
from studio import cards, data_looks, data_view, parts, service, shell
from studio.data_samples import plain, shortened
from studio.service.versions import Diff
from studio.text import ago, count, esc, plural

#: Differences shown, and characters of a cell.
SHOWN, LONGEST = 300, 240


def tab(problem: gr.HTML) -> None:
    """Draw the tab; it is filled when it is opened."""
    with gr.Tab("Versions", id="versions") as made:
        listed = parts.kept("dataset-versions", ["ps-stacked-cards"])
        other = shell.picker(label="Compare with", elem_id="dataset-against")
        drawn = parts.kept("dataset-diff", ["ps-stacked-cards"])
        timer = gr.Timer(data_looks.SOON, active=False)
    outputs = [listed, other, drawn, timer]
    shell.load(_opened, None, outputs, card=problem)
    shell.on([made.select, timer.tick], _look, None, outputs, card=problem, trigger_mode="once", clears=False)
    shell.on([other.input], _against, [other], [drawn], card=problem)


def _opened(request: gr.Request) -> Any:
    if shell.query(request, "tab") != "versions":
        return gr.skip(), gr.skip(), gr.skip(), gr.Timer(active=False)
    return _look(request)


def _look(request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is None:
        return "", gr.skip(), "", gr.Timer(active=False)
    family = service.versions.family(user, row.id)
    waits = any(data_view.reading(one) for one in family)
    before = versions.before(row)
    return (_family(user, row, family), _others(row, family, before), _diff(user, row, before),
            gr.Timer(data_looks.SOON, active=waits))


def _against(chosen: Any, request: gr.Request) -> str:
    user, row = data_looks.opened(request)
    return _diff(user, row, shell.chosen(chosen)) if row is not None else ""


def _family(user: User, row: Dataset, family: Sequence[Dataset]) -> str:
    lead = ("<p>A version is never changed: saving changes under Rows makes the next one, and runs keep pointing at "
            "theirs.</p>")
    rows = []
    for one in family:
        used = datasets.used_by(user, one.id)["runs"]
        name = f"<b>{esc(one.name)}</b> (this one)" if one.id == row.id else data_view.name(one)
        changes = edits_told(one)
        rows.append((name, count(one.version), data_view.badge(one), count(one.rows), changes, count(used),
                     ago(one.created_at)))
    table = cards.table(["Name", "Version", "State", "Rows", "Changes", "Runs", "Added"], rows, "Versions",
                        numeric=[1, 3, 5], html_columns=[0, 2])
    return cards.card("Versions", lead, f'<div class="ps-stack">{table}</div>')


def edits_told(row: Dataset) -> str:
    """Return in a few words what a version changed."""
    changes = versions.saved(row)
    left_out = sum(bool(one.get("exclude")) for one in changes)
    said = [plural(len(changes) - left_out, "cell")] if len(changes) > left_out else []
    return ", ".join([*said, *([f"{plural(left_out, 'row')} left out"] if left_out else [])]) or "–"


def _others(row: Dataset, family: Sequence[Dataset], before: str | None) -> Any:
    options = [{"value": one.id, "title": f"Version {one.version}: {one.name}"} for one in family if one.id != row.id]
    value = shell.picks(options, before if any(one["value"] == before for one in options) else None,
                        label="Compare with", elem_id="dataset-against", empty="Choose a version")
    return gr.HTML(value, visible=bool(options))


def _diff(user: User, row: Dataset, against: str | None) -> str:
    found = parts.found(lambda: service.versions.diff(user, row.id, against)) if against else None
    if found is None:
        return ""
    other = parts.found(lambda: datasets.get(user, found.against))
    return draw(found, row, other) if other is not None else ""


def draw(found: Diff, row: Dataset, other: Dataset) -> str:
    """Return the differences of two versions as a card: what stood there, and what stands there now."""
    title = f"What changed from version {other.version} to {row.version}"
    if not found.changes:
        return cards.card(title, "<p>They are the same.</p>")
    back = len(found.changes) - found.cells - found.excluded
    counted = [plural(found.cells, "cell") + " changed" if found.cells else "",
               plural(found.excluded, "row") + " left out" if found.excluded else "",
               plural(back, "row") + " taken back in" if back else ""]
    said = ", ".join(part for part in counted if part)
    table = cards.table(["Column", "Row", "Now", "Before", "After"],
                        [_change(row, other, one) for one in found.changes[:SHOWN]], title, numeric=[1, 2],
                        html_columns=[1, 2, 3, 4])
    rest = f'<p class="ps-muted">{count(len(found.changes) - SHOWN)} more are not shown.</p>' \
        if len(found.changes) > SHOWN else ""
    return cards.card(title, f"<p>{esc(said)}.</p>", f'<div class="ps-stack ps-diff">{table}</div>', rest)


def _change(row: Dataset, other: Dataset, one: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (data_looks.link(other.id, one["row"]) if one["row"] else "–",
               data_looks.link(row.id, one["new_row"]) if one["new_row"] else "–")
    before, after = (esc(shortened(plain(one.get(name)), LONGEST)) for name in ("before", "after"))
    if "column" in one:
        return (str(one["column"]), *numbers, f"<del>{before}</del>", f"<ins>{after}</ins>")
    if one["excluded"]:
        return ("the whole row", *numbers, f"<del>{before}</del>", "left out")
    return ("the whole row", *numbers, "was left out", f"<ins>{before}</ins>")
