"""Pieces of a page as HTML strings: facts, tables, badges, findings, errors, empty states, progress.

Every function escapes what it is given; only arguments named `*_html` are inserted as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.errors import StudioError
from engine.findings import Finding
from studio import titles
from studio.text import duration, esc

#: Run states -> (word shown, tone).
STATES: dict[str, tuple[str, str]] = {
    "queued": ("Queued", "info"), "starting": ("Starting", "info"), "running": ("Running", "accent"),
    "stopping": ("Stopping", "warn"), "interrupted": ("Interrupted", "warn"), "succeeded": ("Succeeded", "good"),
    "failed": ("Failed", "bad"), "cancelled": ("Stopped", "muted"),
    "new": ("New", "muted"), "inspecting": ("Reading", "info"), "working": ("Working", "accent"),
    "ready": ("Ready", "good"), "done": ("Done", "good"),
}
LEVELS = {"error": ("bad", "Must be fixed"), "warning": ("warn", "Worth a look"), "note": ("info", "Good to know")}


def badge(state: str, tone: str = "") -> str:
    """Return a small coloured word for a run's (or any) state."""
    word, usual = STATES.get(state, (state.replace("_", " ").capitalize(), "muted"))
    return f'<span class="ps-badge ps-{esc(tone or usual)}">{esc(word)}</span>'


def error(problem: StudioError | Mapping[str, Any], document: Mapping[str, Any] | None = None) -> str:
    """Return the card of an error {kind, what, where, try_this}; screen readers announce it.

    `document` is the RunSpec concerned, if any: it tells which setting a path names.
    """
    parts = problem.as_dict() if isinstance(problem, StudioError) else problem
    where = _where(str(parts.get("where") or ""), document)
    hint = f'<p class="ps-try"><b>Try this:</b> {esc(parts["try_this"])}</p>' if parts.get("try_this") else ""
    return (f'<div class="ps-card ps-note ps-bad" role="alert" data-kind="{esc(parts.get("kind"))}">'
            f'<p class="ps-what">{esc(parts.get("what"))}</p>{where}{hint}</div>')


def _where(path: str, document: Mapping[str, Any] | None) -> str:
    """Return where it went wrong: a setting by its title, all else (a file, a row, a column) as it is called."""
    if setting := titles.find(path, document):
        return f'<p class="ps-try"><b>Setting:</b> {esc(setting.title)}</p>'
    return f'<p class="ps-where">{esc(path)}</p>' if path else ""


def unexpected(reference: str) -> str:
    """Return the card of an error nobody foresaw; the server's log has the traceback under `reference`."""
    return error({"kind": "unexpected", "what": f"Something went wrong, reference {reference}.",
                  "try_this": "Try again. If it stays, look for the reference in the server's log."})


def note(text: str, tone: str = "info", title: str = "") -> str:
    """Return a quiet card with one remark; tone is info, good, warn, bad or muted."""
    head = f'<p class="ps-what">{esc(title)}</p>' if title else ""
    return f'<div class="ps-card ps-note ps-{esc(tone)}" role="status">{head}<p>{esc(text)}</p></div>'


def findings(found: Iterable[Finding | Mapping[str, Any]], empty_text: str = "") -> str:
    """Return what was noticed about a dataset, errors first, with rows and what to do next."""
    items = [f if isinstance(f, Finding) else Finding.model_validate(f) for f in found]
    if not items:
        return note(empty_text, "good") if empty_text else ""
    items.sort(key=lambda f: list(LEVELS).index(f.level))
    return '<ul class="ps-findings">' + "".join(_finding(item) for item in items) + "</ul>"


def _finding(item: Finding) -> str:
    tone, word = LEVELS[item.level]
    where = f'<p class="ps-where">{esc(item.place)}</p>' if item.place else ""
    hint = f'<p class="ps-try">{esc(item.try_this)}</p>' if item.try_this else ""
    return (f'<li class="ps-note ps-{tone}" data-kind="{esc(item.kind)}"><span class="ps-badge ps-{tone}">{word}</span>'
            f'<div><p class="ps-what">{esc(item.what)}</p>{where}{hint}</div></li>')


