"""Predictions as HTML: bars, marked text, prose, numbers. Everything a model or a person wrote is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import singledispatch
from typing import Any

from pydantic import TypeAdapter

from engine.drawing import Bars, Drawing, Marked, Number, Picture, Prose, Span
from studio.text import esc, metric, plural
from studio.theme import SERIES

#: Labels shown with their probability; the rest are counted.
MOST_LABELS = 12

_DRAWING: TypeAdapter[Any] = TypeAdapter(Drawing)


def read(reply: Mapping[str, Any]) -> Picture:
    """Return how a reply is drawn."""
    return _DRAWING.validate_python(reply["drawing"])


def reply(said: Mapping[str, Any], tones: Mapping[str, int] | None = None) -> str:
    """Return a reply as HTML: its drawing, the answer in words where that says more, and the next best answers.

    `tones` gives the place of each label in the palette, so that neighbours colour alike.
    """
    picture = read(said)
    drawn = _drawn(picture, tones or tones_of([said]))
    words, best = str(said.get("label") or ""), said.get("scores") or {}
    told = _worth_saying(picture, words)
    head = f'<p class="ps-verdict">{esc(words)}</p>' if told else ""
    if isinstance(picture, Marked) and not told and not _apart(picture):
        drawn += '<p class="ps-muted">Nothing is marked.</p>'
    more = told and not isinstance(picture, Bars) and len(best) > 1
    return head + drawn + (f'<h4 class="ps-best">Likeliest answers</h4>{_bars(best)}' if more else "")


def tones_of(replies: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return a place in the palette for each label that is marked in any of the replies, in alphabetical order."""
    pictures = [read(said) for said in replies]
    labels = {span.label for picture in pictures if isinstance(picture, Marked) for span in picture.spans}
    return {label: place % len(SERIES) + 1 for place, label in enumerate(sorted(labels))}


def _worth_saying(picture: Picture, words: str) -> bool:
    """Tell whether the answer in words says what the drawing does not."""
    if isinstance(picture, Marked):
        return bool(words) and (not picture.spans or words in {picture.text[s.start:s.end] for s in picture.spans})
    return isinstance(picture, Bars)


@singledispatch
def _drawn(picture: Picture, tones: Mapping[str, int]) -> str:
    raise NotImplementedError(type(picture).__name__)


@_drawn.register
def _(picture: Bars, tones: Mapping[str, int]) -> str:
    return _bars(picture.values)


@_drawn.register
def _(picture: Prose, tones: Mapping[str, int]) -> str:
    return f'<p class="ps-prose">{esc(picture.text) or "<i>(nothing)</i>"}</p>'


@_drawn.register
def _(picture: Number, tones: Mapping[str, int]) -> str:
    return f'<p class="ps-verdict ps-num">{esc(metric(picture.value))}</p>'


@_drawn.register
def _(picture: Marked, tones: Mapping[str, int]) -> str:
    spans = _apart(picture)
    pieces, at = [], 0
    for span in spans:
        pieces += [esc(picture.text[at:span.start]), _mark(span, picture.text, tones)]
        at = span.end
    body = "".join(pieces) + esc(picture.text[at:])
    return f'<p class="ps-marked">{body}</p>{_legend(spans, tones)}'


def _mark(span: Span, text: str, tones: Mapping[str, int]) -> str:
    """Return a highlighted part; its label and score stand in the text, so that no meaning is in the colour alone."""
    told = " ".join(part for part in (esc(span.label), f"{span.score:.0%}" if span.score is not None else "") if part)
    aloud = '<span class="ps-hidden">{}</span>'.format
    label = f'<span class="ps-span-label">{aloud(" (")}{told}{aloud(") ")}</span>'
    return (f'<mark class="ps-span" style="--tone:var(--ps-series-{tones.get(span.label, 1)})">'
            f"{esc(text[span.start:span.end])}{label if told else ''}</mark>")


def _legend(spans: Sequence[Span], tones: Mapping[str, int]) -> str:
    """Return what was marked how often, by label."""
    counts: dict[str, int] = {}
    for span in spans:
        counts[span.label] = counts.get(span.label, 0) + 1
    if len(spans) < 2 or not any(counts):
        return ""
    items = "".join(
        f'<li><i style="--tone:var(--ps-series-{tones.get(label, 1)})" aria-hidden="true"></i>{esc(label)} '
        f'<span class="ps-muted">{number}</span></li>' for label, number in sorted(counts.items()))
    return f'<ul class="ps-legend" aria-label="What is marked">{items}</ul>'


def _apart(picture: Marked) -> list[Span]:
    """Return the spans in order, without what overlaps or leaves the text."""
    kept: list[Span] = []
    for span in sorted(picture.spans, key=lambda span: (span.start, -span.end)):
        if 0 <= span.start < span.end <= len(picture.text) and (not kept or span.start >= kept[-1].end):
            kept.append(span)
    return kept


def _bars(values: Mapping[str, float]) -> str:
    chances = sorted(values.items(), key=lambda item: -item[1])
    bars = "".join(
        f'<li><span title="{esc(label)}">{esc(label) or "(nothing)"}</span><span class="ps-bar" aria-hidden="true">'
        f'<i style="width:{min(max(chance, 0), 1) * 100:.1f}%"></i></span><span class="ps-num">{chance:.1%}</span></li>'
        for label, chance in chances[:MOST_LABELS])
    rest = len(chances) - MOST_LABELS
    more = f'<p class="ps-muted">and {plural(rest, "label")} less likely</p>' if rest > 0 else ""
    return f'<ul class="ps-chances">{bars}</ul>{more}'
