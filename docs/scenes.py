"""What several pictures share: a layer with a way around it, modules in a row, tokens, blocks."""

from __future__ import annotations

from collections.abc import Sequence

from docs.pictures import Pen

#: Heights of the frozen way, the middle and the learned way of a method beside a layer.
TOP, MIDDLE, BELOW = 36.0, 68.0, 104.0


def beside(p: Pen, layer: str = "W") -> None:
    """Draw a frozen layer with a way around it, left open between 66 and 200, that is added to its output."""
    p.text(14, MIDDLE + 4, "x")
    p.flow((22, MIDDLE), (42, MIDDLE), (42, TOP), (66, TOP))
    p.flow((42, MIDDLE), (42, BELOW), (66, BELOW))
    p.box(67, 14, 134, 44, layer)
    p.flow((201, TOP), (236, TOP), (236, MIDDLE - 12))
    p.flow((201, BELOW), (236, BELOW), (236, MIDDLE + 12))
    p.sign(236, MIDDLE, "+")
    p.flow((247, MIDDLE), (294, MIDDLE))
    p.text(306, MIDDLE + 4, "h")


def row(p: Pen, parts: Sequence[tuple[str, bool]], *, y: float = MIDDLE, tall: float = 54, start: float = 26,
        end: float = 294) -> list[tuple[float, float]]:
    """Draw modules (name, learned) one after the other and return the left and right edge of each."""
    gap = 10.0
    width = (end - start - gap * (len(parts) + 1)) / len(parts)
    edges = []
    for place, (label, learned) in enumerate(parts):
        x = start + gap + place * (width + gap)
        p.flow((x - gap, y), (x, y))
        p.box(x, y - tall / 2, width, tall, label, learned=learned)
        edges.append((x, x + width))
    p.flow((end - gap, y), (end, y))
    p.text(start - 10, y + 4, "x")
    p.text(end + 12, y + 4, "y")
    return edges


def tokens(p: Pen, x: float, y: float, kinds: str, *, size: float = 20) -> None:
    """Draw a column of inputs: P is a learned vector, anything else a token."""
    for place, kind in enumerate(kinds):
        p.box(x, y + place * size, size + 6, size - 4, kind, learned=kind == "P")


def layers(p: Pen, x: float, y: float, labels: Sequence[str], *, width: float = 46, tall: float = 100,
           gap: float = 18) -> list[float]:
    """Draw frozen blocks with arrows between them; return their left edges."""
    lefts = [x + place * (width + gap) for place in range(len(labels))]
    for left, label in zip(lefts, labels, strict=True):
        p.box(left, y, width, tall, label)
    for left in lefts[1:]:
        p.flow((left - gap, y + tall / 2), (left, y + tall / 2))
    return lefts
