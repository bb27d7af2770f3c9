"""Where the parameters are: those of the base model, those that were trained, those that are on disk."""

from __future__ import annotations

from engine.insight.places import Places, sorted_kinds
from engine.insight.report import Cell, Heat, Section, Table
from engine.insight.store import Saved, plain
from engine.methods.base import Method
from engine.shape import ModelShape

HEAD = "head"
#: Tensors that stand for one part of an attention module, or beside the module they are named after.
PARTS = {"prefix_key": "attention key", "prefix_value": "attention value", "vpt_prompt": "prompts"} | dict.fromkeys(
    (f"adaptformer_{part}" for part in ("down", "down_bias", "up", "up_bias", "scale")), "AdaptFormer branch")


def section(saved: Saved, places: Places, shape: ModelShape, method: Method | None, heads: list[str]) -> Section:
    """Return counts by kind of module and layer: base, trained (where the method is known) and stored."""
    base = _of_base(shape)
    stored, whole = _stored(saved, places, heads), not saved.config
    trained = _trained(method, shape, places, sum(_heads(saved, heads).values())) if method is not None else {}
    head = sum(count for (kind, _), count in stored.items() if kind == HEAD)
    total, kept = sum(stored.values()), sum(trained.values())
    rows: list[list[Cell]] = []
    for kind in sorted_kinds({kind for kind, _ in [*base, *stored, *trained]}):
        counts = [sum(count for (name, _), count in part.items() if name == kind) for part in (base, trained, stored)]
        rows.append([kind, counts[0], counts[1] if trained else None, counts[2]])
    rows.append(["all", sum(base.values()), kept if trained else None, total])
    map_of = "trained" if whole and trained else "stored"
    return Section(
        name="parameters", title="Where the parameters are",
        how="What the base model holds, what was trained and what is on disk, by kind of module: trained and stored "
            "differ where a method trains helpers that it drops, or saves places beside values.",
        parts=[_map(trained if map_of == "trained" else stored, f"{map_of.capitalize()} parameters"),
               Table(title="By kind of module", columns=["Kind", "Base model", "Trained", "Stored"], rows=rows,
                     numeric=[1, 2, 3], open=True)],
        facts={"base": sum(base.values()), "trained": kept if trained else None, "stored": total, "head": head,
               "tensors": len(saved.shapes), "file_bytes": saved.bytes})


def _of_base(shape: ModelShape) -> dict[tuple[str, int | None], int]:
    from engine.breakdown import base_cells

    return {(cell.group, cell.layer): cell.total for cell in base_cells(shape)}


def _trained(method: Method, shape: ModelShape, places: Places, head: int) -> dict[tuple[str, int | None], int]:
    from engine.breakdown import group

    counts: dict[tuple[str, int | None], int] = {}
    for piece in method.pieces(shape):
        if piece.trained:
            key = piece.called or group(piece.role, piece.kind), piece.layer
            counts[key] = counts.get(key, 0) + piece.trained
    return _add(counts, (HEAD, None), head)


def _stored(saved: Saved, places: Places, heads: list[str]) -> dict[tuple[str, int | None], int]:
    counts: dict[tuple[str, int | None], int] = {}
    own = _heads(saved, heads)
    for name, shape in saved.shapes.items():
        size = _size(shape)
        kind, layer = (HEAD, None) if name in own else places.of(_module(plain(name), places))
        counts = _add(counts, (PARTS.get(name.rpartition(".")[2], kind), layer), size)
    return counts


def _module(name: str, places: Places) -> str:
    """Return the longest beginning of a tensor's name that is a module of the base model, else all but its last."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if places.module(".".join(parts[:end])) is not None:
            return ".".join(parts[:end])
    return ".".join(parts[:-1]) or name


def _heads(saved: Saved, heads: list[str]) -> dict[str, int]:
    """Return the tensors of the task's head and their sizes."""
    return {name: _size(shape) for name, shape in saved.shapes.items()
            if any(plain(name).startswith(f"{head}.") or f".{head}." in plain(name) for head in heads)}


def _map(counts: dict[tuple[str, int | None], int], title: str) -> Heat:
    """Return the map of counts; colour grows with the square root so that small parts show."""
    rows = sorted_kinds({kind for kind, _ in counts})
    layers: list[int | None] = [*sorted({layer for _, layer in counts if layer is not None})]
    if any(layer is None for _, layer in counts):
        layers.append(None)
    cells = [[counts.get((kind, layer)) for layer in layers] for kind in rows]
    return Heat(title=title, rows=rows, columns=["other" if layer is None else str(layer + 1) for layer in layers],
                values=[[None if count is None else round(count**0.5, 2) for count in line] for line in cells],
                texts=[["" if count is None else f"{count:,}" for count in line] for line in cells])


def _add(counts: dict[tuple[str, int | None], int], key: tuple[str, int | None],
         size: int) -> dict[tuple[str, int | None], int]:
    if size:
        counts[key] = counts.get(key, 0) + size
    return counts


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for width in shape:
        size *= width
    return size