def empty(title: str, text: str, actions: Sequence[tuple[str, str]] = ()) -> str:
    """Return what an empty page shows: what is missing and links (label, href) to what to do next."""
    return (f'<div class="ps-empty"><p class="ps-empty-title">{esc(title)}</p><p>{esc(text)}</p>'
            f'{links(actions)}</div>')


def links(actions: Sequence[tuple[str, str]], primary: bool = True) -> str:
    """Return links that look like buttons, the first one filled if `primary`."""
    if not actions:
        return ""
    made = (f'<a class="ps-button{" ps-primary" if primary and i == 0 else ""}" href="{esc(href)}">{esc(label)}</a>'
            for i, (label, href) in enumerate(actions))
    return f'<p class="ps-actions">{"".join(made)}</p>'


def progress(fraction: float | None, text: str, eta: float | None = None) -> str:
    """Return a progress bar; a fraction of None moves to and fro. `eta` in seconds."""
    rest = f'<span class="ps-muted">{esc(duration(eta))} left</span>' if eta else ""
    value = "" if fraction is None else f' aria-valuenow="{fraction * 100:.0f}"'
    width = "" if fraction is None else f' style="width:{min(max(fraction, 0), 1) * 100:.1f}%"'
    kind = " ps-unknown" if fraction is None else ""
    return (f'<div class="ps-progress"><div class="ps-progress-text"><span>{esc(text)}</span>{rest}</div>'
            f'<div class="ps-track{kind}" role="progressbar" aria-label="{esc(text)}" aria-valuemin="0" '
            f'aria-valuemax="100"{value}><i{width}></i></div></div>')


def facts(pairs: Iterable[tuple[str, Any]], columns: bool = False) -> str:
    """Return a definition list of (label, value)."""
    body = "".join(f"<div><dt>{esc(label)}</dt><dd>{esc(value)}</dd></div>" for label, value in pairs)
    return f'<dl class="ps-facts{" ps-columns" if columns else ""}">{body}</dl>'


def stats(items: Iterable[tuple[str, str, str]]) -> str:
    """Return big figures side by side: (label, value, small remark)."""
    body = "".join(f'<div class="ps-stat"><dt>{esc(label)}</dt><dd>{esc(value)}</dd>'
                   f'<dd class="ps-remark">{esc(remark)}</dd></div>'
                   for label, value, remark in items)
    return f'<dl class="ps-stats">{body}</dl>'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str, numeric: Sequence[int] = (),
          html_columns: Sequence[int] = (), texts: Sequence[int] = ()) -> str:
    """Return a table that scrolls inside itself when narrow; `html_columns` hold ready HTML, the rest is escaped.

    The columns `texts` keep room for several words a line.
    """
    def cell(index: int, value: Any) -> str:
        css = ' class="ps-num"' if index in numeric else ' class="ps-long"' if index in texts else ""
        return f"<td{css}>{value if index in html_columns else esc(value)}</td>"
    head = "".join(f'<th scope="col"{" class=ps-num" if i in numeric else ""}>{esc(c)}</th>'
                   for i, c in enumerate(columns))
    body = "".join("<tr>" + "".join(cell(i, v) for i, v in enumerate(row)) + "</tr>" for row in rows)
    return (f'<div class="ps-scroll" tabindex="0" role="region" aria-label="{esc(caption)}"><table class="ps-table">'
            f"<caption class=ps-hidden>{esc(caption)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>")


def card(title: str, *body_html: str, actions: Sequence[tuple[str, str]] = ()) -> str:
    """Return a titled card around ready HTML."""
    head = f'<h2 class="ps-card-title">{esc(title)}</h2>' if title else ""
    return f'<section class="ps-card">{head}{"".join(body_html)}{links(actions)}</section>'


def code(text: str, label: str) -> str:
    """Return text to copy: monospaced, scrolling inside itself, with a copy button."""
    return (f'<div class="ps-code"><div class="ps-code-head"><span>{esc(label)}</span>'
            f'<button type="button" class="ps-copy" data-copy aria-label="Copy {esc(label)}">Copy</button></div>'
            f'<pre tabindex="0" aria-label="{esc(label)}"><code>{esc(text)}</code></pre></div>')


def more(summary: str, *body_html: str, opened: bool = False) -> str:
    """Return a part that opens on demand around ready HTML."""
    return (f'<details class="ps-more"{" open" if opened else ""}><summary>{esc(summary)}</summary>'
            f'{"".join(body_html)}</details>')
