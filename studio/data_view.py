"""What is shown of one dataset: its rows with their roles, what was counted, what was noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from db.tables import Dataset
from engine import tasks
from engine.data.source import Preview
from studio import cards, plots
from studio.text import ago, count, esc, percent, plural, size

READING = ("uploaded", "ingesting")
SHOWN_LABELS = 40
LONGEST_CELL = 300


def name(row: Dataset) -> str:
    """Return the dataset's name as a link."""
    sample = " (sample)" if row.sample and "sample" not in row.name.lower() else ""
    return f'<a href="/data?dataset={esc(row.id)}"><b>{esc(row.name + sample)}</b></a>'


def state(row: Dataset) -> str:
    """Return how far reading is, or what came of it."""
    if row.state in READING:
        return cards.progress(row.progress or None, "Reading")
    if row.state == "ready" and any(found.get("level") == "error" for found in row.findings):
        return cards.badge("needs a fix", "bad")
    return cards.badge(row.state)


def head(row: Dataset) -> str:
    """Return name, state, error and the way on."""
    kind = tasks.every().get(row.task or "")
    about = [row.filename, size(row.bytes), plural(row.rows, "row") if row.rows is not None else "",
             kind.card.title if kind else "", f"added {ago(row.created_at)}"]
    title = (f'<div class="ps-run-head"><p class="ps-crumb"><a href="/data">All data</a></p>'
             f'<h2>{esc(row.name)} {cards.badge(row.state)}</h2>'
             f'<p class="ps-muted">{esc(" · ".join(part for part in about if part))}</p></div>')
    if row.state in READING:
        return title + cards.card("", cards.progress(row.progress or None, "Reading and counting"))
    if row.state == "failed":
        return title + cards.error(row.error or {"what": "This file could not be read."})
    blocked = any(found.get("level") == "error" for found in row.findings)
    return title + ("" if blocked else cards.links([("Train on it", f"/train?dataset={row.id}")]))


def guess(row: Dataset) -> str:
    """Return why these roles were guessed, or that a person confirmed them."""
    if row.confirmed:
        return cards.note("You confirmed these columns.", "good")
    why = (row.guess or {}).get("why") or []
    return cards.note(" ".join(why) or "Check that each column plays the part it should.", "info",
                      "This is a guess: check it, then confirm.")


def table(found: Preview, columns: Mapping[str, str]) -> str:
    """Return the first rows; each column's header says which part it plays."""
    roles = {column: role for role, column in columns.items()}

    def header(column: str) -> str:
        role = roles.get(column)
        tag = cards.badge(role.replace("_", " "), "accent") if role else cards.badge("not used", "muted")
        return f'<th scope="col">{esc(column or "(no name)")}<br>{tag}</th>'
    head_html = "".join(header(column) for column in found.columns)
    body = "".join(f'<tr><td class="ps-num">{number}</td>' + "".join(
        f"<td>{esc(cell(row.get(column)))}</td>" for column in found.columns) + "</tr>"
        for number, row in enumerate(found.rows, 1))
    caption = "First rows"
    return (f'<div class="ps-scroll ps-tall" tabindex="0" role="region" aria-label="{caption}"><table class="ps-table">'
            f'<caption class="ps-hidden">{caption}</caption><thead><tr><th scope="col">Row</th>{head_html}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def cell(value: Any) -> str:
    """Return a cell's value as text, long ones cut."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL - 1] + "…"


def numbers(row: Dataset) -> str:
    """Return the counts a person wants before paying for training."""
    stats = row.stats or {}
    if not stats:
        return ""
    duplicates, overlap = stats.get("duplicates") or {}, stats.get("overlap") or {}
    empty, lengths = sum((stats.get("empty") or {}).values()), stats.get("characters") or {}
    other = stats.get("eval_rows")
    more = f"{count(other)} more to evaluate on" if other else "a share is kept to evaluate"
    items = [("Rows", count(stats.get("rows")), more),
             ("Duplicates", count(duplicates.get("count")),
              f"{count(duplicates['conflicting'])} with different answers" if duplicates.get("conflicting") else ""),
             ("Empty cells", count(empty), "in all columns"),
             ("Typical length", f"{count(lengths.get('p50'))} characters", f"longest {count(lengths.get('max'))}")]
    if stats.get("label_count"):
        items.insert(1, ("Labels", count(stats["label_count"]), ""))
    if overlap:
        share = f"{percent(overlap.get('share'))} of the evaluation"
        items.append(("Also in training", count(overlap.get("count")), share))
    return cards.stats(items)


def findings(row: Dataset) -> str:
    """Return what was noticed, errors first."""
    if row.state != "ready":
        return ""
    seen: dict[str, Mapping[str, Any]] = {}
    for found in [*row.findings, *((row.stats or {}).get("findings") or [])]:
        seen.setdefault(f"{found.get('kind')} {found.get('where')} {found.get('what')}", found)
    return cards.findings(list(seen.values()), "Nothing wrong was found.")


def labels(row: Dataset) -> plots.Figure:
    """Return how many rows each label has, or how numbers are spread."""
    stats = row.stats or {}
    found: Mapping[str, int] = stats.get("labels") or {}
    if spread := stats.get("label_numbers"):
        return plots.histogram(spread["edges"], spread["counts"], label="Scores", x_title="score")
    if not found:
        return plots.blank("Labels", "Labels are drawn here when a column holds them.")
    most = sorted(found.items(), key=lambda item: -item[1])[:SHOWN_LABELS]
    rest = len(found) - len(most)
    return plots.bars(dict(most), label="Labels", title=f"rows; {rest} rarer labels not shown" if rest > 0 else "rows")


def lengths(row: Dataset) -> plots.Figure:
    """Return how long rows are: in tokens against the model's limit where they were tokenised, else in characters."""
    stats = row.stats or {}
    tokens: Mapping[str, Any] | None = stats.get("tokens")
    spread = tokens or stats.get("characters")
    if not spread:
        return plots.blank("Lengths", "Lengths are drawn here once the file is read.")
    unit = "tokens" if tokens else "characters"
    mark = tokens.get("limit") if tokens else None
    return plots.histogram(spread["edges"], spread["counts"], label=f"Lengths in {unit}", x_title=unit, mark=mark,
                           mark_text=f"limit: {count(mark)} tokens" if mark else "")


def over(row: Dataset) -> str:
    """Return in words how much of the data is longer than the model takes."""
    tokens = (row.stats or {}).get("tokens") or {}
    if not tokens:
        return ""
    limit, share = tokens.get("limit"), tokens.get("over") or 0
    text = f"Half of the rows have at most {count(tokens.get('p50'))} tokens, 95 % at most {count(tokens.get('p95'))}."
    if limit:
        text += f" {percent(share)} are longer than {count(limit)} tokens and would be cut." if share else (
            f" None is longer than {count(limit)} tokens.")
    if tokens.get("sampled"):
        text += f" Counted on {count(tokens.get('rows'))} rows drawn at random."
    return cards.note(text, "warn" if share > 0.05 else "info")


def role_choices(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Return the options of a role's dropdown: no column, or one of them."""
    return [("not used", ""), *((column or "(no name)", column) for column in columns)]
