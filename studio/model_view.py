"""What is shown of base models: the list, one model's measures, where its parameters sit, what it can learn."""

from __future__ import annotations

from collections.abc import Sequence

from db.tables import Model
from engine import breakdown, tasks
from engine.shape import ModelShape
from studio import cards, plots, service
from studio.text import ago, count, esc, plural, short, size

READING = ("queued", "inspecting")


def listing(found: Sequence[Model]) -> str:
    """Return the list of base models."""
    if not found:
        return cards.empty("No base model yet", "Add a starter below; it takes a second.")
    rows = [(f'<a href="/models?model={esc(row.id)}"><b>{esc(row.title)}</b></a><br>'
             f'<span class="ps-muted">{esc(row.ref)}</span>', _state(row), *_shape_columns(row),
             row.licence or "–", ago(row.created_at)) for row in found]
    return cards.table(["Model", "State", "Architecture", "Parameters", "Longest input", "Licence", "Added"], rows,
                       "Base models", numeric=[3, 4], html_columns=[0, 1])


def _state(row: Model) -> str:
    return cards.progress(row.progress or None, "Reading") if row.state in READING else cards.badge(row.state)


def _shape_columns(row: Model) -> tuple[str, str, str]:
    if not row.shape:
        return "–", "–", "–"
    shape = service.shape_of(row)
    return shape.model_type, short(shape.total), f"{count(shape.max_length)} tokens" if shape.max_length else "no limit"


def head(row: Model) -> str:
    """Return name and state, progress while it is read, the error if it could not be."""
    title = (f'<div class="ps-run-head"><p class="ps-crumb"><a href="/models">All base models</a></p>'
             f'<h2>{esc(row.title)} {cards.badge(row.state)}</h2><p class="ps-muted">{esc(row.ref)}</p></div>')
    if row.state in READING:
        return title + cards.card("", cards.progress(row.progress or None, "Finding and measuring the model"))
    if row.state == "failed":
        return title + cards.error(row.error or {"what": "This model could not be read."})
    return title


def steps(row: Model) -> str:
    """Return the way on."""
    return cards.links([("Train on it", f"/train?model={row.ref}")]) if row.state == "ready" else ""


def numbers(row: Model) -> str:
    """Return the model's size and dimensions."""
    if not row.shape:
        return ""
    shape = service.shape_of(row)
    return cards.stats([
        ("Parameters", short(shape.total), f"{size(shape.weight_bytes)} as stored, {shape.dtype}"),
        ("Layers", count(shape.layers), f"{count(shape.hidden)} wide"),
        ("Attention heads", count(shape.heads), f"{count(shape.kv_heads)} for keys and values"),
        ("Vocabulary", count(shape.vocab), "tokens"),
        ("Longest input", count(shape.max_length) if shape.max_length else "no limit", "tokens")])


def where(row: Model) -> plots.Figure:
    """Return the chart of the parameters: kind of module by layer."""
    label = "Where the parameters are, by kind of module and layer"
    if not row.shape:
        return plots.blank(label, "Drawn once the model is measured.")
    found = breakdown.base_cells(service.shape_of(row))
    groups = list(dict.fromkeys(cell.group for cell in found))
    layers: list[int | None] = [*sorted({cell.layer for cell in found if cell.layer is not None}), None]
    totals = {(cell.group, cell.layer): cell.total for cell in found}
    return plots.heat(groups, ["other" if layer is None else str(layer + 1) for layer in layers],
                      [[totals.get((group, layer)) for layer in layers] for group in groups], label=label,
                      x_title="layer")


def facts(row: Model) -> str:
    """Return the parameters by kind, what the model can be trained for, its files and what else is known."""
    if not row.shape:
        return ""
    shape = service.shape_of(row)
    kinds: dict[str, int] = {}
    for cell in breakdown.base_cells(shape):
        kinds[cell.group] = kinds.get(cell.group, 0) + cell.total
    rows = [(name, count(number), _share(number / shape.total)) for name, number in
            sorted(kinds.items(), key=lambda item: -item[1])]
    table = cards.table(["Kind of module", "Parameters", "Share"], rows, "Parameters by kind", numeric=[1, 2])
    files = cards.table(["File", "sha256"], [(name, digest) for name, digest in row.files.items()], "Files")
    return (cards.card("By kind", table) + cards.card("What it can be trained for", _tasks(shape))
            + cards.more(f"Files ({plural(len(row.files), 'file')})", files)
            + cards.more("More about it", cards.facts([
                ("Architecture", shape.architecture), ("Family", shape.family),
                ("Licence", row.licence or "not stated"),
                ("Revision", row.revision or "–"), ("Chat template", "yes" if shape.chat_template else "no"),
                ("Input and output embeddings shared", "yes" if shape.tied_embeddings else "no"),
                ("Kept in", row.path or "–")])))


def _tasks(shape: ModelShape) -> str:
    items = [f"<li><b>{esc(kind.card.title)}</b>: {esc(_head_of(shape, name))}</li>"
             for name, kind in tasks.every().items() if name in shape.task_heads]
    return f"<ul>{''.join(items)}</ul>" if items else "<p>None of the tasks there are.</p>"


def _head_of(shape: ModelShape, task: str) -> str:
    heads = shape.task_heads[task]
    if not heads:
        return "uses the model's own output layer"
    return "adds a new head (" + ", ".join(head.name for head in heads) + ")"


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"
