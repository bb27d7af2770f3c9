"""What is shown of steps of preparation: counts, notes, and rows before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine import preparation
from engine.preparation import Step
from engine.registry import name_of
from studio import cards, form, shell
from studio.service.preparation import Previewed
from studio.text import count, esc, plural

#: Near-duplicates named beneath a step.
NAMED = 8
EMPTY = "There are no steps yet: runs take the rows as they are. Add one below."


def listing(found: Previewed, *, fixed: bool = False) -> dict[str, Any]:
    """Return the value of the list of steps; `fixed` ones cannot be changed here."""
    steps = [{"title": one["title"], "told": one["told"], "html": report(one, found.columns_before(place)),
              "failed": "error" in one, "key": f"{place} {one['told']}"} for place, one in enumerate(found.steps)]
    return {"steps": steps, "fixed": fixed, "empty": EMPTY}


def untried(steps: Sequence[Step], found: Previewed) -> list[dict[str, Any]]:
    """Return the cards of steps that come after one that failed."""
    return [{"title": step.card.title, "told": step.told(), "failed": False, "key": f"{place} {step.told()}",
             "html": '<p class="ps-muted">Not tried: a step before it cannot be done.</p>'}
            for place, step in enumerate(steps) if place >= len(found.steps)]


def report(one: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return the counts of a step, its note, and rows before and after; or what stands in its way."""
    if "error" in one:
        return cards.error(one["error"])
    held = f", {count(one['eval_after'])} to evaluate on" if one["eval_after"] is not None else ""
    counts = f'<p class="ps-step-counts"><b>{_kept(one)}</b>{held}</p>'
    note = f'<p class="ps-muted">{esc(one["note"])}</p>' if one["note"] else ""
    return counts + note + cards.more("Rows before and after", sample(one, columns))


def trial(one: Mapping[str, Any], columns: Sequence[str], looked: str) -> str:
    """Return what a step would do that is not kept yet."""
    if "error" in one:
        return cards.error(one["error"])
    held = f", {count(one['eval_after'])} to evaluate on" if one["eval_after"] is not None else ""
    counts = f"{_kept(one)}{held}"
    note = f'<p class="ps-muted">{esc(one["note"])}</p>' if one["note"] else ""
    return (f'<h3 class="ps-chart-title">What it would do</h3><p class="ps-step-counts" role="status"><b>{esc(counts)}'
            f"</b> {esc(looked)}</p>{note}{sample(one, columns)}{pairs(one)}")


def _kept(one: Mapping[str, Any]) -> str:
    return f"{count(one['rows_before'])} → {plural(one['rows_after'], 'row')}"


def looked_at(found: Previewed) -> str:
    """Return how much of the file a preview goes by."""
    return "" if found.whole else f"(of the first {count(found.looked_at)}; the file has {count(found.rows)})"


def sample(one: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return rows before and after a step as a table; `columns` are those before it."""
    names = [*one["columns"], *(name for name in columns if name not in one["columns"])]
    new, gone = set(one["columns"]) - set(columns), set(columns) - set(one["columns"])
    head = "".join(f'<th scope="col">{_mark(name, new, gone)}</th>' for name in names)
    body = "".join(_row(row, names) for row in one["sample"])
    if not body:
        return ""
    return ('<div class="ps-scroll" tabindex="0" role="region" aria-label="Rows before and after"><table '
            'class="ps-table ps-sample"><caption class="ps-hidden">Rows before and after</caption><thead><tr>'
            f'<th scope="col" class="ps-num">Row</th>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def pairs(one: Mapping[str, Any]) -> str:
    """Return which rows were found alike."""
    items = "".join(f"<li>row {count(pair['row'])} is like {_place(pair['same_as'])}, {pair['alike']:.0%}</li>"
                    for pair in one["pairs"][:NAMED])
    return cards.more("Rows that were found alike", f"<ul>{items}</ul>") if items else ""


def kinds(chosen: str | None = None) -> dict[str, Any]:
    """Return the choice of what may be added."""
    options = [{"value": name, "title": kind.card.title} for name, kind in preparation.every().items()]
    return shell.picks(options, chosen, label="Step", elem_id="prepare-kind", empty="Choose a step …")


def settings(kind: type[Step] | None, columns: Sequence[str], values: Mapping[str, Any] | None,
             elem_id: str) -> dict[str, Any]:
    """Return the value of the form of a step, its columns to be chosen among those there are at that point."""
    if kind is None:
        return form.state([], elem_id=elem_id)
    choices: dict[str, list[dict[str, Any]]] = {}
    for name, info in kind.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        if extra.get("of"):
            usual = form.defaults(kind).get(name)
            first = [{"value": usual, "label": "Choose …"}] if extra["of"] == "column" and usual not in columns else []
            choices[name] = [*first, *({"value": column, "label": column} for column in columns)]
    group = form.Group(name_of(kind), kind.card.title, kind, choices=choices)
    return form.state([group], {group.key: dict(values)} if values else None, elem_id=elem_id)


def unfilled(kind: type[Step], values: Mapping[str, Any]) -> str:
    """Return the fields that a step needs and that nothing was typed into yet: "Column and Labels"; "" for none."""
    titles = [form.title(name, info) for name, info in kind.model_fields.items()
              if info.is_required() and values.get(name) in (None, "", [], {})]
    return " and ".join(titles)


def _row(row: Mapping[str, Any], names: Sequence[str]) -> str:
    before, after = row["before"] or {}, row["after"]
    if after is None:
        cells = "".join(f"<td>{esc(before.get(name))}</td>" for name in names)
        if row.get("held"):
            return f'<tr class="ps-held"><td class="ps-num">{row["row"]} to evaluation</td>{cells}</tr>'
        return f'<tr class="ps-gone"><td class="ps-num">{row["row"]} out</td>{cells}</tr>'
    return f'<tr><td class="ps-num">{row["row"]}</td>{"".join(_cell(before, after, name) for name in names)}</tr>'


def _cell(before: Mapping[str, str], after: Mapping[str, str], name: str) -> str:
    old, new = before.get(name), after.get(name)
    if old == new:
        return f"<td>{esc(new)}</td>"
    removed = f"<del>{esc(old)}</del> " if old else ""
    added = f"<ins>{esc(new)}</ins>" if new else ""
    return f"<td>{removed}{added}</td>"


def _mark(name: str, new: set[str], gone: set[str]) -> str:
    tag = "ins" if name in new else "del" if name in gone else ""
    return f"<{tag}>{esc(name)}</{tag}>" if tag else esc(name)


def _place(row: int | None) -> str:
    return "a row to evaluate on" if row is None else f"row {count(row)}"
