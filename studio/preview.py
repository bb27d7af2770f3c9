"""The preview card of the Train page: what a run would train, store and need, before anything is loaded."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence

from engine.breakdown import GROUPS, Breakdown, Cell
from engine.errors import StudioError
from engine.memory import Memory
from studio import cards, cli_flags, form, plots
from studio.draft import Draft
from studio.service import Check
from studio.text import count, esc, percent, plural, short, size

VERDICTS = {"fits": ("good", "Fits"), "tight": ("warn", "Tight"), "too big": ("bad", "Too big")}
OUTSIDE = "other"


def verdict(found: Check | None, problems: Sequence[StudioError], waiting: str = "") -> str:
    """Return whether the run may start, in a few words; `reasons` says the rest."""
    if waiting:
        return f'<div class="ps-ready" role="status">{cards.progress(None, waiting)}</div>'
    state = cards.badge("not_ready", "warn") if problems else cards.badge("ready")
    noticed = found.findings if found else []
    warnings = [f for f in noticed if f.get("level") == "warning"]
    settings = [f for f in (found.warnings if found else []) if f.get("level") == "warning"]
    note = f"{plural(len(problems), 'thing')} to do first" if problems else \
        plural(len(warnings) + len(settings), "warning") if settings else \
        f"{plural(len(warnings), 'warning')} about the data" if warnings else ""
    return (f'<div class="ps-ready" role="status">{state}'
            + (f' <span class="ps-muted">{esc(note)}</span>' if note else "") + "</div>")


def reasons(found: Check | None, problems: Sequence[StudioError]) -> str:
    """Return why the run may not start and what these settings do to the data, each with what to do about it."""
    warned = "".join(cards.note(f"{one['what']} {one['try_this']}", "warn" if one["level"] == "warning" else "info")
                     for one in (found.warnings if found else []))
    if not problems:
        return f'<div class="ps-warned" role="status">{warned}</div>' if warned else ""
    listed = "".join(f'<li><b>{esc(p.what)}</b> <span>{esc(p.try_this)}</span></li>' for p in problems)
    return f'<div role="status"><ul class="ps-reasons">{listed}</ul>{warned}</div>'


def numbers(found: Check | None) -> str:
    """Return the counts, the file size, the steps and the memory."""
    if found is None or found.breakdown is None:
        return ""
    made, p = found.breakdown, found.breakdown.parameters
    each, total = found.steps or (None, None)
    return cards.stats([
        ("Trained", short(p.trained), f"{percent(p.percent / 100)} of {short(p.total)}"),
        ("Task head", short(p.head), "counted in trained" if p.head else "this task adds none"),
        ("Stored", short(p.stored), f"{size(made.adapter_bytes)} on disk"),
        ("Updates", count(total), f"{count(each)} an epoch" if each else "the rows are not counted yet"),
    ]) + memory(made.memory)


def memory(need: Memory) -> str:
    """Return memory needed against memory there, part by part, with the verdict."""
    tone, word = VERDICTS[need.verdict]
    parts = [("frozen weights", need.weights), ("trained weights", need.trained + need.gradients + need.optimizer),
             ("activations", need.activations + need.logits), ("program", need.overhead)]
    there = max(need.available or 0, need.total, 1)
    bar = "".join(f'<i class="ps-part-{i}" style="width:{100 * amount / there:.2f}%"></i>'
                  for i, (_, amount) in enumerate(parts))
    legend = "".join(f'<li><i class="ps-part-{i}"></i>{esc(name)} <b>{size(amount)}</b></li>'
                     for i, (name, amount) in enumerate(parts))
    room = f"{size(need.total)} of {size(need.available)}" if need.available else size(need.total)
    return (f'<div class="ps-memory"><div class="ps-progress-text"><span>Memory {esc(room)}</span>'
            f'{cards.badge(word, tone)}</div>'
            f'<div class="ps-stacked" role="img" aria-label="Memory {esc(room)}: {esc(word)}">{bar}</div>'
            f'<ul class="ps-legend">{legend}</ul></div>')


def chart(found: Check | None) -> plots.Figure:
    """Return where the trained parameters sit: kind of module by layer."""
    if found is None or found.breakdown is None:
        return plots.blank("Where the trained parameters sit", "Choose a dataset and a base model to see the numbers.")
    return heat(found.breakdown)


def heat(made: Breakdown) -> plots.Figure:
    """Return the heat map of a breakdown; colour grows with the square root of the count so that small parts show."""
    cells: dict[tuple[str, int | None], Cell] = {(cell.group, cell.layer): cell for cell in made.cells}
    known = [name for name in [*GROUPS.values(), "other linear", "convolution", "other"]
             if any(group == name for group, _ in cells)]
    groups = [*known, *sorted({group for group, _ in cells} - set(known))]
    layers: list[int | None] = [*sorted({layer for _, layer in cells if layer is not None})]
    if any(layer is None for _, layer in cells):
        layers.append(None)
    values: list[list[plots.Number]] = []
    texts: list[list[str]] = []
    for group in groups:
        row = [cells.get((group, layer)) for layer in layers]
        values.append([None if cell is None else math.sqrt(cell.trained) for cell in row])
        texts.append(["" if cell is None else f"{cell.trained:,} trained of {cell.total:,}" for cell in row])
    columns = [OUTSIDE if layer is None else str(layer + 1) for layer in layers]
    return plots.heat(groups, columns, values, label="Where the trained parameters sit", texts=texts, x_title="layer")


def details(draft: Draft, found: Check | None) -> str:
    """Return what differs from the defaults, the RunSpec and the command line for it."""
    changed = draft.changes()
    rows = [(name, f"{form.word(value)} (usually {form.word(usual)})") for name, value, usual in changed]
    listing = cards.facts(rows) if rows else '<p class="ps-muted">Every setting is at its default.</p>'
    opened = cards.more(f"Changed settings ({len(rows)})", listing, opened=bool(rows))
    document = found.spec.model_dump(mode="json") if found else draft.document()
    text = json.dumps(document, indent=2, ensure_ascii=False)
    line = cli_flags.line(found.spec) if found else shlex.join(["peft-studio", "train", "spec.json"])
    return opened + cards.more("The run as a document", cards.code(text, "spec.json"), cards.code(line, "Command line"))
