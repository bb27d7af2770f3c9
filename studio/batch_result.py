"""What came of a batch, as HTML: progress, the first rows with their predictions, evaluations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db import batches
from db.tables import Adapter, Batch
from engine import digits, tasks
from engine.evaluation.report import Evaluation, Measured
from studio import cards, evaluation_view
from studio.measures import measured, title
from studio.text import ago, count, duration, esc, plural, size

NOTHING: dict[str, Any] = {"sections": []}
#: Metrics of a table of evaluations, and letters of a cell.
METRICS, LETTERS = 5, 160


def head(row: Batch) -> str:
    """Return what it is about, with a way back."""
    who = f'<a href="/adapters?adapter={esc(row.adapter_id)}">{esc(row.adapter_name)}</a>' if row.adapter_id else esc(
        row.adapter_name or f"{row.model} itself")
    rows = f'<a href="/data?dataset={esc(row.dataset_id)}">the dataset</a>' if row.dataset_id else "an uploaded file"
    what = "Evaluation" if row.kind == "evaluate" else "Predictions"
    return (f'<div class="ps-run-head"><p class="ps-crumb"><a href="/predict">All predictions</a></p>'
            f'<h2>{what}: {esc(row.filename)}</h2><p class="ps-muted">{rows}, by {who}, begun '
            f"{esc(ago(row.created_at))}</p></div>")


def learned(row: Batch, adapter: Adapter | None) -> str:
    """Say when an adapter was measured on rows it learned from."""
    if row.kind != "evaluate" or adapter is None or not row.dataset_id or adapter.dataset_id != row.dataset_id:
        return ""
    return cards.note("The adapter learned from this dataset: unless its run kept these rows apart, they look better "
                      "than others would.", "warn")


def status(row: Batch) -> str:
    """Return how far it is, why there is nothing, or what came of it."""
    result = row.result or {}
    if row.state not in batches.ENDED:
        words = result.get("text") or ("Waiting for a worker" if row.state == "queued" else "Starting")
        if result.get("rows"):
            words = f"Predicting: {count(result['rows'])} of {plural(row.rows or 0, 'row')}"
        return cards.card("", cards.progress(row.progress or None, words))
    if row.state == "failed":
        return cards.error(row.error or {})
    noticed = cards.findings(result.get("findings") or [])
    if row.state == "cancelled" and not row.result_key:
        return cards.note("It was stopped before anything came of it.", "muted")
    if row.kind == "evaluate":
        return noticed
    stopped = cards.note(f"It was stopped: the file holds the first {plural(result['rows'], 'row')} of "
                         f"{count(row.rows)}.", "warn") if row.state == "cancelled" else ""
    return stopped + _numbers(row, result) + noticed


def _numbers(row: Batch, result: dict[str, Any]) -> str:
    seconds = float(result.get("seconds") or 0)
    speed = f"{result['rows'] / seconds:,.0f} rows a second" if seconds > 0 else ""
    figures = cards.stats([
        ("Rows", count(result["rows"]), f"of {count(row.rows)}"),
        ("With a prediction", count(result["answered"]), "the others say why in their note"),
        ("With a note", count(result["noted"]), "cut short, or not asked"),
        ("Time", duration(seconds), speed)])
    titles = {role.name: role.title for role in tasks.get(row.task).roles}
    took = [f"{column} as {titles.get(role, role)}" for role, column in result["columns"].items()]
    held = [("Base model held as", result["held"])] if result.get("held") else []
    facts = cards.facts([("Columns read", ", ".join(took)), ("Added columns", ", ".join(result["added"])), *held,
                         ("File", f"{row.format}, {size(result.get('bytes') or 0)}")])
    prepared = f'<p class="ps-muted">{esc(result["prepared"])}</p>' if result.get("prepared") else ""
    return cards.card("", figures, facts, prepared,
                      actions=[(f"Download the {row.format}", f"/download/batches/{row.id}")])


def rows(row: Batch) -> str:
    """Return the first rows with their predictions."""
    found = (row.result or {}).get("head") or []
    if not found:
        return ""
    result = row.result or {}
    names = list(dict.fromkeys(name for one in found for name in one))
    # What was predicted stands first, beside what it was predicted from: a file may have many columns. Notes come last
    # of what is added.
    added = list(result.get("added") or [])
    first = [*added[:-1], *result.get("columns", {}).values(), *added[-1:]]
    names.sort(key=lambda name: first.index(name) if name in first else len(first))
    numeric = [i for i, name in enumerate(names) if _numbers_only([one.get(name) for one in found])]
    body = [[_cell(one.get(name)) for name in names] for one in found]
    return cards.card("First rows", cards.table(names, body, "First rows with their predictions", numeric=numeric,
                                                html_columns=range(len(names))))


def _numbers_only(values: Sequence[Any]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(isinstance(value, int | float) for value in given)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if 0.001 <= abs(value) < 1 else digits.short(value)
    text = "" if value is None else str(value)
    return f'<div class="ps-told">{esc(text if len(text) <= LETTERS else text[:LETTERS - 1] + "…")}</div>'


def report(row: Batch) -> dict[str, Any]:
    """Return an evaluation as the component of a run's page takes it."""
    document = (row.result or {}).get("evaluation")
    return evaluation_view.shown(Evaluation.model_validate(document)) if document else NOTHING


def table(found: Sequence[Batch], first: str, caption: str) -> str:
    """Return evaluations with their metrics and intervals, a line each; `first` is what tells them apart."""
    reports = [Evaluation.model_validate((row.result or {})["evaluation"]) if row.state == "ready" else None
               for row in found]
    ready = [one for one in reports if one is not None]
    # What decides stands first.
    names = [name for name in dict.fromkeys(name for one in ready for name in (one.metric, *one.metrics))
             if any(name in one.metrics for one in ready)][:METRICS]
    lines = [(_link(row, first), count(one.rows) if one is not None else cards.badge(row.state),
              *(esc(measured(name, _of(one, name))) for name in names))
             for row, one in zip(found, reports, strict=True)]
    return cards.table([first, "Rows", *(title(name) for name in names)], lines, caption,
                       numeric=range(1, len(names) + 2), html_columns=range(len(names) + 2))


def _of(one: Evaluation | None, name: str) -> Measured | None:
    return one.metrics.get(name) if one is not None else None


def _link(row: Batch, first: str) -> str:
    name = row.adapter_name if first == "Adapter" else row.filename
    return f'<a href="/predict?batch={esc(row.id)}">{esc(name)}</a>'


def earlier(found: Sequence[Batch]) -> str:
    """Return a table of what was predicted and evaluated before."""
    if not found:
        return ""
    lines = [(f'<a href="/predict?batch={esc(row.id)}">{esc(row.filename)}</a>',
              "Evaluation" if row.kind == "evaluate" else f"Predictions ({row.format})",
              row.adapter_name or row.model, count(row.rows) if row.rows is not None else "–", cards.badge(row.state),
              ago(row.created_at)) for row in found]
    return cards.card("Earlier", cards.table(["Rows of", "What", "By", "Rows", "State", "Begun"], lines, "Earlier",
                                             numeric=[3], html_columns=[0, 4]))
